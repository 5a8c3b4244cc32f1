//! Rows of a tensor of any kind of model, read on one thread and decoded on another.

use std::ops::Range;

use super::Side;
use crate::decode::{Elements, Stored};
use crate::error::{Error, Result};
use crate::format::store::{Group, Index, matrix};
use crate::io::Chunk;
use crate::limits::rows_per_group;
use crate::plugin::decoder_memory;
use crate::registry::Registry;
use crate::source::SourceTensor;
use crate::store::Rows;
use crate::tensor::{DType, mem_len};

/// Where the rows of a tensor are.
pub(crate) enum Reader<'a> {
    /// In a checkpoint or GGUF file, by the name of its file.
    Source(&'a SourceTensor, &'a str),
    /// In row groups of tensor files of a store, or of its base.
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
            Self::Stored(rows) => rows.index.dtype,
        }
    }

    /// Rows and columns.
    pub(crate) fn matrix(&self) -> (u64, u64) {
        match self {
            Self::Source(tensor, _) => matrix(&tensor.info.shape, tensor.info.dtype),
            Self::Stored(rows) => rows.index.matrix(),
        }
    }

    /// Rows that are read at once: any multiple of it will do.
    pub(crate) fn step(&self) -> u64 {
        match self {
            Self::Source(..) => rows_per_group(self.matrix().1, 1),
            Self::Stored(rows) => rows.index.group_rows,
        }
    }

    /// Bytes that so many rows take at most while they are read.
    pub(crate) fn cost(&self, rows: u64) -> Result<u64> {
        let values = rows.saturating_mul(self.matrix().1).saturating_mul(4);
        let bytes = match self {
            Self::Source(SourceTensor { derived: Some(derived), .. }, _) => derived.cost(rows)?,
            Self::Source(..) => values,
            Self::Stored(stored) => {
                let largest = |index: &Index| index.groups.iter().map(|g| g.len).max().unwrap_or(0);
                let base = stored.base.as_ref().map_or(0, |(_, index)| largest(index));
                let group = largest(&stored.index).saturating_add(base);
                let groups = group.saturating_mul(rows.div_ceil(stored.index.group_rows.max(1)));
                groups.saturating_add(decoder_memory(&stored.index))
            }
        };
        Ok(values.saturating_add(bytes))
    }

    /// The bytes that some rows need.
    pub(crate) fn read<'f>(&self, side: &'f Side<'_>, rows: &Range<u64>) -> Result<Vec<Chunk<'f>>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Source(tensor, file) => match &tensor.derived {
                None => {
                    let len = tensor.row_len(self.matrix().1)?;
                    let (start, end) = (tensor.offset + rows.start * len, rows.end - rows.start);
                    Ok(vec![side.files().read(file, start..start + end * len)?])
                }
                Some(derived) => {
                    let mut chunks = Vec::new();
                    for part in derived.parts() {
                        let range = part.range(rows)?;
                        let file = side
                            .shards()
                            .get(part.shard)
                            .ok_or_else(|| Error::shape("no shard"))?;
                        let range = part.offset + range.start..part.offset + range.end;
                        chunks.push(side.files().read(file, range)?);
                    }
                    Ok(chunks)
                }
            },
            Self::Stored(stored) => {
                let store = side.as_store().ok_or_else(|| Error::shape("no store"))?;
                let mut chunks = Vec::new();
                for group in groups(&stored.index, rows)? {
                    let base = stored.base.as_ref().map(|(location, index)| (*location, index));
                    for (location, index) in
                        [(stored.location, &stored.index)].into_iter().chain(base)
                    {
                        let found = group_of(index, group)?;
                        chunks.push(store.read(location, found.offset..found.offset + found.len)?);
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
                let base = stored.base.as_ref().map(|(_, index)| index);
                let decoder = stored.decoder(registry)?;
                let mut values = Vec::with_capacity(count);
                let mut chunks = chunks.into_iter();
                let next = |chunks: &mut std::vec::IntoIter<_>| {
                    chunks.next().ok_or_else(|| Error::shape("a row group was not read"))
                };
                for group in groups(index, rows)? {
                    let own = index.checked(group, next(&mut chunks)?)?;
                    let base = match base {
                        Some(base) => Some(base.checked(group, next(&mut chunks)?)?),
                        None => None,
                    };
                    let (stored, shape) = (Stored { own, base }, index.group_shape(group)?);
                    if dtype.holds_weights() {
                        let start = values.len();
                        values.resize(start + shape.rows * shape.cols, 0.0);
                        let out = values.get_mut(start..).unwrap_or_default();
                        decoder.decode(stored, shape, out)?;
                    } else {
                        decoder.source(stored, shape, &mut bytes)?;
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

fn group_of(index: &Index, group: usize) -> Result<&Group> {
    index.groups.get(group).ok_or_else(|| Error::shape("no such row group"))
}
