//! The block format made of lanes, and what its parameters mean.

use gmat_core::block::{BlockFormat, EncodeInput, GroupShape};
use gmat_core::convert::first_non_finite;
use gmat_core::{DType, Error, Result};

use super::decode::decode_rows;
use super::encode::{INFINITE, encode_rows};
use super::ruler::OCTAVE;

/// Sizes that follow from the elements of a lane (8 or 16) and the bits of a magnitude (4 or 8).
pub(super) struct Layout<const N: usize, const BITS: u32>;

impl<const N: usize, const BITS: u32> Layout<N, BITS> {
    /// Bytes of a bit map.
    pub(super) const MAP: usize = N / 8;
    /// Bytes of the magnitudes of one row.
    pub(super) const CODES: usize = N * BITS as usize / 8;
    /// Step between two codes: 1/128 octave for e1m7, 1/16 octave for e0m4.
    pub(super) const STEP: i32 = OCTAVE / if BITS == 8 { 128 } else { 16 };
    /// Its binary logarithm.
    pub(super) const STEP_SHIFT: u32 = Self::STEP.ilog2();
    /// The highest code: a shift bit above `BITS` magnitude bits.
    pub(super) const TOP_CODE: i32 = (2 << BITS) - 1;
}

/// A log-domain block format: lanes of `N` elements of `ROWS` adjacent rows with magnitudes of
/// `BITS` bits, `LEN` bytes each unless they are all zero.
pub(crate) struct LaneFormat<const N: usize, const BITS: u32, const ROWS: usize, const LEN: usize> {
    name: &'static str,
    summary: &'static str,
}

impl<const N: usize, const BITS: u32, const ROWS: usize, const LEN: usize>
    LaneFormat<N, BITS, ROWS, LEN>
{
    /// The format of that name; refuses parameters that contradict each other when compiled.
    pub(crate) const fn new(name: &'static str, summary: &'static str) -> Self {
        let row = 3 * Layout::<N, BITS>::MAP + Layout::<N, BITS>::CODES;
        assert!((N == 8 || N == 16) && (BITS == 4 || BITS == 8) && (ROWS == 1 || ROWS == 2));
        assert!(LEN == 2 + ROWS * row);
        Self { name, summary }
    }

    /// Checks lengths; returns the number of elements.
    fn elems(shape: GroupShape, given: usize) -> Result<usize> {
        match shape.rows.checked_mul(shape.cols) {
            Some(elems) if elems == given => Ok(elems),
            _ => Err(Error::shape(format!(
                "{given} values are not {} rows of {}",
                shape.rows, shape.cols
            ))),
        }
    }

    /// The error for a source type without floating point values.
    fn check_dtype(&self, dtype: DType) -> Result<()> {
        if self.accepts(dtype) {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "block format `{}` does not hold {dtype} elements",
            self.name
        )))
    }
}

impl<const N: usize, const BITS: u32, const ROWS: usize, const LEN: usize> BlockFormat
    for LaneFormat<N, BITS, ROWS, LEN>
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn granule_rows(&self) -> usize {
        ROWS
    }

    fn accepts(&self, dtype: DType) -> bool {
        dtype.is_float()
    }

    fn is_lossless(&self) -> bool {
        false
    }

    fn max_len(&self, shape: GroupShape) -> Option<usize> {
        let lanes = shape.rows.div_ceil(ROWS).checked_mul(shape.cols.div_ceil(N))?;
        lanes.checked_mul(LEN)
    }

    fn encode(&self, input: EncodeInput<'_>, out: &mut Vec<u8>) -> Result<()> {
        let EncodeInput { values, bytes, dtype, rows, cols } = input;
        self.check_dtype(dtype)?;
        let shape = GroupShape { dtype, rows, cols };
        let elems = Self::elems(shape, values.len())?;
        if shape.byte_len() != Some(bytes.len()) {
            return Err(Error::shape(format!(
                "{} bytes are not {elems} elements of {dtype}",
                bytes.len()
            )));
        }
        let max_len = self.max_len(shape).ok_or_else(|| {
            Error::limit(format!("{rows} rows of {cols} are too many for one group"))
        })?;
        if elems == 0 {
            return Ok(());
        }
        let start = out.len();
        out.reserve(max_len);
        let mut largest = 0;
        for group in values.chunks(cols.saturating_mul(ROWS)) {
            let mut each = group.chunks(cols);
            let pair = std::array::from_fn(|_| each.next().unwrap_or_default());
            largest = largest.max(encode_rows::<N, BITS, ROWS, LEN>(pair, cols, out));
        }
        if largest < INFINITE {
            return Ok(());
        }
        out.truncate(start);
        let at = first_non_finite(values).unwrap_or_default();
        Err(Error::malformed(format!(
            "value at row {}, column {} is `{}`, not a finite number",
            at / cols,
            at % cols,
            values.get(at).copied().unwrap_or(f32::NAN)
        )))
    }

    fn decode(&self, bytes: &[u8], shape: GroupShape, out: &mut [f32]) -> Result<()> {
        self.check_dtype(shape.dtype)?;
        let elems = Self::elems(shape, out.len())?;
        let malformed = |at: usize, what: &str| {
            Error::malformed(what.to_owned())
                .context(format!("byte {at} of a row group in `{}`", self.name))
        };
        let mut pos = 0;
        if elems > 0 {
            for group in out.chunks_mut(shape.cols.saturating_mul(ROWS)) {
                let mut each = group.chunks_mut(shape.cols);
                let pair = std::array::from_fn(|_| each.next().unwrap_or_default());
                pos = decode_rows::<N, BITS, ROWS, LEN>(bytes, pos, pair, shape.cols)
                    .map_err(|fault| malformed(fault.at, fault.what))?;
            }
        }
        match bytes.len() - pos {
            0 => Ok(()),
            extra => Err(malformed(pos, &format!("{extra} bytes follow the last lane"))),
        }
    }
}
