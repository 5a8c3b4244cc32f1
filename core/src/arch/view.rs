//! Which elements of a source tensor a tensor of the output has, and in which order.
//!
//! A source tensor is seen as slices of equal size, each of them a list of rows (of matrices) or of
//! elements (of vectors). A view takes the same rows of every slice, may reorder them for rotary
//! embeddings, and may transpose each slice. That covers what checkpoints and GGUF files do
//! differently, and can be computed piece by piece: no tensor is ever needed as a whole.

use super::Taken;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[u64]) -> Shape {
        Shape::try_new(dims.to_vec()).unwrap()
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
