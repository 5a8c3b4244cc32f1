//! The tensors of any source, read some rows at a time: a SafeTensors or GGUF model, or a store.

use std::ops::Range;

use uuid::Uuid;

use crate::decode::RowDecoder;
use crate::error::{Error, Result, ResultExt};
use crate::ggml::GgmlType;
use crate::io::{Chunk, Files};
use crate::limits::{self, rows_per_group};
use crate::pipeline::Buffers;
use crate::plugin::decoder_memory;
use crate::registry::Registry;
use crate::source::{Model, Part, SourceTensor};
use crate::store::{Record, Rows, Store};
use crate::tensor::{DType, TensorInfo, mem_len};

/// Where tensors come from.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// A model, quantized tensors put together (see [`Model::resolve`]), and its folder.
    Model(&'a Model, &'a dyn Files),
    /// A store.
    Store(&'a Store<'a>),
}

/// One tensor of a source.
pub(super) struct Entry {
    pub(super) info: TensorInfo,
    /// Rows that can be read apart, and elements of each.
    pub(super) rows: u64,
    pub(super) cols: u64,
    /// Rows of a unit of work.
    pub(super) group_rows: u64,
    /// Names of the checkpoint's tensors that it was made of, codes first.
    pub(super) parts: Vec<String>,
    /// What it is, if codes and scales are tensors of their own.
    pub(super) aspect: Aspect,
    data: Data,
}

enum Data {
    /// Bytes of a row without scales.
    Source(SourceTensor, u64),
    Stored(Box<Rows>, RowDecoder),
}

/// What of a tensor something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aspect {
    Elements,
    /// The codes of MXFP4.
    Codes,
    /// The scales of MXFP4.
    Scales,
}

/// The elements of some rows.
pub(super) enum Elements<'a> {
    /// As the type of the tensor has them.
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    /// As numbers: what a lossy block format gives.
    Values(Vec<f32>),
}

impl<'a> Origin<'a> {
    /// What the source is called: `safetensors`, `gguf` or `gmat`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Model(model, _) if model.keys.is_some() => "gguf",
            Self::Model(..) => "safetensors",
            Self::Store(_) => "gmat",
        }
    }

    /// BLAKE3 of lengths and times of the files, where they are known. A store needs none: its
    /// checksums tell.
    ///
    /// # Errors
    /// `Io` if a file cannot be looked at.
    pub(super) fn changed(&self) -> Result<Option<String>> {
        let Origin::Model(model, files) = self else { return Ok(None) };
        let mut hasher = blake3::Hasher::new();
        for shard in &model.shards {
            let Some(time) = files.changed(&shard.name)? else { return Ok(None) };
            hasher.update(format!("{} {} {time}\n", shard.name, shard.len).as_bytes());
        }
        Ok(Some(hasher.finalize().to_hex().to_string()))
    }

    /// All tensors, in the order of the source. With `apart`, the codes and scales of MXFP4 are tensors
    /// of their own where the source has them as such.
    pub(super) fn entries(&self, apart: bool, registry: &Registry) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        match self {
            Self::Model(model, files) => {
                for tensor in &model.tensors {
                    let place = || self.place_of(tensor, *files, model);
                    let derived = tensor.derived.as_deref();
                    match derived.filter(|derived| apart && derived.encoding == MXFP4) {
                        Some(derived) => {
                            let aspects = [Aspect::Codes, Aspect::Scales];
                            for (part, aspect) in derived.parts().iter().zip(aspects) {
                                entries.push(Entry::part(part, aspect).context(place)?);
                            }
                        }
                        None => entries.push(Entry::source(tensor).context(place)?),
                    }
                }
            }
            Self::Store(store) => {
                for (id, record) in store.metadata.in_order() {
                    entries.push(Entry::stored(store, id, record, registry)?);
                }
            }
        }
        Ok(entries)
    }

    fn place_of(&self, tensor: &SourceTensor, files: &dyn Files, model: &Model) -> String {
        let shard = model.shards.get(tensor.shard).map_or("", |shard| &shard.name);
        format!("tensor `{}` in `{}`", tensor.info.name, files.place(shard))
    }

    /// How messages call the tensor and its file.
    pub(super) fn place(&self, entry: &Entry) -> String {
        match (self, &entry.data) {
            (Self::Model(model, files), Data::Source(tensor, _)) => {
                self.place_of(tensor, *files, model)
            }
            (Self::Store(store), Data::Stored(rows, _)) => {
                format!("tensor `{}`, file `{}`", entry.info.name, store.place(rows.location))
            }
            _ => format!("tensor `{}`", entry.info.name),
        }
    }

    /// Reads what some rows need.
    pub(super) fn read(&self, entry: &Entry, rows: &Range<u64>) -> Result<Vec<Chunk<'a>>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match (self, &entry.data) {
            (Self::Model(model, files), Data::Source(tensor, row_len)) => {
                model.read_rows(*files, tensor, rows, *row_len, |_, _, _| Ok(()))
            }
            (Self::Store(store), Data::Stored(stored, _)) => {
                let number = mem_len(rows.start / stored.index.group_rows.max(1))?;
                stored.read(store, number)
            }
            _ => Err(no_such()),
        }
    }
}

/// The encoding whose parts can be tensors of their own.
const MXFP4: &str = "mxfp4";

impl Entry {
    fn source(tensor: &SourceTensor) -> Result<Self> {
        let info = tensor.info.clone();
        let block = info.dtype.block().elems as u64;
        info.byte_len()?;
        let (rows, cols) = match &tensor.derived {
            // Bytes one after the other can be cut anywhere.
            None => (info.shape.elems() / block, block),
            Some(_) => (info.shape.rows(), info.shape.cols()),
        };
        if cols > limits::ROW_VALUES {
            return Err(Error::limit(format!(
                "rows of {cols} elements; at most {} are supported",
                limits::ROW_VALUES
            )));
        }
        let derived = tensor.derived.iter();
        let parts = derived.flat_map(|derived| derived.parts()).map(|part| part.info.name.clone());
        let parts = parts.collect();
        let row_len = match tensor.derived {
            None => info.dtype.block().bytes as u64,
            Some(_) => tensor.row_len(cols)?,
        };
        let group_rows = rows_per_group(cols, 1);
        let data = Data::Source(tensor.clone(), row_len);
        Ok(Self { info, rows, cols, group_rows, parts, aspect: Aspect::Elements, data })
    }

    fn part(part: &Part, aspect: Aspect) -> Result<Self> {
        let tensor = SourceTensor::plain(part.info.clone(), part.shard, part.offset);
        Ok(Self { aspect, ..Self::source(&tensor)? })
    }

    fn stored(store: &Store<'_>, id: Uuid, record: &Record, registry: &Registry) -> Result<Self> {
        let info = record.info()?;
        let stored = store.rows(id, record)?;
        let decoder = stored.decoder(registry)?;
        let (rows, cols) = stored.index.matrix();
        let parts = record.made_of.iter().flat_map(|made| made.parts.clone()).collect();
        let group_rows = stored.index.group_rows.max(1);
        let data = Data::Stored(Box::new(stored), decoder);
        Ok(Self { info, rows, cols, group_rows, parts, aspect: Aspect::Elements, data })
    }

    /// Whether its elements are blocks of MXFP4.
    pub(super) fn is_mxfp4(&self) -> bool {
        self.info.dtype == DType::Ggml(GgmlType::Mxfp4)
    }

    /// Units of work; a tensor without elements has one that is empty.
    pub(super) fn units(&self) -> impl Iterator<Item = (Range<u64>, bool)> + use<> {
        let (rows, step) = (self.rows, self.group_rows.max(1));
        let count = rows.div_ceil(step).max(1);
        (0..count).map(move |unit| {
            let start = unit * step;
            (start..start.saturating_add(step).min(rows), unit + 1 == count)
        })
    }

    /// Bytes that so many rows have in the source, without scales.
    pub(super) fn source_len(&self, rows: &Range<u64>) -> u64 {
        let rows = rows.end - rows.start;
        match &self.data {
            Data::Source(_, row_len) => rows.saturating_mul(*row_len),
            Data::Stored(stored, _) => stored.index.source_len(rows),
        }
    }

    /// Most bytes that a unit needs, its values in F32 included.
    pub(super) fn cost(&self) -> Result<u64> {
        let rows = self.group_rows.min(self.rows);
        let read = match &self.data {
            Data::Source(tensor, row_len) => match &tensor.derived {
                Some(derived) => derived.cost(rows)?.saturating_mul(3),
                None => rows.saturating_mul(*row_len),
            },
            Data::Stored(stored, _) => {
                let source = stored.index.source_len(rows);
                let bytes = stored.longest().saturating_add(source.saturating_mul(2));
                bytes.saturating_add(decoder_memory(&stored.index))
            }
        };
        Ok(rows.saturating_mul(self.cols).saturating_mul(4).saturating_add(read))
    }

    /// The elements of some rows; `chunks` are what [`Origin::read`] gave.
    pub(super) fn elements<'c>(
        &self,
        rows: &Range<u64>,
        chunks: &'c [Chunk<'_>],
        buffers: &Buffers,
    ) -> Result<Elements<'c>> {
        let first = chunks.first().map_or(&[][..], |chunk| chunk.as_ref().as_ref());
        if rows.is_empty() {
            return Ok(Elements::Borrowed(&[]));
        }
        match &self.data {
            Data::Source(tensor, _) => match &tensor.derived {
                None => Ok(Elements::Borrowed(first)),
                Some(derived) => {
                    let chunks: Vec<&[u8]> =
                        chunks.iter().map(|chunk| chunk.as_ref().as_ref()).collect();
                    let mut bytes = buffers.bytes();
                    derived.decode(rows, self.cols, &chunks, false, &mut bytes)?;
                    Ok(Elements::Owned(bytes))
                }
            },
            Data::Stored(stored, decoder) => {
                let number = mem_len(rows.start / self.group_rows.max(1))?;
                let index = &stored.index;
                let group = index.groups.get(number).ok_or_else(no_such)?;
                let bytes_of = stored.checked(number, chunks)?;
                let shape = index.group_shape(number)?;
                let place = || format!("row group {number} at byte {}", group.offset);
                if decoder.is_lossless() {
                    let mut bytes = buffers.bytes();
                    let len = shape.byte_len().ok_or_else(no_such)?;
                    bytes.resize(len, 0);
                    decoder.restore(bytes_of, shape, &mut bytes).context(place)?;
                    Ok(Elements::Owned(bytes))
                } else {
                    let mut values = buffers.values(shape.rows * shape.cols);
                    decoder.decode(bytes_of, shape, &mut values).context(place)?;
                    Ok(Elements::Values(values))
                }
            }
        }
    }

    /// Adds what identifies the content to a hash: of a store its checksums, otherwise samples from
    /// the beginning, the middle and the end of every part.
    pub(super) fn identify(&self, origin: &Origin<'_>, hasher: &mut blake3::Hasher) -> Result<()> {
        /// Bytes of a sample.
        const SAMPLE: u64 = 1024;
        let tensor = match &self.data {
            Data::Stored(stored, _) => {
                let index = &stored.index;
                hasher.update(index.format.as_bytes()).update(&index.source_hash);
                return Ok(());
            }
            Data::Source(tensor, _) => tensor,
        };
        let Origin::Model(model, files) = origin else { return Err(no_such()) };
        let mut sample = |shard: usize, offset: u64, len: u64| -> Result<()> {
            let shard = model.shards.get(shard).ok_or_else(no_such)?;
            let size = len.min(SAMPLE);
            for start in [0, (len - size) / 2, len - size] {
                let start = offset.saturating_add(start);
                if size > 0 {
                    let chunk = files.read(&shard.name, start..start.saturating_add(size))?;
                    hasher.update(chunk.as_ref().as_ref());
                }
            }
            Ok(())
        };
        match &tensor.derived {
            None => sample(tensor.shard, tensor.offset, self.info.byte_len()?),
            Some(derived) => derived
                .parts()
                .iter()
                .try_for_each(|part| sample(part.shard, part.offset, part.info.byte_len()?)),
        }
    }
}

fn no_such() -> Error {
    Error::shape("no such rows")
}
