//! One tensor of the store: the `.gmat` file, version 3.
//!
//! ```text
//! 0   magic "GMAT"
//! 4   u32 version (3)
//! 8   row groups, one after the other, each as its block format encodes it
//! F   index (see below), at the offset named in the trailer
//!     trailer, 64 bytes: u64 F · u64 index length · 32 bytes BLAKE3 of bytes 0..8, the index and
//!     the 16 bytes before · u32 version · 8 bytes zero · magic "TAMG"
//! ```
//! The index, all integers little-endian:
//! ```text
//! u8 dtype code · u8 length and text of the block format · u16 rank · u64 per dimension
//! u8 length and text of the tensor id (UUID) · 32 bytes BLAKE3 of the source bytes
//! 32 bytes fingerprint of the plan · f64 importance
//! u64 rows per group (the last may have fewer) · u64 number of groups
//! per group: u64 offset · u64 length · 16 bytes BLAKE3 (first half) of its bytes
//!            u64 non-zero · u64 non-finite · f32 largest magnitude · f64 sum of squares
//! ```
//! Files are written append-only; every byte is covered by one of the checksums.

mod read;
mod write;

use std::ops::Range;

use uuid::Uuid;

use crate::block::GroupShape;
use crate::error::{Error, Result};
use crate::stats::GroupStats;
use crate::tensor::{DType, Shape, mem_len};

const MAGIC: &[u8; 4] = b"GMAT";
const END_MAGIC: &[u8; 4] = b"TAMG";
/// The version this program writes and reads.
pub const VERSION: u32 = 3;
/// Bytes before the first row group.
pub const HEAD: u64 = 8;
/// Bytes of the trailer.
pub const TRAILER: u64 = 64;
/// Bytes of a row group's checksum.
pub const SUM: usize = 16;

/// The first bytes of a file.
#[must_use]
pub fn head() -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(MAGIC);
    head[4..].copy_from_slice(&VERSION.to_le_bytes());
    head
}

/// Checksum of an encoded row group.
#[must_use]
pub fn checksum(bytes: &[u8]) -> [u8; SUM] {
    let mut sum = [0; SUM];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..SUM]);
    sum
}

/// Where a row group is and what is in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Checksum of these bytes.
    pub sum: [u8; SUM],
    /// What import saw.
    pub stats: GroupStats,
}

/// The index of a tensor file.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    /// Element type of the source.
    pub dtype: DType,
    /// Name of the block format.
    pub format: String,
    /// Dimensions of the source, slowest first.
    pub shape: Shape,
    /// The tensor's id; a file under another name is noticed.
    pub id: Uuid,
    /// BLAKE3 of the source bytes.
    pub source_hash: [u8; 32],
    /// BLAKE3 of everything that decided these bytes (source, format, version).
    pub fingerprint: [u8; 32],
    /// Share of lanes an octave above the median (see [`crate::stats::LaneTops`]).
    pub importance: f64,
    /// Rows of every group but the last.
    pub group_rows: u64,
    /// The groups, in row order.
    pub groups: Vec<Group>,
}

impl Index {
    /// Rows and columns as the codecs see them. A tensor of one dimension has rows of one element
    /// (or block), so that it can be cut anywhere.
    #[must_use]
    pub fn matrix(&self) -> (u64, u64) {
        matrix(&self.shape, self.dtype)
    }

    /// The rows of a group, if there is such a group.
    #[must_use]
    pub fn group_rows(&self, group: usize) -> Range<u64> {
        let (rows, _) = self.matrix();
        let start = (group as u64).saturating_mul(self.group_rows).min(rows);
        start..start.saturating_add(self.group_rows).min(rows)
    }

    /// Shape of a group for its block format.
    ///
    /// # Errors
    /// `Limit` if it does not fit in memory.
    pub fn group_shape(&self, group: usize) -> Result<GroupShape> {
        let rows = self.group_rows(group);
        let (_, cols) = self.matrix();
        Ok(GroupShape {
            dtype: self.dtype,
            rows: mem_len(rows.end - rows.start)?,
            cols: mem_len(cols)?,
        })
    }

    /// Bytes that so many rows have in the source.
    #[must_use]
    pub fn source_len(&self, rows: u64) -> u64 {
        let row = self.dtype.byte_len(self.matrix().1);
        row.map_or(0, |len| len.saturating_mul(rows))
    }

    /// The bytes of a row group, if they are those that were written.
    ///
    /// # Errors
    /// `Malformed` if they are not, naming the group and its place.
    pub(crate) fn checked<'b>(&self, number: usize, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let group = self.groups.get(number).ok_or_else(|| Error::shape("no such row group"))?;
        match checksum(bytes) == group.sum {
            true => Ok(bytes),
            false => Err(damaged(&format!("row group {number}"), group.offset)),
        }
    }

    /// Where the row groups end.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.groups.last().map_or(HEAD, |group| group.offset + group.len)
    }

    /// Statistics of the whole tensor.
    #[must_use]
    pub fn stats(&self) -> GroupStats {
        self.groups.iter().fold(GroupStats::default(), |sum, group| sum.merge(group.stats))
    }
}

/// Rows and columns of a shape as the codecs see them (see [`Index::matrix`]).
#[must_use]
pub fn matrix(shape: &Shape, dtype: DType) -> (u64, u64) {
    if shape.rank() > 1 {
        return (shape.rows(), shape.cols());
    }
    let block = dtype.block().elems as u64;
    (shape.elems() / block, block)
}

/// A checksum failed in `part`, which starts at byte `offset`.
#[must_use]
pub fn damaged(part: &str, offset: u64) -> Error {
    Error::malformed(format!("{part} at byte {offset} is damaged: its checksum does not match"))
        .with_hint("the file changed after it was written; import the model again")
}
