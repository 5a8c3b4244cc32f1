//! The index of a tensor file from bytes.

use uuid::Uuid;

use super::{END_MAGIC, Group, HEAD, Index, MAGIC, TRAILER, VERSION, damaged, head, matrix};
use crate::error::{Error, Result};
use crate::limits;
use crate::stats::GroupStats;
use crate::tensor::{DType, Shape, mem_len};

impl Index {
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
    use super::super::checksum;
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
