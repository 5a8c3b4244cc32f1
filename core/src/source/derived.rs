//! Tensors that a checkpoint keeps in parts: codes, and the scales that make them numbers.
//!
//! A derived tensor is read by rows like any other; each part says which of its bytes some rows need,
//! so memory stays that of a row group.

use std::ops::Range;

use super::SourceTensor;
use super::dequant::{Codes, dequantize};
use super::mxfp4;
use crate::error::{Error, Result};
use crate::tensor::{TensorInfo, mem_len};

/// What a tensor of the model is made of.
#[derive(Debug, Clone)]
pub struct Derived {
    /// What the parts are, in one word, such as `fp8`.
    pub encoding: &'static str,
    pub(super) how: How,
    /// Codes first; then as `how` has them.
    pub(super) parts: Vec<Part>,
}

/// One tensor of the checkpoint, as a part of a derived one.
#[derive(Debug, Clone)]
pub struct Part {
    /// Name, type, shape.
    pub info: TensorInfo,
    /// Number of the shard in [`super::Model::shards`].
    pub shard: usize,
    /// Offset in that file.
    pub offset: u64,
    pub(super) reach: Reach,
}

/// Which bytes of a part some rows need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// As many bytes for every row.
    Rows(u64),
    /// Rows of scales, so many bytes each.
    Tiles(Tiles, u64),
    /// Words of 32 bits in columns, each with the numbers of `32 / bits` consecutive rows; so many
    /// bytes for a row of words.
    Packed { bits: u64, bytes: u64 },
    /// All of it.
    Whole,
}

/// How scales are spread over a matrix (or over each matrix of a stack).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Rows of one matrix.
    pub(super) matrix: u64,
    /// Rows that have a row of scales in common.
    pub(super) rows: u64,
    /// Columns that have a scale in common.
    pub(super) cols: u64,
    /// Rows of scales for one matrix; 0 if all matrices have the same.
    pub(super) step: u64,
    /// Scales in a row of them.
    pub(super) width: u64,
}

impl Tiles {
    /// The row of scales that a row of the tensor has.
    pub(super) fn row(self, row: u64) -> u64 {
        let (matrix, within) = (row / self.matrix.max(1), row % self.matrix.max(1));
        matrix * self.step + within / self.rows.max(1)
    }
}

#[derive(Debug, Clone)]
pub(super) enum How {
    /// Blocks of ggml's MXFP4: codes and scales are put side by side.
    Mxfp4,
    /// Codes times scales, in F32.
    Scaled(Codes),
}

impl From<SourceTensor> for Part {
    fn from(tensor: SourceTensor) -> Self {
        let SourceTensor { info, shard, offset, .. } = tensor;
        Self { info, shard, offset, reach: Reach::Whole }
    }
}

impl Part {
    /// The bytes, counted from the part's first, that rows `rows` need.
    pub(crate) fn range(&self, rows: &Range<u64>) -> Result<Range<u64>> {
        let last = rows.end.saturating_sub(1);
        let (lines, len) = match self.reach {
            Reach::Rows(len) => (rows.clone(), len),
            Reach::Tiles(tiles, len) => (tiles.row(rows.start)..tiles.row(last) + 1, len),
            Reach::Packed { bits, bytes } => {
                (rows.start * bits / 32..(rows.end * bits).div_ceil(32), bytes)
            }
            Reach::Whole => (0..1, self.info.byte_len()?),
        };
        let range = lines.start * len..lines.end * len;
        match range.end <= self.info.byte_len()? {
            true => Ok(range),
            false => Err(Error::shape(format!("tensor `{}` has too few rows", self.info.name))),
        }
    }
}

impl Derived {
    /// The tensors of the checkpoint that it is made of, codes first.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Bytes of the codes of one row.
    pub(super) fn row_len(&self) -> Result<u64> {
        match self.parts.first().map(|codes| codes.reach) {
            Some(Reach::Rows(len)) => Ok(len),
            _ => Err(incomplete()),
        }
    }

    /// Most bytes of all parts that a group of so many rows needs.
    pub(crate) fn cost(&self, rows: u64) -> Result<u64> {
        let mut sum = 0u64;
        for part in &self.parts {
            let most = match part.reach {
                Reach::Rows(len) => len.saturating_mul(rows),
                Reach::Tiles(tiles, len) => {
                    // Rows of scales begun, at both ends and in every matrix touched.
                    let (lines, matrices) = (rows / tiles.rows.max(1), rows / tiles.matrix.max(1));
                    len.saturating_mul(lines + 2 * matrices + 2)
                }
                Reach::Packed { bits, bytes } => bytes.saturating_mul(rows * bits / 32 + 2),
                Reach::Whole => u64::MAX,
            };
            sum = sum.saturating_add(most.min(part.info.byte_len()?));
        }
        Ok(sum)
    }

    /// Appends the elements of rows `rows` of a tensor with `cols` columns to `out`; `chunks` are the
    /// bytes that each part's [`Part::range`] names. With `finite`, codes that are no number are an
    /// error where the values themselves would not show it.
    pub(crate) fn decode(
        &self,
        rows: &Range<u64>,
        cols: u64,
        chunks: &[&[u8]],
        finite: bool,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let cols = mem_len(cols)?;
        match &self.how {
            How::Mxfp4 => {
                let [codes, scales] = chunks else { return Err(incomplete()) };
                mxfp4::blocks(rows, cols, codes, scales, finite, out)
            }
            How::Scaled(codes) => dequantize(codes, &self.parts, rows, cols, chunks, out),
        }
    }
}

pub(super) fn incomplete() -> Error {
    Error::shape("a tensor without all of its parts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Shape};

    fn part(reach: Reach, dtype: DType, dims: &[u64]) -> Part {
        let shape = Shape::try_new(dims.to_vec()).unwrap();
        let info = TensorInfo { name: "s".to_owned(), dtype, shape };
        Part { info, shard: 0, offset: 0, reach }
    }

    #[test]
    fn rows_find_their_scales_in_every_matrix() {
        // Three matrices of 5 rows, tiles of 2 rows: 3 rows of scales each, the last one partial.
        let tiles = Tiles { matrix: 5, rows: 2, cols: 4, step: 3, width: 2 };
        let rows: Vec<u64> = (0..15).map(|row| tiles.row(row)).collect();
        assert_eq!(rows, [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8]);
        let scales = part(Reach::Tiles(tiles, 8), DType::F32, &[3, 3, 2]);
        assert_eq!(scales.range(&(0..15)).unwrap(), 0..72);
        assert_eq!(scales.range(&(4..6)).unwrap(), 16..32);
        assert_eq!(scales.range(&(3..4)).unwrap(), 8..16);
        assert!(scales.range(&(0..16)).is_err());
        let shared = Tiles { matrix: 5, rows: 5, cols: 4, step: 0, width: 1 };
        assert!((0..15).all(|row| shared.row(row) == 0));
    }

    #[test]
    fn packed_rows_take_whole_words() {
        let zeros = part(Reach::Packed { bits: 4, bytes: 12 }, DType::I32, &[3, 3]);
        assert_eq!(zeros.range(&(0..8)).unwrap(), 0..12);
        assert_eq!(zeros.range(&(7..9)).unwrap(), 0..24);
        assert_eq!(zeros.range(&(16..20)).unwrap(), 24..36);
        assert!(zeros.range(&(16..28)).is_err());
    }
}
