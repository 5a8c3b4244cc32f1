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

use std::ops::Range;

use uuid::Uuid;

use crate::block::GroupShape;
use crate::error::{Error, Result};
use crate::limits;
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

    /// Index and trailer, to be appended after the last row group, which ends at `offset`.
    #[must_use]
    pub fn to_bytes(&self, offset: u64) -> Vec<u8> {
        let mut out = vec![self.dtype.code()];
        put_text(&mut out, &self.format);
        put(&mut out, &(self.shape.rank() as u64).to_le_bytes()[..2]);
        for dim in self.shape.dims() {
            put(&mut out, &dim.to_le_bytes());
        }
        put_text(&mut out, &self.id.to_string());
        put(&mut out, &self.source_hash);
        put(&mut out, &self.fingerprint);
        put(&mut out, &self.importance.to_le_bytes());
        put(&mut out, &self.group_rows.to_le_bytes());
        put(&mut out, &(self.groups.len() as u64).to_le_bytes());
        for group in &self.groups {
            put(&mut out, &group.offset.to_le_bytes());
            put(&mut out, &group.len.to_le_bytes());
            put(&mut out, &group.sum);
            put(&mut out, &group.stats.nonzero.to_le_bytes());
            put(&mut out, &group.stats.non_finite.to_le_bytes());
            put(&mut out, &group.stats.max_abs.to_le_bytes());
            put(&mut out, &group.stats.sum_sq.to_le_bytes());
        }
        let index_len = out.len() as u64;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head()).update(&out);
        put(&mut out, &offset.to_le_bytes());
        put(&mut out, &index_len.to_le_bytes());
        hasher.update(&offset.to_le_bytes()).update(&index_len.to_le_bytes());
        put(&mut out, hasher.finalize().as_bytes());
        put(&mut out, &VERSION.to_le_bytes());
        put(&mut out, &[0; 8]);
        put(&mut out, END_MAGIC);
        out
    }

    /// Reads the index through `read(offset, len)`, which returns exactly these bytes of a file of
    /// `file_len` bytes.
    ///
    /// # Errors
    /// `Malformed` with the byte offset if the file is truncated, damaged or contradicts itself;
    /// `Unsupported` for files of the earlier program (versions 1 and 2) and newer ones.
    pub fn read(
        file_len: u64,
        mut read: impl FnMut(u64, usize) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        if file_len < HEAD + TRAILER {
            return Err(truncated(format!("it has only {file_len} bytes")));
        }
        let head_bytes = read(0, head().len())?;
        check_head(&head_bytes)?;
        let trailer = read(file_len - TRAILER, mem_len(TRAILER)?)?;
        let mut at = Cursor { bytes: &trailer, at: 0 };
        let (offset, index_len) = (at.u64()?, at.u64()?);
        let sum: [u8; 32] = at.array()?;
        let (version, zero, end) = (at.u32()?, at.array::<8>()?, at.array::<4>()?);
        if &end != END_MAGIC {
            return Err(truncated("its last bytes are not those of a tensor file".into()));
        }
        if version != VERSION || zero != [0; 8] {
            return Err(damaged("the trailer", file_len - TRAILER));
        }
        let expected_end = offset.checked_add(index_len).and_then(|end| end.checked_add(TRAILER));
        if offset < HEAD || expected_end != Some(file_len) {
            return Err(damaged("the trailer", file_len - TRAILER));
        }
        let bytes = read(offset, mem_len(index_len)?)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head_bytes).update(&bytes);
        hasher.update(&offset.to_le_bytes()).update(&index_len.to_le_bytes());
        if hasher.finalize() != sum {
            return Err(damaged("the index", offset));
        }
        Self::parse(&bytes, offset)
    }

    /// The fields, once the checksum has been found right. A wrong one can only have been written
    /// on purpose, so messages need not be gentle, but nothing may panic or allocate much.
    fn parse(bytes: &[u8], data_end: u64) -> Result<Self> {
        let mut at = Cursor { bytes, at: 0 };
        let code = at.array::<1>()?[0];
        let dtype = DType::from_code(code)
            .ok_or_else(|| Error::malformed(format!("unknown dtype code {code} in the index")))?;
        let format = at.text()?;
        let rank = usize::from(u16::from_le_bytes(at.array()?));
        if rank > limits::RANK {
            return Err(Error::malformed(format!("{rank} dimensions in the index")));
        }
        let dims = (0..rank).map(|_| at.u64()).collect::<Result<Vec<_>>>()?;
        let shape = Shape::try_new(dims)?;
        let id = Uuid::parse_str(&at.text()?).map_err(|e| {
            Error::malformed("the tensor id in the index is not a UUID").with_source(e)
        })?;
        let (source_hash, fingerprint) = (at.array()?, at.array()?);
        let importance = f64::from_le_bytes(at.array()?);
        let (group_rows, count) = (at.u64()?, at.u64()?);
        let (rows, _) = matrix(&shape, dtype);
        if dtype.byte_len(shape.cols()).is_none() {
            let cols = shape.cols();
            return Err(Error::malformed(format!("rows of {cols} are not whole `{dtype}` blocks")));
        }
        let cols = matrix(&shape, dtype).1;
        if cols > limits::ROW_VALUES || group_rows > limits::rows_per_group(cols, limits::GRANULE) {
            return Err(Error::malformed(format!("row groups of {group_rows} rows of {cols}")));
        }
        if group_rows == 0 || count != rows.div_ceil(group_rows) || count > limits::ROW_GROUPS {
            return Err(Error::malformed(format!(
                "{count} groups of {group_rows} rows do not make {rows} rows"
            )));
        }
        let mut groups = Vec::new();
        let mut end = HEAD;
        for _ in 0..count {
            let group = at.group()?;
            if group.offset != end {
                return Err(Error::malformed(format!("row groups leave a gap at byte {end}")));
            }
            end = end
                .checked_add(group.len)
                .ok_or_else(|| Error::malformed("a row group of absurd length"))?;
            groups.push(group);
        }
        if end != data_end || at.at != bytes.len() {
            return Err(Error::malformed(format!("row groups end at byte {end}, not {data_end}")));
        }
        Ok(Self {
            dtype,
            format,
            shape,
            id,
            source_hash,
            fingerprint,
            importance,
            group_rows,
            groups,
        })
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

fn check_head(head_bytes: &[u8]) -> Result<()> {
    let (magic, version) = head_bytes.split_at(4);
    if magic != MAGIC {
        return Err(Error::malformed("not a tensor file: the magic bytes at byte 0 are missing"));
    }
    if head_bytes == head() {
        return Ok(());
    }
    let mut number = [0; 4];
    number.copy_from_slice(version);
    match u32::from_le_bytes(number) {
        old @ (1 | 2) => Err(Error::unsupported(format!(
            "tensor file version {old} was written by the earlier gmat-cli, which this program does not read"
        ))
        .with_hint("import the model again")),
        other => Err(Error::unsupported(format!(
            "tensor file version {other} is not supported; this program reads version {VERSION}"
        ))
        .with_hint("the file is damaged or was written by a newer gmat")),
    }
}

fn truncated(why: String) -> Error {
    Error::malformed(format!("tensor file is truncated: {why}"))
        .with_hint("the store is incomplete; import the model again")
}

/// A checksum failed in `part`, which starts at byte `offset`.
#[must_use]
pub fn damaged(part: &str, offset: u64) -> Error {
    Error::malformed(format!("{part} at byte {offset} is damaged: its checksum does not match"))
        .with_hint("the file changed after it was written; import the model again")
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Texts here are names of formats and ids, which are short by construction.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.len().min(255)).unwrap_or_default();
    out.extend_from_slice(&(text.len() as u64).to_le_bytes()[..1]);
    out.extend_from_slice(text.as_bytes());
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| Error::malformed("the index ends too early"))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let len = usize::from(self.array::<1>()?[0]);
        String::from_utf8(self.take(len)?.to_vec())
            .map_err(|_| Error::malformed("a text in the index is not UTF-8"))
    }

    fn group(&mut self) -> Result<Group> {
        Ok(Group {
            offset: self.u64()?,
            len: self.u64()?,
            sum: self.array()?,
            stats: GroupStats {
                nonzero: self.u64()?,
                non_finite: self.u64()?,
                max_abs: f32::from_le_bytes(self.array()?),
                sum_sq: f64::from_le_bytes(self.array()?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of three groups and its index.
    fn sample() -> (Vec<u8>, Index) {
        let mut file = head().to_vec();
        let mut groups = Vec::new();
        for number in 0..3u8 {
            let bytes = [number; 10];
            groups.push(Group {
                offset: file.len() as u64,
                len: 10,
                sum: checksum(&bytes),
                stats: GroupStats {
                    nonzero: number.into(),
                    non_finite: 0,
                    max_abs: 1.0,
                    sum_sq: 2.0,
                },
            });
            file.extend_from_slice(&bytes);
        }
        let index = Index {
            dtype: DType::Bf16,
            format: "B8x8".to_owned(),
            shape: Shape::try_new(vec![5, 7]).unwrap(),
            id: Uuid::from_u128(42),
            source_hash: [1; 32],
            fingerprint: [2; 32],
            importance: 0.125,
            group_rows: 2,
            groups,
        };
        let footer = index.to_bytes(file.len() as u64);
        file.extend_from_slice(&footer);
        (file, index)
    }

    fn open(file: &[u8]) -> Result<Index> {
        Index::read(file.len() as u64, |offset, len| {
            let start = mem_len(offset)?;
            file.get(start..start + len)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| Error::malformed("read beyond the end"))
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let (file, index) = sample();
        assert_eq!(open(&file).unwrap(), index);
        assert_eq!(index.group_rows(2), 4..5);
        assert_eq!(index.group_shape(0).unwrap().cols, 7);
        assert_eq!(index.stats().nonzero, 3);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (file, index) = sample();
        for bit in 0..8 * file.len() {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = match open(&flipped) {
                Err(_) => true,
                // Group bytes are covered by their own checksums.
                Ok(read) => read.groups.iter().any(|group| {
                    let start = usize::try_from(group.offset).unwrap();
                    checksum(&flipped[start..start + 10]) != group.sum
                }),
            };
            assert!(found, "bit {bit}");
        }
        for cut in 0..file.len() {
            assert!(open(&file[..cut]).is_err(), "cut at {cut}");
        }
        assert!(open(&[&file[..], &[0]].concat()).is_err());
        drop(index);
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        let (mut file, _) = sample();
        for (version, text) in [(1, "earlier"), (2, "earlier"), (4, "newer gmat")] {
            file[4..8].copy_from_slice(&u32::to_le_bytes(version));
            let error = open(&file).unwrap_err();
            assert!(format!("{error:?}").contains(text), "{error:?}");
        }
        let lying = Index { group_rows: 0, ..sample().1 };
        let mut file = head().to_vec();
        file.extend_from_slice(&[0; 30]);
        file.extend_from_slice(&lying.to_bytes(38));
        assert!(open(&file).unwrap_err().message().contains("do not make"));
    }
}
