//! A view of a tensor of known shape: where each of its elements comes from.

use std::ops::Range;

use crate::tensor::Shape;

/// A [`View`](super::View) of a tensor of known shape. Elements are counted in row-major order,
/// those of the source from its start, those of the output from the start of what the view yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub(super) slices: u64,
    /// Rows of a slice, and elements of a row.
    pub(super) rows: u64,
    pub(super) inner: u64,
    pub(super) first: u64,
    pub(super) step: u64,
    pub(super) count: u64,
    /// The first of the columns, their distance and their number.
    pub(super) columns: (u64, u64, u64),
    pub(super) head_rows: Option<u64>,
    pub(super) transposed: bool,
    pub(super) whole: bool,
    pub(super) shape: Shape,
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
    use crate::arch::{Take, View};

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
            let take = Take::Range { first: 1, count: 2, of: 4 };
            let range = View::WHOLE.cut(3).take(take);
            let middle = |row: u64| (1..3).contains(&row).then_some(row);
            let expected = by_definition(3, 4, 5, middle, false);
            assert_eq!(all(range, &[12, 5], rows), (vec![3, 2, 5], expected.clone()));
            let merged = View::WHOLE.cut_and_merge(3).take(take);
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
}
