//! Stored tensors as they are in the output: which of their elements, decoded group by group.

use std::ops::Range;

use crate::arch::{Change, Taken};
use crate::block::GroupShape;
use crate::decode::{RowDecoder, Stored};
use crate::error::{Error, Result, ResultExt};
use crate::export::model;
use crate::format::store::{Index, matrix};
use crate::limits::GROUP_VALUES;
use crate::pipeline::Buffers;
use crate::registry::Registry;
use crate::store::{Location, Rows};
use crate::tensor::{BlockSize, DType, mem_len};

/// Values of a unit whose rows are columns of a larger matrix: every such unit decodes the whole
/// matrix, so it should be large.
const TRANSPOSED_VALUES: u64 = 4 * GROUP_VALUES;

/// What one stored tensor gives to one of the output.
pub(crate) struct Piece {
    pub(crate) index: Box<Index>,
    /// Where its rows are.
    pub(crate) location: Location,
    /// Where those are that it differs from.
    pub(crate) base: Option<Box<(Location, Index)>>,
    /// How its rows are stored.
    format: RowDecoder,
    /// Its name in the source, for messages.
    pub(crate) name: String,
    taken: Taken,
    change: Change,
    /// The rows that it is in the output.
    pub(crate) rows: Range<u64>,
    /// Elements of such a row.
    cols: u64,
}

impl Piece {
    /// The piece from row `first` of the output on.
    ///
    /// # Errors
    /// `Unsupported` if the elements are no numbers to compute with, and not just to be copied.
    pub(crate) fn new(
        stored: Rows,
        piece: &model::Piece<'_>,
        first: u64,
        copied: bool,
        registry: &Registry,
    ) -> Result<Self> {
        let format = stored.decoder(registry);
        let Rows { location, index, base, .. } = stored;
        if !index.dtype.holds_weights() && !copied {
            return Err(Error::unsupported(format!(
                "{} elements, which this architecture cannot hold",
                index.dtype
            ))
            .with_hint("import without it (`\"include\": false`)"));
        }
        let format = format?;
        // Rows of vectors are single elements here, whatever blocks the source has.
        let (rows, cols) = matrix(piece.taken.shape(), DType::F32);
        let (taken, change) = (piece.taken.clone(), piece.change);
        let name = piece.record.name.clone();
        let rows = first..first.saturating_add(rows);
        let (index, base) = (Box::new(index), base.map(Box::new));
        Ok(Self { index, location, base, format, name, taken, change, rows, cols })
    }

    /// The rows of the output that are computed together with row `start`, as a range from there.
    pub(crate) fn unit(&self, start: u64) -> Range<u64> {
        let own = start - self.rows.start;
        let end = match self.taken.transposed_slice() {
            Some((slice, cols)) if slice > GROUP_VALUES => {
                let slice_rows = slice / cols.max(1);
                let step = (TRANSPOSED_VALUES / cols.max(1)).max(1);
                own.saturating_add(step).min((own / slice_rows + 1) * slice_rows)
            }
            _ => own.saturating_add(self.step()),
        };
        start..end.saturating_add(self.rows.start).min(self.rows.end)
    }

    /// Rows of the output in a unit, at most.
    fn step(&self) -> u64 {
        match self.taken.transposed_slice() {
            Some((slice, cols)) if slice > GROUP_VALUES => (TRANSPOSED_VALUES / cols.max(1)).max(1),
            Some((slice, cols)) => {
                let slice = slice.max(1);
                (GROUP_VALUES / slice).max(1) * (slice / cols.max(1)).max(1)
            }
            // As many values as a row group, and whole heads.
            None => {
                let group = self.index.group_rows.saturating_mul(self.index.matrix().1);
                let rows = (group / self.cols.max(1)).max(1);
                rows.div_ceil(self.taken.unit_rows()).saturating_mul(self.taken.unit_rows())
            }
        }
    }

    /// The elements, counted in the output of this piece, of some rows.
    fn elements(&self, rows: &Range<u64>) -> Range<u64> {
        let start = self.rows.start;
        (rows.start - start) * self.cols..(rows.end - start) * self.cols
    }

    /// The row groups that some rows of the output need.
    pub(crate) fn groups(&self, rows: &Range<u64>) -> Result<Range<usize>> {
        let needed = self.taken.needed(&self.elements(rows));
        let (_, cols) = self.index.matrix();
        if needed.is_empty() || cols == 0 {
            return Ok(0..0);
        }
        let group = self.index.group_rows.max(1);
        let first = mem_len(needed.start / cols / group)?;
        Ok(first..mem_len(needed.end.div_ceil(cols).div_ceil(group))?)
    }

    /// Bytes that some rows of the output had in the source.
    pub(crate) fn source_len(&self, rows: &Range<u64>) -> u64 {
        let elements = self.elements(rows);
        let block = self.index.dtype.block();
        (elements.end - elements.start).saturating_mul(block.bytes as u64) / block.elems as u64
    }

    /// Bytes that a unit needs at most: its values, those of a row group, and the stored groups.
    pub(crate) fn unit_cost(&self) -> u64 {
        let (all, cols) = self.index.matrix();
        let rows = self.step().min(self.rows.end - self.rows.start);
        let group = self.index.group_rows.min(all).saturating_mul(cols);
        let stored = self.index.groups.iter().map(|group| group.len).max().unwrap_or(0);
        let unit = self.groups(&self.unit(self.rows.start)).unwrap_or(0..0).len() as u64 + 1;
        let values = rows.saturating_mul(self.cols).saturating_add(group);
        // Differences are decoded beside the source bytes of both.
        let base = match &self.base {
            Some(base) => {
                let stored = base.1.groups.iter().map(|group| group.len).max().unwrap_or(0);
                self.index.source_len(self.index.group_rows.min(all)).saturating_mul(2)
                    + stored.saturating_mul(unit)
            }
            None => 0,
        };
        let stored = stored.saturating_mul(unit).saturating_add(base);
        values.saturating_mul(8).saturating_add(stored)
    }

    /// Rows in a unit, at most.
    pub(crate) fn unit_rows(&self) -> u64 {
        self.step().min(self.rows.end - self.rows.start)
    }

    /// The values of some rows of the output; every row group touched is checked first.
    ///
    /// # Errors
    /// `Malformed` if a row group is damaged, naming it.
    pub(crate) fn values(
        &self,
        rows: &Range<u64>,
        groups: &Range<usize>,
        bytes: Stored<'_>,
        buffers: &Buffers,
    ) -> Result<Vec<f32>> {
        let elements = self.elements(rows);
        let mut values = buffers.values(mem_len(elements.end - elements.start)?);
        let mut whole = buffers.values(0);
        let one = BlockSize { elems: 1, bytes: 1 };
        let decode = |own: Stored<'_>, shape, to: &mut [f32]| self.format.decode(own, shape, to);
        self.gather(rows, groups, bytes, one, &mut values, &mut whole, decode)?;
        buffers.put_values(whole);
        self.change.apply(&mut values);
        Ok(values)
    }

    /// The bytes of some rows of the output as they are stored, for pieces whose rows are taken as
    /// they are; every row group touched is checked first.
    ///
    /// # Errors
    /// As [`Self::values`]; `Shape` if rows are not whole blocks.
    pub(crate) fn stored(
        &self,
        rows: &Range<u64>,
        groups: &Range<usize>,
        bytes: Stored<'_>,
        buffers: &Buffers,
    ) -> Result<Vec<u8>> {
        let elements = self.elements(rows);
        let block = self.index.dtype.block();
        let len = block.len_of(elements.end - elements.start);
        let mut stored = buffers.bytes();
        stored.resize(mem_len(len.ok_or_else(outside)?)?, 0);
        let mut whole = buffers.bytes();
        let restore = |own: Stored<'_>, shape, to: &mut [u8]| self.format.restore(own, shape, to);
        self.gather(rows, groups, bytes, block, &mut stored, &mut whole, restore)?;
        buffers.put(whole);
        Ok(stored)
    }

    /// Fills `out` with some rows of the output; `decode` makes `block.bytes` items of as many
    /// elements as a block has.
    #[expect(clippy::too_many_arguments, reason = "two callers, just above")]
    fn gather<T: Copy + Default>(
        &self,
        rows: &Range<u64>,
        groups: &Range<usize>,
        bytes: Stored<'_>,
        block: BlockSize,
        out: &mut [T],
        whole: &mut Vec<T>,
        decode: impl Fn(Stored<'_>, GroupShape, &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let items = |elements: u64| mem_len(elements / block.elems as u64 * block.bytes as u64);
        let wanted = self.elements(rows);
        let needed = self.taken.needed(&wanted);
        let (_, cols) = self.index.matrix();
        let mut rest = bytes;
        for number in groups.clone() {
            let own = self.checked(number, &mut rest)?;
            let place = || self.place(number);
            let shape = self.index.group_shape(number)?;
            let group_rows = self.index.group_rows(number);
            let group = group_rows.start * cols..group_rows.end * cols;
            let within = group.start.max(needed.start)..group.end.min(needed.end);
            let len = items(group.end - group.start)?;
            if self.taken.is_whole() && within == group {
                let start = items(group.start - wanted.start)?;
                let to = out.get_mut(start..start + len).ok_or_else(outside)?;
                decode(own, shape, to).context(place)?;
                continue;
            }
            whole.resize(len, T::default());
            decode(own, shape, whole).context(place)?;
            let from = whole
                .get(items(within.start - group.start)?..items(within.end - group.start)?)
                .ok_or_else(outside)?;
            let mut result = Ok(());
            self.taken.copies(&within, &wanted, |copy| {
                if result.is_ok() {
                    result = copy_items(copy, items, from, out);
                }
            });
            result?;
        }
        Ok(())
    }

    /// The bytes of a row group at the start of `rest`, and of the one it differs from, compared with
    /// their checksums.
    fn checked<'b>(&self, number: usize, rest: &mut Stored<'b>) -> Result<Stored<'b>> {
        let own = checked(&self.index, number, &mut rest.own)?;
        let base = match (&self.base, &mut rest.base) {
            (Some(base), Some(rest)) => Some(checked(&base.1, number, rest).context(|| "base")?),
            _ => None,
        };
        Ok(Stored { own, base })
    }

    fn place(&self, number: usize) -> String {
        place(&self.index, number)
    }
}

fn place(index: &Index, number: usize) -> String {
    let offset = index.groups.get(number).map_or(0, |group| group.offset);
    format!("row group {number} at byte {offset}")
}

/// The bytes of a row group at the start of `rest`, compared with their checksum.
fn checked<'b>(index: &Index, number: usize, rest: &mut &'b [u8]) -> Result<&'b [u8]> {
    let group = index.groups.get(number).ok_or_else(outside)?;
    let (own, after) = rest.split_at_checked(mem_len(group.len)?).ok_or_else(|| {
        Error::malformed("the file is shorter than it was").context(place(index, number))
    })?;
    *rest = after;
    index.checked(number, own)
}

fn outside() -> Error {
    Error::shape("rows outside their tensor")
}

/// Copies numbers, or the bytes of whole blocks; `items` are those of so many elements.
fn copy_items<T: Copy>(
    copy: crate::arch::Copy,
    items: impl Fn(u64) -> Result<usize>,
    from: &[T],
    to: &mut [T],
) -> Result<()> {
    let (start, len) = (items(copy.from)?, items(copy.len)?);
    let from = from.get(start..start + len).ok_or_else(outside)?;
    let to = to.get_mut(items(copy.to)?..).ok_or_else(outside)?;
    if copy.stride == 1 {
        to.get_mut(..len).ok_or_else(outside)?.copy_from_slice(from);
        return Ok(());
    }
    let stride = mem_len(copy.stride)?;
    if to.len() < (len - 1) * stride + 1 {
        return Err(outside());
    }
    for (value, to) in from.iter().zip(to.iter_mut().step_by(stride)) {
        *to = *value;
    }
    Ok(())
}
