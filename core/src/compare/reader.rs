//! Rows of a tensor of any kind of model, read on one thread and decoded on another.

use std::ops::Range;

use crate::decode::{Elements, RowDecoder};
use crate::error::{Error, Result};
use crate::format::store::{Index, checksum, damaged, matrix};
use crate::io::{Chunk, Files};
use crate::limits::rows_per_group;
use crate::registry::Registry;
use crate::source::SourceTensor;
use crate::store::tensor_file;
use crate::tensor::{DType, mem_len};

/// Where the rows of a tensor are.
pub(crate) enum Reader<'a> {
    /// In a checkpoint or GGUF file, by the name of its file.
    Source(&'a SourceTensor, &'a str),
    /// In row groups of a tensor file.
    Stored(Box<Index>),
}

/// What some rows of a tensor hold.
pub(crate) enum Values {
    Numbers(Vec<f32>),
    /// Elements that are no weights, as they are.
    Bytes(Vec<u8>),
}

impl Reader<'_> {
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Source(tensor, _) => tensor.info.dtype,
            Self::Stored(index) => index.dtype,
        }
    }

    /// Rows and columns.
    pub(crate) fn matrix(&self) -> (u64, u64) {
        match self {
            Self::Source(tensor, _) => matrix(&tensor.info.shape, tensor.info.dtype),
            Self::Stored(index) => index.matrix(),
        }
    }

    /// Rows that are read at once: any multiple of it will do.
    pub(crate) fn step(&self) -> u64 {
        match self {
            Self::Source(..) => rows_per_group(self.matrix().1, 1),
            Self::Stored(index) => index.group_rows,
        }
    }

    /// Bytes that so many rows take at most while they are read.
    pub(crate) fn cost(&self, rows: u64) -> Result<u64> {
        let values = rows.saturating_mul(self.matrix().1).saturating_mul(4);
        let bytes = match self {
            Self::Source(SourceTensor { derived: Some(derived), .. }, _) => derived.cost(rows)?,
            Self::Source(..) => values,
            Self::Stored(index) => {
                let largest = index.groups.iter().map(|group| group.len).max().unwrap_or(0);
                largest.saturating_mul(rows.div_ceil(index.group_rows.max(1)))
            }
        };
        Ok(values.saturating_add(bytes))
    }

    /// The bytes that some rows need.
    pub(crate) fn read<'f>(
        &self,
        files: &'f dyn Files,
        shards: &[String],
        rows: &Range<u64>,
    ) -> Result<Vec<Chunk<'f>>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Source(tensor, file) => match &tensor.derived {
                None => {
                    let len = tensor.row_len(self.matrix().1)?;
                    let (start, end) = (tensor.offset + rows.start * len, rows.end - rows.start);
                    Ok(vec![files.read(file, start..start + end * len)?])
                }
                Some(derived) => {
                    let mut chunks = Vec::new();
                    for part in derived.parts() {
                        let range = part.range(rows)?;
                        let file =
                            shards.get(part.shard).ok_or_else(|| Error::shape("no shard"))?;
                        let range = part.offset + range.start..part.offset + range.end;
                        chunks.push(files.read(file, range)?);
                    }
                    Ok(chunks)
                }
            },
            Self::Stored(index) => {
                let mut chunks = Vec::new();
                for group in groups(index, rows)? {
                    let found = index.groups.get(group).ok_or_else(|| Error::shape("no group"))?;
                    let range = found.offset..found.offset + found.len;
                    chunks.push(files.read(&tensor_file(index.id), range)?);
                }
                Ok(chunks)
            }
        }
    }

    /// What these rows hold; `chunks` are what [`Self::read`] gave for them.
    pub(crate) fn values(
        &self,
        rows: &Range<u64>,
        chunks: &[Chunk<'_>],
        registry: &Registry,
    ) -> Result<Values> {
        let (dtype, cols) = (self.dtype(), self.matrix().1);
        let count = mem_len((rows.end - rows.start).saturating_mul(cols))?;
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_ref().as_ref()).collect();
        let mut bytes = Vec::new();
        match self {
            Self::Source(tensor, _) => match &tensor.derived {
                Some(derived) if !rows.is_empty() => {
                    derived.decode(rows, cols, &chunks, false, &mut bytes)?;
                }
                _ => bytes.extend_from_slice(chunks.first().copied().unwrap_or_default()),
            },
            Self::Stored(index) => {
                let mut values = Vec::with_capacity(count);
                for (group, chunk) in groups(index, rows)?.zip(&chunks) {
                    let found = index.groups.get(group).ok_or_else(|| Error::shape("no group"))?;
                    if checksum(chunk) != found.sum {
                        return Err(damaged(&format!("row group {group}"), found.offset));
                    }
                    let shape = index.group_shape(group)?;
                    if dtype.holds_weights() {
                        let start = values.len();
                        values.resize(start + shape.rows * shape.cols, 0.0);
                        let out = values.get_mut(start..).unwrap_or_default();
                        RowDecoder::new(index, registry)?.decode(chunk, shape, out)?;
                    } else {
                        registry.block(&index.format)?.restore(chunk, shape, &mut bytes)?;
                    }
                }
                return Ok(match dtype.holds_weights() {
                    true => Values::Numbers(values),
                    false => Values::Bytes(bytes),
                });
            }
        }
        if !dtype.holds_weights() {
            return Ok(Values::Bytes(bytes));
        }
        let mut values = vec![0.0; count];
        Elements::new(dtype, registry)?.to_f32(&bytes, &mut values)?;
        Ok(Values::Numbers(values))
    }
}

/// The groups of an index that hold some rows, which begin with a group.
fn groups(index: &Index, rows: &Range<u64>) -> Result<Range<usize>> {
    let size = index.group_rows.max(1);
    Ok(mem_len(rows.start / size)?..mem_len(rows.end.div_ceil(size))?)
}
