//! Rows of a tensor of any kind of model, read on one thread and decoded on another.

use std::ops::Range;

use super::Side;
use crate::decode::{Elements, RowDecoder, Stored};
use crate::error::{Error, Result, ResultExt};
use crate::format::store::{Index, checksum, damaged, matrix};
use crate::io::Chunk;
use crate::limits::rows_per_group;
use crate::registry::Registry;
use crate::source::SourceTensor;
use crate::store::Rows;
use crate::tensor::{DType, mem_len};

/// Where the rows of a tensor are.
pub(crate) enum Reader<'a> {
    /// In a checkpoint or GGUF file, by the name of its file.
    Source(&'a SourceTensor, &'a str),
    /// In row groups of a tensor file.
    Stored(Box<Rows>),
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
            Self::Stored(stored) => stored.index.dtype,
        }
    }

    /// Rows and columns.
    pub(crate) fn matrix(&self) -> (u64, u64) {
        match self {
            Self::Source(tensor, _) => matrix(&tensor.info.shape, tensor.info.dtype),
            Self::Stored(stored) => stored.index.matrix(),
        }
    }

    /// Rows that are read at once: any multiple of it will do.
    pub(crate) fn step(&self) -> u64 {
        match self {
            Self::Source(..) => rows_per_group(self.matrix().1, 1),
            Self::Stored(stored) => stored.index.group_rows,
        }
    }

    /// Bytes that so many rows take at most while they are read.
    pub(crate) fn cost(&self, rows: u64) -> Result<u64> {
        let values = rows.saturating_mul(self.matrix().1).saturating_mul(4);
        let bytes = match self {
            Self::Source(SourceTensor { derived: Some(derived), .. }, _) => derived.cost(rows)?,
            Self::Source(..) => values,
            Self::Stored(stored) => {
                let largest =
                    |index: &Index| index.groups.iter().map(|group| group.len).max().unwrap_or(0);
                let base = stored.base.as_ref().map_or(0, |(_, index)| {
                    largest(index)
                        .saturating_add(index.source_len(index.group_rows).saturating_mul(2))
                });
                let index = &stored.index;
                let group = largest(index).saturating_add(base);
                group.saturating_mul(rows.div_ceil(index.group_rows.max(1)))
            }
        };
        Ok(values.saturating_add(bytes))
    }

    /// The bytes that some rows need.
    pub(crate) fn read<'f>(&self, side: &'f Side<'f>, rows: &Range<u64>) -> Result<Vec<Chunk<'f>>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (files, shards) = (side.files(), side.shards());
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
            Self::Stored(stored) => {
                let store = side.as_store().ok_or_else(|| Error::shape("no store"))?;
                let own = Some((stored.location, &stored.index));
                let base = stored.base.as_ref().map(|(location, index)| (*location, index));
                let mut chunks = Vec::new();
                for (location, index) in own.into_iter().chain(base) {
                    for group in groups(index, rows)? {
                        let found = index.groups.get(group);
                        let found = found.ok_or_else(|| Error::shape("no group"))?;
                        let range = found.offset..found.offset + found.len;
                        chunks.push(store.read(location, range)?);
                    }
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
            Self::Stored(stored) => {
                let index = &stored.index;
                let mut values = Vec::with_capacity(count);
                let numbers = groups(index, rows)?;
                let (own, others) = chunks.split_at(numbers.len().min(chunks.len()));
                let others = others.iter().map(Some).chain(std::iter::repeat(None));
                let base_index = stored.base.as_ref().map(|(_, index)| index);
                let decoder = RowDecoder::new(index, base_index, registry)?;
                for ((group, chunk), other) in numbers.zip(own).zip(others) {
                    check(index, group, chunk)?;
                    let base = match (base_index, other) {
                        (Some(index), Some(other)) => {
                            check(index, group, other).context(|| "base")?;
                            Some(*other)
                        }
                        _ => None,
                    };
                    let bytes_of = Stored { own: chunk, base };
                    let shape = index.group_shape(group)?;
                    if dtype.holds_weights() {
                        let start = values.len();
                        values.resize(start + shape.rows * shape.cols, 0.0);
                        let out = values.get_mut(start..).unwrap_or_default();
                        decoder.decode(bytes_of, shape, out)?;
                    } else {
                        decoder.source(bytes_of, shape, &mut bytes)?;
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

/// Compares a row group with its checksum.
fn check(index: &Index, group: usize, bytes: &[u8]) -> Result<()> {
    let found = index.groups.get(group).ok_or_else(|| Error::shape("no group"))?;
    match checksum(bytes) == found.sum {
        true => Ok(()),
        false => Err(damaged(&format!("row group {group}"), found.offset)),
    }
}

/// The groups of an index that hold some rows, which begin with a group.
fn groups(index: &Index, rows: &Range<u64>) -> Result<Range<usize>> {
    let size = index.group_rows.max(1);
    Ok(mem_len(rows.start / size)?..mem_len(rows.end.div_ceil(size))?)
}
