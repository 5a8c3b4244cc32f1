//! Which elements of a source tensor a tensor of the output has, and in which order.
//!
//! A source tensor is seen as slices of equal size, each of them a list of rows (of matrices) or of
//! elements (of vectors). A view takes the same rows of every slice, may reorder them for rotary
//! embeddings, and may transpose each slice. That covers what checkpoints and GGUF files do
//! differently, and can be computed piece by piece: no tensor is ever needed as a whole.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::tensor::Shape;

/// What is taken from a source tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    cut: Option<u64>,
    merged: bool,
    vectors: bool,
    take: Take,
    heads: Option<u64>,
    transposed: bool,
    flat: bool,
    columns: Take,
}

/// Most dimensions that a tensor of a GGUF file has.
const MAX_RANK: usize = 4;

/// The rows that are taken from every slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// All of them.
    All,
    /// One of `of` parts of equal size.
    Share {
        /// Number of the part.
        at: u64,
        /// Number of parts.
        of: u64,
    },
    /// Every `step`-th row.
    Every {
        /// The first of them.
        first: u64,
        /// Distance between two of them; the rows are a multiple of it.
        step: u64,
    },
    /// Some consecutive rows.
    Range {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
        /// How many rows a slice must have.
        of: u64,
    },
    /// All from one on.
    From(u64),
}

impl View {
    /// A tensor as it is.
    pub const WHOLE: Self = Self {
        cut: None,
        merged: false,
        vectors: false,
        take: Take::All,
        heads: None,
        transposed: false,
        flat: false,
        columns: Take::All,
    };

    /// Takes some rows only.
    #[must_use]
    pub const fn take(self, take: Take) -> Self {
        Self { take, ..self }
    }

    /// Cuts the rows into `slices` of equal size, which become a dimension of their own. Without
    /// this the slices are those of the leading dimensions.
    #[must_use]
    pub const fn cut(self, slices: u64) -> Self {
        Self { cut: Some(slices), merged: false, ..self }
    }

    /// As [`Self::cut`], but what is taken from the slices follows each other without a dimension.
    #[must_use]
    pub const fn cut_and_merge(self, slices: u64) -> Self {
        Self { cut: Some(slices), merged: true, ..self }
    }

    /// Sees the tensor as vectors, not as matrices: elements of the last dimension are taken.
    #[must_use]
    pub const fn of_vectors(self) -> Self {
        Self { vectors: true, ..self }
    }

    /// Reorders the taken rows from half-split rotary order to interleaved: per head of `d` rows,
    /// row `j * (d/2) + i` (`j` 0 or 1) becomes row `2 * i + j`.
    #[must_use]
    pub const fn interleaved(self, heads: u64) -> Self {
        Self { heads: Some(heads), ..self }
    }

    /// Transposes every slice.
    #[must_use]
    pub const fn transposed(self) -> Self {
        self.transposed_columns(Take::All)
    }

    /// Transposes some columns of every slice: they become its rows.
    #[must_use]
    pub const fn transposed_columns(self, columns: Take) -> Self {
        Self { transposed: true, columns, ..self }
    }

    /// Takes the slowest dimensions together where there are more than GGUF files can say.
    #[must_use]
    pub const fn flat(self) -> Self {
        Self { flat: true, ..self }
    }

    /// The view of a tensor of a certain shape.
    ///
    /// # Errors
    /// `Shape` if the shape does not have what the view takes.
    pub fn of(&self, shape: &Shape) -> Result<Taken> {
        let dims = shape.dims();
        let vectors = self.vectors || dims.len() <= 1;
        let trailing = if vectors { 0 } else { 1 };
        let at = dims.len().saturating_sub(1 + trailing);
        let leading = dims.get(..at).unwrap_or_default();
        let all = dims.get(at).copied().unwrap_or(1);
        let inner = if vectors { 1 } else { dims.last().copied().unwrap_or(1) };
        if vectors && self.transposed {
            return Err(Error::shape(format!("shape {shape} has nothing to transpose")));
        }
        let rows = match self.cut {
            Some(slices) if slices > 0 && all.is_multiple_of(slices) => all / slices,
            Some(slices) => {
                return Err(Error::shape(format!("{all} rows are not {slices} equal slices")));
            }
            None => all,
        };
        let (first, step, count) = self.take.of(rows)?;
        let columns = self.columns.of(inner)?;
        let head_rows = match self.heads {
            None => None,
            Some(heads) => {
                let even = heads.checked_mul(2).filter(|&pairs| pairs > 0);
                let even = even.filter(|&pairs| count > 0 && count.is_multiple_of(pairs));
                even.ok_or_else(|| {
                    Error::shape(format!(
                        "{count} rows are not {heads} attention heads with an even number of rows each"
                    ))
                })?;
                Some(count / heads)
            }
        };
        // The product of all dimensions fits 63 bits, but an empty tensor may have large ones.
        let slices = leading.iter().try_fold(self.cut.unwrap_or(1), |n, dim| n.checked_mul(*dim));
        let slices = slices.ok_or_else(|| Error::limit(format!("shape {shape} is too large")))?;
        let mut out = leading.to_vec();
        match (self.cut, self.merged) {
            (Some(slices), true) => out.push(slices * count),
            (Some(slices), false) => out.extend([slices, count]),
            (None, _) if dims.is_empty() => {}
            (None, _) => out.push(count),
        }
        if !vectors {
            out.push(columns.2);
            if self.transposed {
                let last = out.len() - 1;
                out.swap(last - 1, last);
            }
        }
        if self.flat && out.len() > MAX_RANK {
            let merged = out.drain(..=out.len() - MAX_RANK).fold(1u64, u64::saturating_mul);
            out.insert(0, merged);
        }
        let transposed = self.transposed;
        let whole = first == 0 && step == 1 && count == rows && head_rows.is_none() && !transposed;
        let shape = Shape::try_new(out)?;
        Ok(Taken {
            slices,
            rows,
            inner,
            first,
            step,
            count,
            columns,
            head_rows,
            transposed,
            whole,
            shape,
        })
    }
}

impl Take {
    /// First row, distance and number of rows among so many.
    fn of(self, rows: u64) -> Result<(u64, u64, u64)> {
        let fits = match self {
            Self::All => Some((0, 1, rows)),
            Self::Share { at, of } => {
                (at < of && rows.is_multiple_of(of)).then(|| (at * (rows / of), 1, rows / of))
            }
            Self::Every { first, step } => {
                (first < step && rows.is_multiple_of(step)).then(|| (first, step, rows / step))
            }
            Self::Range { first, count, of } => {
                let end = first.checked_add(count);
                (of == rows && end.is_some_and(|end| end <= rows)).then_some((first, 1, count))
            }
            Self::From(first) => rows.checked_sub(first).map(|count| (first, 1, count)),
        };
        fits.ok_or_else(|| {
            let what = match self {
                Self::All => String::new(),
                Self::Share { of, .. } => format!("{of} parts of equal size"),
                Self::Every { step, .. } => format!("a multiple of {step}"),
                Self::Range { of, .. } => format!("the {of} that the config implies"),
                Self::From(first) => format!("{first} or more"),
            };
            Error::shape(format!("{rows} rows (or elements), expected {what}"))
        })
    }
}

/// A [`View`] of a tensor of known shape. Elements are counted in row-major order, those of the
/// source from its start, those of the output from the start of what the view yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    slices: u64,
    /// Rows of a slice, and elements of a row.
    rows: u64,
    inner: u64,
    first: u64,
    step: u64,
    count: u64,
    /// The first of the columns, their distance and their number.
    columns: (u64, u64, u64),
    head_rows: Option<u64>,
    transposed: bool,
    whole: bool,
    shape: Shape,
}

/// Elements to copy: `len` consecutive ones from `from` on to `to`, `to + stride`, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Place of the first one in the source.
    pub from: u64,
    /// Place of the first one in the output.
    pub to: u64,
    /// How many.
    pub len: u64,
    /// Their distance in the output.
    pub stride: u64,
}

impl Taken {
    /// The shape of what the view yields.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether all elements stay where they are.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether blocks of so many elements of a row stay whole.
    #[must_use]
    pub fn keeps_blocks(&self, elems: u64) -> bool {
        self.whole || (!self.transposed && self.inner.is_multiple_of(elems.max(1)))
    }

    /// For transposing views: elements of one output slice, and of one of its rows.
    #[must_use]
    pub fn transposed_slice(&self) -> Option<(u64, u64)> {
        self.transposed.then(|| (self.columns.2.saturating_mul(self.count), self.count))
    }

    /// Output rows that have to stay together: one attention head where rows are reordered.
    #[must_use]
    pub fn unit_rows(&self) -> u64 {
        self.head_rows.unwrap_or(1)
    }

    /// The source elements among which those of an output range are; the range begins and ends
    /// with whole heads, and stays within a slice, or has whole ones, if the view transposes.
    #[must_use]
    pub fn needed(&self, out: &Range<u64>) -> Range<u64> {
        if self.whole || out.is_empty() {
            return out.clone();
        }
        let per_slice = self.count * self.columns.2;
        let (slice, last_slice) = (out.start / per_slice, (out.end - 1) / per_slice);
        let row = |at: u64| (at % per_slice) / self.inner;
        let (mut from, mut to) = (row(out.start), row(out.end - 1));
        if self.transposed {
            (from, to) = (0, self.count - 1);
        } else if let Some(head) = self.head_rows {
            (from, to) = (from - from % head, to - to % head + head - 1);
        }
        let place = |slice: u64, row: u64| slice * self.rows + self.first + row * self.step;
        place(slice, from) * self.inner..(place(last_slice, to) + 1) * self.inner
    }

    /// What has to be copied to the output range from a source range, if that is all there is.
    /// Places are relative to the starts of the ranges.
    pub fn copies(&self, source: &Range<u64>, out: &Range<u64>, mut copy: impl FnMut(Copy)) {
        if source.is_empty() || out.is_empty() {
            return;
        }
        for place in source.start / self.inner..source.end.div_ceil(self.inner) {
            let (slice, row) = (place / self.rows, place % self.rows);
            let Some(at) = row.checked_sub(self.first).filter(|at| at.is_multiple_of(self.step))
            else {
                continue;
            };
            let at = at / self.step;
            if at >= self.count {
                continue;
            }
            // Elements of the row that are in the source range.
            let start = place * self.inner;
            let mut from = source.start.max(start) - start;
            let mut to = source.end.min(start + self.inner) - start;
            if self.transposed {
                self.transpose(slice, at, (start + from, to - from), (source, out), &mut copy);
                continue;
            }
            let base = (slice * self.count + self.reordered(at)) * self.inner;
            from = from.max(out.start.saturating_sub(base));
            to = to.min(out.end.saturating_sub(base));
            if from < to {
                copy(Copy {
                    from: start + from - source.start,
                    to: base + from - out.start,
                    len: to - from,
                    stride: 1,
                });
            }
        }
    }

    /// Copies of a part of taken row `at` of a slice: element `c` of the row becomes element `at` of
    /// row `c` of the output's slice, as far as that column is taken.
    fn transpose(
        &self,
        slice: u64,
        at: u64,
        (start, len): (u64, u64),
        (source, out): (&Range<u64>, &Range<u64>),
        copy: &mut impl FnMut(Copy),
    ) {
        let (first, step, columns) = self.columns;
        let (from, to) = (start % self.inner, start % self.inner + len);
        let rows = slice * columns;
        let column = |element: u64| element.saturating_sub(first).div_ceil(step);
        let from_column = column(from).max((out.start / self.count).saturating_sub(rows));
        let to_column = column(to).min(columns).min((out.end / self.count).saturating_sub(rows));
        // Neighbours in one go, others one by one.
        let run = if step == 1 { to_column.saturating_sub(from_column).max(1) } else { 1 };
        let mut column = from_column;
        while column < to_column {
            copy(Copy {
                from: start - from + first + column * step - source.start,
                to: (rows + column) * self.count + at - out.start,
                len: run,
                stride: self.count,
            });
            column += run;
        }
    }

    /// The place of a taken row among the taken rows of its slice.
    fn reordered(&self, at: u64) -> u64 {
        let Some(head) = self.head_rows else { return at };
        let (within, half) = (at % head, head / 2);
        at - within + 2 * (within % half) + within / half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[u64]) -> Shape {
        Shape::try_new(dims.to_vec()).unwrap()
    }

    /// Everything a view yields, computed in pieces of so many output rows; the source holds its
    /// element numbers.
    fn all(view: View, dims: &[u64], rows: u64) -> (Vec<u64>, Vec<u64>) {
        let taken = view.of(&shape(dims)).unwrap();
        let cols = match taken.shape().rank() {
            0 | 1 => 1,
            _ => taken.shape().cols(),
        };
        let elems = taken.shape().elems();
        let mut out = Vec::new();
        let mut start = 0;
        while start < elems {
            let end = (start + rows * cols).min(elems);
            let needed = taken.needed(&(start..end));
            let mut values = vec![u64::MAX; usize::try_from(end - start).unwrap()];
            // The source comes in groups of seven elements.
            for group in 0..dims.iter().product::<u64>().div_ceil(7) {
                let source = (group * 7).max(needed.start)..(group * 7 + 7).min(needed.end);
                taken.copies(&source, &(start..end), |copy| {
                    for i in 0..copy.len {
                        let to = usize::try_from(copy.to + i * copy.stride).unwrap();
                        assert_eq!(values[to], u64::MAX, "{view:?} writes {to} twice");
                        values[to] = source.start + copy.from + i;
                    }
                });
            }
            assert!(!values.contains(&u64::MAX), "{view:?} {start}..{end}: {values:?}");
            out.extend(values);
            start = end;
        }
        (taken.shape().dims().to_vec(), out)
    }

    /// The same by the definition: nested loops over slices, rows and elements.
    fn by_definition(
        slices: u64,
        rows: u64,
        inner: u64,
        take: impl Fn(u64) -> Option<u64>,
        transposed: bool,
    ) -> Vec<u64> {
        let mut out = Vec::new();
        for slice in 0..slices {
            let mut taken: Vec<(u64, u64)> =
                (0..rows).filter_map(|row| Some((take(row)?, row))).collect();
            taken.sort_unstable();
            let element = |row: u64, c: u64| (slice * rows + row) * inner + c;
            if transposed {
                for c in 0..inner {
                    out.extend(taken.iter().map(|&(_, row)| element(row, c)));
                }
            } else {
                for &(_, row) in &taken {
                    out.extend((0..inner).map(|c| element(row, c)));
                }
            }
        }
        out
    }

    #[test]
    fn views_yield_what_they_say() {
        let everything: Vec<u64> = (0..24).collect();
        for rows in 1..5 {
            assert_eq!(all(View::WHOLE, &[6, 4], rows), (vec![6, 4], everything.clone()));
            assert_eq!(all(View::WHOLE, &[24], rows), (vec![24], everything.clone()));
            let half = View::WHOLE.take(Take::Share { at: 1, of: 2 });
            let expected = by_definition(2, 4, 3, |row| row.checked_sub(2), false);
            assert_eq!(all(half, &[2, 4, 3], rows), (vec![2, 2, 3], expected));
            let odd = View::WHOLE.take(Take::Every { first: 1, step: 2 });
            let expected = by_definition(2, 4, 3, |row| (row % 2 == 1).then_some(row / 2), false);
            assert_eq!(all(odd, &[2, 4, 3], rows), (vec![2, 2, 3], expected));
            let expected = by_definition(4, 6, 1, |row| (row % 2 == 1).then_some(row / 2), false);
            assert_eq!(all(odd.of_vectors(), &[4, 6], rows), (vec![4, 3], expected));
            let range = View::WHOLE.cut(3).take(Take::Range { first: 1, count: 2, of: 4 });
            let middle = |row: u64| (1..3).contains(&row).then_some(row);
            let expected = by_definition(3, 4, 5, middle, false);
            assert_eq!(all(range, &[12, 5], rows), (vec![3, 2, 5], expected.clone()));
            let merged = View::WHOLE.cut_and_merge(3).take(range.take);
            assert_eq!(all(merged, &[12, 5], rows), (vec![6, 5], expected));
            let expected = by_definition(3, 4, 1, middle, false);
            assert_eq!(all(merged, &[12], rows), (vec![6], expected));
            let tail = View::WHOLE.take(Take::From(2));
            let expected = by_definition(1, 5, 3, |row| row.checked_sub(2), false);
            assert_eq!(all(tail, &[5, 3], rows), (vec![3, 3], expected));
        }
        // Transposed pieces stay in a slice, or have whole ones.
        for rows in [1, 5, 10, 15] {
            let range = View::WHOLE.cut(3).take(Take::Range { first: 1, count: 2, of: 4 });
            let middle = |row: u64| (1..3).contains(&row).then_some(row);
            let expected = by_definition(3, 4, 5, middle, true);
            assert_eq!(all(range.transposed(), &[12, 5], rows), (vec![3, 5, 2], expected));
            let expected = by_definition(2, 3, 5, Some, true);
            assert_eq!(all(View::WHOLE.transposed(), &[2, 3, 5], rows), (vec![2, 5, 3], expected));
            let odd = View::WHOLE.transposed_columns(Take::Every { first: 1, step: 2 });
            let columns = by_definition(2, 3, 10, Some, true);
            let columns = columns.chunks(3).enumerate().filter(|(column, _)| column % 2 == 1);
            let expected = columns.flat_map(|(_, values)| values.to_vec()).collect();
            assert_eq!(all(odd, &[2, 3, 10], rows), (vec![2, 5, 3], expected));
            let range = Take::Range { first: 1, count: 5, of: 7 };
            let columns = by_definition(2, 3, 7, Some, true);
            let columns = columns.chunks(3).enumerate();
            let columns = columns.filter(|(column, _)| (1..6).contains(&(column % 7)));
            let expected = columns.flat_map(|(_, values)| values.to_vec()).collect();
            let view = View::WHOLE.transposed_columns(range);
            assert_eq!(all(view, &[2, 3, 7], rows), (vec![2, 5, 3], expected));
        }
    }

    #[test]
    fn interleaving_is_a_permutation_within_heads() {
        let view = View::WHOLE.interleaved(3);
        let (dims, out) = all(view, &[18], 6);
        assert_eq!(dims, [18]);
        assert_eq!(&out[..6], [0, 3, 1, 4, 2, 5]);
        assert_eq!(&out[6..12], [6, 9, 7, 10, 8, 11]);
        let mut sorted = out;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..18).collect::<Vec<_>>());
        let (_, out) = all(view, &[18, 2], 12);
        assert_eq!(&out[..6], [0, 1, 6, 7, 2, 3]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let refused = |view: View, dims: &[u64]| view.of(&shape(dims)).is_err();
        for (heads, rows) in [(0, 4), (4, 0), (4, 12), (3, 16), (u64::MAX, 8), (1 << 63, 8)] {
            assert!(refused(View::WHOLE.interleaved(heads), &[rows, 4]), "{heads} heads, {rows}");
        }
        assert!(refused(View::WHOLE.cut(3), &[10, 4]));
        assert!(refused(View::WHOLE.cut(0), &[10, 4]));
        assert!(refused(View::WHOLE.transposed(), &[10]));
        for take in [
            Take::Share { at: 0, of: 3 },
            Take::Share { at: 2, of: 2 },
            Take::Share { at: 0, of: 0 },
            Take::Every { first: 0, step: 3 },
            Take::Every { first: 0, step: 0 },
            Take::Range { first: 0, count: 2, of: 9 },
            Take::Range { first: 9, count: 2, of: 10 },
            Take::Range { first: u64::MAX, count: 2, of: 10 },
            Take::From(11),
        ] {
            assert!(refused(View::WHOLE.take(take), &[10, 4]), "{take:?}");
        }
        assert_eq!(View::WHOLE.of(&shape(&[])).unwrap().shape().dims(), [0u64; 0]);
        let deep = View::WHOLE.flat().of(&shape(&[2, 3, 1, 5, 1, 7])).unwrap();
        assert_eq!((deep.shape().dims(), deep.is_whole()), (&[6, 5, 1, 7][..], true));
        let empty = View::WHOLE.take(Take::Share { at: 0, of: 2 }).of(&shape(&[4, 0])).unwrap();
        assert_eq!((empty.shape().dims(), empty.needed(&(0..0))), (&[2, 0][..], 0..0));
    }
}
