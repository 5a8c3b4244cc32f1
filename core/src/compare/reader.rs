//! Rows of a tensor of any kind of model, read on one thread and decoded on another.

use std::ops::Range;

use super::Side;
use crate::decode::Elements;
use crate::error::{Error, Result};
use crate::format::store::{Index, matrix};
use crate::io::Chunk;
use crate::limits::rows_per_group;
use crate::plugin::decoder_memory;
use crate::registry::Registry;
use crate::source::SourceTensor;
use crate::store::Rows;
use crate::tensor::{DType, mem_len};

/// Where the rows of a tensor are.
pub(crate) enum Reader<'a> {
    /// In a checkpoint or GGUF file.
    Source(&'a SourceTensor),
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
            Self::Source(tensor) => tensor.info.dtype,
            Self::Stored(rows) => rows.index.dtype,
        }
    }

    /// Rows and columns.
    pub(crate) fn matrix(&self) -> (u64, u64) {
        match self {
            Self::Source(tensor) => matrix(&tensor.info.shape, tensor.info.dtype),
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
            Self::Source(SourceTensor { derived: Some(derived), .. }) => derived.cost(rows)?,
            Self::Source(..) => values,
            Self::Stored(stored) => {
                let groups = rows.div_ceil(stored.index.group_rows.max(1));
                let groups = stored.longest().saturating_mul(groups);
                groups.saturating_add(decoder_memory(&stored.index))
            }
        };
        Ok(values.saturating_add(bytes))
    }

    /// The bytes that some rows need.
    pub(crate) fn read<'f>(&self, side: &'f Side<'_>, rows: &Range<u64>) -> Result<Vec<Chunk<'f>>> {
        match (self, side.as_model(), side.as_store()) {
            _ if rows.is_empty() => Ok(Vec::new()),
            (Self::Source(tensor), Some(model), _) => {
                let row_len = tensor.row_len(self.matrix().1)?;
                model.read_rows(side.files(), tensor, rows, row_len, |_, _, _| Ok(()))
            }
            (Self::Stored(stored), _, Some(store)) => {
                let mut chunks = Vec::new();
                for group in groups(&stored.index, rows)? {
                    chunks.extend(stored.read(store, group)?);
                }
                Ok(chunks)
            }
            _ => Err(Error::shape("a tensor of another model")),
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
        let mut bytes = Vec::new();
        match self {
            Self::Source(tensor) => {
                let chunks: Vec<&[u8]> =
                    chunks.iter().map(|chunk| chunk.as_ref().as_ref()).collect();
                match &tensor.derived {
                    Some(derived) if !rows.is_empty() => {
                        derived.decode(rows, cols, &chunks, false, &mut bytes)?;
                    }
                    _ => bytes.extend_from_slice(chunks.first().copied().unwrap_or_default()),
                }
            }
            Self::Stored(stored) => {
                let index = &stored.index;
                let base = stored.base.as_ref().map(|(_, index)| index);
                let decoder = stored.decoder(registry)?;
                let mut values = Vec::with_capacity(count);
                // A group, and that of the base.
                let each = 1 + usize::from(base.is_some());
                for (group, chunks) in groups(index, rows)?.zip(chunks.chunks(each)) {
                    let (stored, shape) =
                        (stored.checked(group, chunks)?, index.group_shape(group)?);
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
