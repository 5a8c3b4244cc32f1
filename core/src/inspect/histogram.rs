//! How the values of a tensor are distributed, read piece by piece.

use std::ops::Range;

use super::{Data, Details, Tensor};
use crate::decode::Elements;
use crate::error::{Error, Result, ResultExt};
use crate::io::Files;
use crate::limits::GROUP_VALUES;
use crate::registry::Registry;
use crate::store::{self, Store};
use crate::tensor::{DType, mem_len};

/// Most bins of a histogram.
pub const MAX_BINS: usize = 1000;

/// Statistics of a tensor's values, and how many lie in each of some ranges of equal width.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Number of values.
    pub values: u64,
    /// Values that are zero.
    pub zeros: u64,
    /// Values that are not a number.
    pub nan: u64,
    /// Values that are infinite.
    pub infinite: u64,
    /// Smallest finite value; 0 if there is none.
    pub min: f64,
    /// Largest finite value; 0 if there is none.
    pub max: f64,
    /// Mean of the finite values.
    pub mean: f64,
    /// Root mean square of the finite values.
    pub rms: f64,
    /// Finite values in each range from `min` to `max`.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Reads a tensor of a file in that folder, or of a store, twice: for the range of its values, then for their distribution over `bins`
    /// ranges. Memory does not depend on its size. `progress` is told how many bytes are done and
    /// can stop the work.
    ///
    /// # Errors
    /// `Unsupported` for types that we cannot decode; what reading says; what `progress` says.
    pub fn of(
        files: &dyn Files,
        store: Option<&Store<'_>>,
        tensor: &Tensor,
        bins: usize,
        registry: &Registry,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Self> {
        let place = || format!("tensor `{}`, file `{}`", tensor.name, files.place(&tensor.file));
        let source = Source::open(files, store, tensor, registry).context(place)?;
        let mut done = 0;
        let mut pass = |each: &mut dyn FnMut(f64)| {
            let mut values = Vec::new();
            for unit in 0..source.units() {
                done += source.read(unit, &mut values)?;
                values.iter().copied().for_each(&mut *each);
                progress(done)?;
            }
            Ok(())
        };
        let mut range = Ranges::default();
        pass(&mut |value| range.add(value)).context(place)?;
        let mut out = range.finish(bins.clamp(1, MAX_BINS));
        let (min, max) = (out.min, out.max);
        let counts = &mut out.counts;
        pass(&mut |value| {
            if let Some(count) =
                bin(value, min, max, counts.len()).and_then(|at| counts.get_mut(at))
            {
                *count += 1;
            }
        })
        .context(place)?;
        Ok(out)
    }

    /// Bytes that are read for a tensor: what `progress` counts.
    #[must_use]
    pub fn cost(tensor: &Tensor) -> u64 {
        tensor.bytes.unwrap_or(0).saturating_mul(2)
    }

    /// Where the range with that number begins; the last one ends where one more would begin.
    #[must_use]
    pub fn edge(&self, number: usize) -> f64 {
        let share = number as f64 / self.counts.len().max(1) as f64;
        self.min * (1.0 - share) + self.max * share
    }
}

/// Number of the range that a value is in; none for values that are not finite.
fn bin(value: f64, min: f64, max: f64, bins: usize) -> Option<usize> {
    if !value.is_finite() {
        return None;
    }
    // Halves, since the whole width may not be a finite number.
    let width = 0.5 * max - 0.5 * min;
    if width <= 0.0 {
        return Some(0);
    }
    let place = (0.5 * value - 0.5 * min) / width * bins as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to bins")]
    Some((place as usize).min(bins - 1))
}

/// The first pass.
struct Ranges {
    values: u64,
    zeros: u64,
    nan: u64,
    infinite: u64,
    min: f64,
    max: f64,
    sum: f64,
    squares: f64,
}

impl Default for Ranges {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { values: 0, zeros: 0, nan: 0, infinite: 0, min, max, sum: 0.0, squares: 0.0 }
    }
}

impl Ranges {
    fn add(&mut self, value: f64) {
        self.values += 1;
        if value.is_nan() {
            self.nan += 1;
        } else if value.is_infinite() {
            self.infinite += 1;
        } else {
            self.zeros += u64::from(value == 0.0);
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum += value;
            self.squares += value * value;
        }
    }

    fn finish(self, bins: usize) -> Histogram {
        let finite = self.values - self.nan - self.infinite;
        let (min, max) = if finite == 0 { (0.0, 0.0) } else { (self.min, self.max) };
        let count = finite.max(1) as f64;
        Histogram {
            values: self.values,
            zeros: self.zeros,
            nan: self.nan,
            infinite: self.infinite,
            min,
            max,
            mean: self.sum / count,
            rms: (self.squares / count).sqrt(),
            counts: vec![0; bins],
        }
    }
}

/// A tensor that is read in units.
struct Source<'a> {
    files: &'a dyn Files,
    store: Option<&'a Store<'a>>,
    file: &'a str,
    registry: &'a Registry,
    rows: Rows,
}

enum Rows {
    /// Whole blocks one after the other: rows are whole blocks, so where they end is no matter.
    Plain { dtype: DType, offset: u64, elems: u64 },
    /// Row groups of a store.
    Stored(Box<store::Rows>),
}

impl<'a> Source<'a> {
    fn open(
        files: &'a dyn Files,
        store: Option<&'a Store<'a>>,
        tensor: &'a Tensor,
        registry: &'a Registry,
    ) -> Result<Self> {
        let file = tensor.file.as_str();
        let rows = match (&tensor.data, &tensor.details, store) {
            (Data::Plain { dtype, shape, offset }, ..) => {
                Rows::Plain { dtype: *dtype, offset: *offset, elems: shape.elems() }
            }
            (Data::Stored, Details::Stored(id, record), Some(store)) => {
                Rows::Stored(Box::new(store.rows(*id, record)?))
            }
            (Data::Stored, ..) => return Err(storeless()),
            (Data::Unknown, ..) => {
                return Err(Error::unsupported(format!("{} cannot be decoded", tensor.kind))
                    .with_hint("the file is newer than this program, or of another one"));
            }
        };
        Ok(Self { files, store, file, registry, rows })
    }

    fn units(&self) -> u64 {
        match &self.rows {
            Rows::Plain { elems, .. } => elems.div_ceil(GROUP_VALUES),
            Rows::Stored(rows) => rows.index.groups.len() as u64,
        }
    }

    /// Puts the values of a unit in the place of those in `out`; returns the bytes read.
    fn read(&self, unit: u64, out: &mut Vec<f64>) -> Result<u64> {
        out.clear();
        match &self.rows {
            Rows::Plain { dtype, offset, elems } => {
                let start = unit.saturating_mul(GROUP_VALUES);
                let count = elems.saturating_sub(start).min(GROUP_VALUES);
                let len = |elems: u64| {
                    let len = dtype.byte_len(elems);
                    len.ok_or_else(|| Error::shape("a tensor is not whole blocks"))
                };
                let start = offset.saturating_add(len(start)?);
                let range: Range<u64> = start..start.saturating_add(len(count)?);
                let bytes = self.files.read(self.file, range.clone())?;
                let bytes = bytes.as_ref().as_ref();
                numbers(*dtype, bytes, mem_len(count)?, self.registry, out)?;
                Ok(range.end - range.start)
            }
            Rows::Stored(rows) => {
                let (index, number) = (&rows.index, mem_len(unit)?);
                let store = self.store.ok_or_else(storeless)?;
                let chunks = rows.read(store, number)?;
                let stored = rows.checked(number, &chunks)?;
                let decoder = rows.decoder(self.registry)?;
                let shape = index.group_shape(number)?;
                let count = shape.rows * shape.cols;
                if index.dtype.holds_weights() {
                    let mut values = vec![0.0f32; count];
                    decoder.decode(stored, shape, &mut values)?;
                    out.extend(values.into_iter().map(f64::from));
                } else {
                    let mut source = Vec::new();
                    decoder.source(stored, shape, &mut source)?;
                    numbers(index.dtype, &source, count, self.registry, out)?;
                }
                Ok(stored.own.len() as u64)
            }
        }
    }
}

fn storeless() -> Error {
    Error::shape("a stored tensor without its store")
}

/// Appends `count` elements of any type.
fn numbers(
    dtype: DType,
    bytes: &[u8],
    count: usize,
    registry: &Registry,
    out: &mut Vec<f64>,
) -> Result<()> {
    fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f64>, number: impl Fn([u8; N]) -> f64) {
        let (elements, _) = bytes.as_chunks::<N>();
        out.extend(elements.iter().map(|&element| number(element)));
    }
    match dtype {
        DType::F64 => each(bytes, out, f64::from_le_bytes),
        DType::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f64),
        DType::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f64),
        DType::I32 => each(bytes, out, |b| i32::from_le_bytes(b).into()),
        DType::U32 => each(bytes, out, |b| u32::from_le_bytes(b).into()),
        DType::I16 => each(bytes, out, |b| i16::from_le_bytes(b).into()),
        DType::U16 => each(bytes, out, |b| u16::from_le_bytes(b).into()),
        DType::I8 => each(bytes, out, |b| i8::from_le_bytes(b).into()),
        DType::U8 | DType::Bool => each(bytes, out, |[b]| b.into()),
        _ => {
            let mut values = vec![0.0f32; count];
            Elements::new(dtype, registry)?.to_f32(bytes, &mut values)?;
            out.extend(values.into_iter().map(f64::from));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_but_for_the_last() {
        let of = |value| bin(value, -1.0, 1.0, 4);
        assert_eq!(of(-1.0), Some(0));
        assert_eq!(of(-0.5), Some(1));
        assert_eq!(of(0.4999), Some(2));
        assert_eq!(of(1.0), Some(3));
        assert_eq!((of(f64::NAN), of(f64::INFINITY)), (None, None));
        assert_eq!(bin(5.0, 5.0, 5.0, 4), Some(0));
        assert_eq!(bin(f64::MAX, f64::MIN, f64::MAX, 4), Some(3));
        assert_eq!(bin(0.0, f64::MIN, f64::MAX, 4), Some(2));
    }

    #[test]
    fn what_is_not_finite_is_counted_apart() {
        let mut range = Ranges::default();
        [0.0, -3.0, f64::NAN, 4.0, f64::INFINITY, -0.0].into_iter().for_each(|v| range.add(v));
        let found = range.finish(7);
        assert_eq!((found.values, found.zeros, found.nan, found.infinite), (6, 2, 1, 1));
        assert_eq!((found.min, found.max, found.mean, found.rms), (-3.0, 4.0, 0.25, 2.5));
        assert_eq!((found.edge(0), found.edge(7)), (-3.0, 4.0));
        let none = Ranges::default().finish(1);
        assert_eq!((none.min, none.max, none.mean, none.rms), (0.0, 0.0, 0.0, 0.0));
    }
}
