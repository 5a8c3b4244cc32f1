//! Import: a SafeTensors or GGUF model becomes a store.

mod encode;
mod hash;
mod map;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use uuid::Uuid;

use self::encode::{Encoded, encode, group_shape};
use self::hash::SourceHash;
use self::map::full_map;
use crate::block::BlockFormat;
use crate::config::ImportConfig;
use crate::decode::Elements;
use crate::error::{Error, Result, ResultExt};
use crate::format::store::{self as file, Group, Index};
use crate::io::{Chunk, Files, Sink};
use crate::limits::{self, rows_per_group};
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;
use crate::source::{Model, SourceTensor};
use crate::stats::LaneTops;
use crate::store::{MadeOf, Metadata, ModelFiles, Record, TOKENS, tensor_file, write_source_keys};
use crate::tensor::Shape;

/// The format of tensors that the chosen format does not take.
const RAW: &str = "raw";

/// One tensor to be imported.
struct Item<'a> {
    source: &'a SourceTensor,
    id: Uuid,
    format: &'static dyn BlockFormat,
    elements: Elements,
    rows: u64,
    cols: u64,
    /// Bytes of a row in the source, without scales.
    row_len: u64,
    group_rows: u64,
    /// Whether values must be numbers: for a lossy format every tensor is checked, those that are
    /// stored as they are included, since what is not a number makes the whole model useless.
    finite: bool,
}

/// What is to be done, checked against the model: no tensor byte has been read.
pub struct ImportPlan<'a> {
    model: &'a Model,
    items: Vec<Item<'a>>,
    config: ImportConfig,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// One row group on its way.
struct Unit {
    item: usize,
    rows: Range<u64>,
    last: bool,
}

impl<'a> ImportPlan<'a> {
    /// Checks a config against the tensors of a model.
    ///
    /// # Errors
    /// `Config` for an unknown block format, or a tensor that the model does not have.
    pub fn new(model: &'a Model, config: &ImportConfig, registry: &Registry) -> Result<Self> {
        let chosen = registry.block(&config.block_format)?;
        let raw = registry.block(RAW)?;
        let mut notes = Vec::new();
        let map = full_map(model, &config.tensor_map, &mut notes)?;
        let mut items = Vec::new();
        for (source, mapping) in model.tensors.iter().zip(&map) {
            if !mapping.include {
                continue;
            }
            let info = &source.info;
            // Vectors (norms, biases) weigh nothing and matter much, and rows of one dimension have
            // no neighbours to share a scale with: kept as they are.
            let vector = info.shape.rank() <= 1;
            let format = if vector || !chosen.accepts(info.dtype) { raw } else { chosen };
            let place = || format!("tensor `{}`", info.name);
            info.byte_len()?;
            let elements = Elements::new(info.dtype, registry).context(place)?;
            let (rows, cols) = file::matrix(&info.shape, info.dtype);
            if cols > limits::ROW_VALUES {
                return Err(Error::limit(format!(
                    "rows of {cols} elements; at most {} are supported",
                    limits::ROW_VALUES
                ))
                .context(place()));
            }
            let row_len = source.row_len(cols).context(place)?;
            let group_rows = rows_per_group(cols, format.granule_rows());
            let (id, finite) = (mapping.target, !chosen.is_lossless());
            items.push(Item {
                source,
                id,
                format,
                elements,
                rows,
                cols,
                row_len,
                group_rows,
                finite,
            });
        }
        if model.tensors.is_empty() {
            return Err(Error::malformed("the model has no tensors"));
        }
        if items.is_empty() {
            return Err(Error::config("no tensor is left to import")
                .with_hint("at least one entry of `tensor_map` needs `\"include\": true`"));
        }
        let excluded = config.tensor_map.iter().filter(|mapping| !mapping.include).count();
        if excluded > 0 {
            let tensors = match excluded {
                1 => "1 tensor is".to_owned(),
                count => format!("{count} tensors are"),
            };
            notes.push(format!("{tensors} left out (`include` is false)"));
        }
        let source_format = if model.keys.is_some() { "gguf" } else { "safetensors" };
        let source_format = source_format.to_owned();
        let config = ImportConfig { tensor_map: map, source_format, ..config.clone() };
        Ok(Self { model, items, config, notes })
    }

    /// Number of tensors.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.items.len()
    }

    /// Bytes to be read, without scales.
    ///
    /// # Errors
    /// `Limit` if they do not fit in 64 bits.
    pub fn source_bytes(&self) -> Result<u64> {
        self.items.iter().try_fold(0u64, |sum, item| {
            let len = item.rows.checked_mul(item.row_len);
            len.and_then(|len| sum.checked_add(len)).ok_or_else(|| Error::limit("model too large"))
        })
    }

    /// Carries out the plan: writes every tensor, the keys of a GGUF source, `tokens` if given, and
    /// `metadata.json` last.
    ///
    /// # Errors
    /// The first error in plan order, naming file and tensor. What the sink has then is incomplete.
    pub fn run(
        &self,
        files: &dyn Files,
        model_files: ModelFiles,
        tokens: Option<&[u8]>,
        sink: &mut dyn Sink,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Metadata> {
        let in_flight = budget.units(self.unit_cost()?)?;
        let places: Vec<String> =
            self.model.shards.iter().map(|shard| files.place(&shard.name)).collect();
        let places = &places;
        notify(progress, Event::Start { tensors: self.items.len(), bytes: self.source_bytes()? })?;
        let hasher = RefCell::new(SourceHash::default());
        let hashes = RefCell::new(BTreeMap::new());
        let buffers = Buffers::default();
        let mut open: Option<OpenTensor> = None;
        let mut records = BTreeMap::new();
        let mut done = 0;
        let mut narrowed = (0, 0);
        drive(
            self.units(),
            in_flight,
            |unit| {
                let item = self.items.get(unit.item).ok_or_else(|| Error::shape("no such unit"))?;
                let mut hasher = hasher.borrow_mut();
                let chunks = self.read(files, item, unit, &mut hasher);
                let chunks = chunks.context(|| place(places, item.source))?;
                if unit.last {
                    hashes.borrow_mut().insert(unit.item, hasher.take().finish());
                }
                Ok((item, chunks))
            },
            |unit, (item, chunks)| {
                let chunks: Vec<&[u8]> =
                    chunks.iter().map(|chunk| chunk.as_ref().as_ref()).collect();
                encode(item, unit, &chunks, &buffers).context(|| place(places, item.source))
            },
            |unit, encoded| {
                let Some(item) = self.items.get(unit.item) else { return Ok(()) };
                if open.is_none() {
                    notify(
                        progress,
                        Event::Tensor {
                            index: unit.item,
                            name: &item.source.info.name,
                            dims: item.source.info.shape.dims(),
                            encoding: item.format.name(),
                        },
                    )?;
                    sink.begin(&tensor_file(item.id), None)?;
                    sink.append(&file::head())?;
                }
                narrowed.0 += encoded.narrowed.0;
                narrowed.1 += encoded.narrowed.1;
                let tensor = open.get_or_insert_default();
                if !unit.rows.is_empty() {
                    sink.append(&encoded.bytes)?;
                    tensor.add(&encoded);
                }
                done += (unit.rows.end - unit.rows.start) * item.row_len;
                buffers.put(encoded.bytes);
                notify(progress, Event::Bytes(done))?;
                if unit.last {
                    let tensor = open.take().unwrap_or_default();
                    let hash = hashes.borrow_mut().remove(&unit.item).unwrap_or_default();
                    let (index, record) = self.close(item, tensor, hash);
                    let footer = index.to_bytes(record.stored_bytes);
                    sink.append(&footer)?;
                    sink.finish()?;
                    let stored_bytes = record.stored_bytes + footer.len() as u64;
                    records.insert(item.id, Record { stored_bytes, ..record });
                }
                Ok(())
            },
        )?;
        if narrowed.0 > 0 {
            let (count, large) = narrowed;
            let text = format!(
                "{count} numbers of F64 tensors are not exact in F32, which is what everything is \
                 computed in; {large} of them are too large for it"
            );
            notify(progress, Event::Note(&text))?;
        }
        let mut model_files = model_files;
        if let Some(keys) = &self.model.keys {
            model_files.source_keys = Some(write_source_keys(keys, sink)?);
        }
        if let Some(tokens) = tokens {
            sink.begin(TOKENS, Some(tokens.len() as u64))?;
            sink.append(tokens)?;
            sink.finish()?;
        }
        let mut metadata = Metadata::new(self.config.clone(), model_files, records);
        for plugin in self.items.iter().filter_map(|item| item.format.plugin()) {
            let (name, identity) = (plugin.name().to_owned(), plugin.identity().clone());
            metadata.plugins.insert(name, identity);
        }
        metadata.write(sink)?;
        Ok(metadata)
    }

    /// Bytes that one unit under way needs at most.
    fn unit_cost(&self) -> Result<u64> {
        let mut most = 0;
        for item in &self.items {
            let rows = item.group_rows.min(item.rows);
            let shape = group_shape(item, rows)?;
            let encoded = item.format.max_len(shape).ok_or_else(|| {
                Error::limit("a row group does not fit in memory")
                    .context(format!("tensor `{}`", item.source.info.name))
            })?;
            let source = match &item.source.derived {
                // Codes and scales, what they become, and scales as numbers.
                Some(derived) => {
                    derived.cost(rows)?.saturating_mul(3) + rows * item.source.info.row_len()?
                }
                None => rows * item.row_len,
            };
            let cost = (rows * item.cols * 4).saturating_add(source) + encoded as u64;
            most = most.max(cost);
        }
        Ok(most)
    }

    /// All row groups, in file order; a tensor without elements has one empty unit.
    fn units(&self) -> impl Iterator<Item = Unit> + '_ {
        self.items.iter().enumerate().flat_map(|(number, item)| {
            let groups = item.rows.div_ceil(item.group_rows).max(1);
            (0..groups).map(move |group| {
                let start = group * item.group_rows;
                let end = (start + item.group_rows).min(item.rows);
                Unit { item: number, rows: start..end, last: group + 1 == groups }
            })
        })
    }

    /// Reads what a unit needs: one piece of the tensor, or of each of its parts.
    fn read<'f>(
        &self,
        files: &'f dyn Files,
        item: &Item<'_>,
        unit: &Unit,
        hash: &mut SourceHash,
    ) -> Result<Vec<Chunk<'f>>> {
        if unit.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut chunks = Vec::new();
        let mut read = |part: usize, shard: usize, offset: u64, range: Range<u64>| -> Result<()> {
            let shard =
                self.model.shards.get(shard).ok_or_else(|| Error::shape("no such shard"))?;
            let chunk = files.read(&shard.name, offset + range.start..offset + range.end)?;
            hash.add(part, &range, chunk.as_ref().as_ref())?;
            chunks.push(chunk);
            Ok(())
        };
        match &item.source.derived {
            None => {
                let range = unit.rows.start * item.row_len..unit.rows.end * item.row_len;
                read(0, item.source.shard, item.source.offset, range)?;
            }
            Some(derived) => {
                for (number, part) in derived.parts().iter().enumerate() {
                    let part_of = || format!("its part `{}`", part.info.name);
                    read(number, part.shard, part.offset, part.range(&unit.rows)?)
                        .context(part_of)?;
                }
            }
        }
        Ok(chunks)
    }

    /// The index of a finished tensor; `stored_bytes` of the record is what has been written so far.
    fn close(&self, item: &Item<'_>, tensor: OpenTensor, hash: [u8; 32]) -> (Index, Record) {
        let info = &item.source.info;
        let importance = tensor.tops.importance();
        let index = Index {
            dtype: info.dtype,
            format: item.format.name().to_owned(),
            shape: info.shape.clone(),
            id: item.id,
            source_hash: hash,
            fingerprint: fingerprint(&info.name, &info.shape, item, hash),
            importance,
            group_rows: item.group_rows,
            groups: tensor.groups,
        };
        let stats = index.stats();
        let shard = self.model.shards.get(item.source.shard);
        let record = Record {
            block_format: index.format.clone(),
            dtype: info.dtype.name().to_owned(),
            made_of: item.source.derived.as_ref().map(|derived| MadeOf {
                encoding: derived.encoding.to_owned(),
                parts: derived.parts().iter().map(|part| part.info.name.clone()).collect(),
            }),
            file: shard.map(|shard| shard.name.clone()).unwrap_or_default(),
            importance,
            max_abs: stats.max_abs,
            name: info.name.clone(),
            nonzero: stats.nonzero,
            rms: rms(stats.sum_sq, info.shape.elems()),
            shape: info.shape.dims().to_vec(),
            source_blake3: blake3::Hash::from(hash).to_hex().to_string(),
            stored_bytes: file::HEAD + index.groups.iter().map(|group| group.len).sum::<u64>(),
        };
        (index, record)
    }
}

fn place(places: &[String], source: &SourceTensor) -> String {
    let file = places.get(source.shard).map_or("", String::as_str);
    format!("tensor `{}` in `{file}`", source.info.name)
}

/// A tensor whose groups are being written.
#[derive(Default)]
struct OpenTensor {
    groups: Vec<Group>,
    tops: LaneTops,
}

impl OpenTensor {
    fn add(&mut self, encoded: &Encoded) {
        let offset = self.groups.last().map_or(file::HEAD, |group| group.offset + group.len);
        let len = encoded.bytes.len() as u64;
        self.groups.push(Group { offset, len, sum: encoded.sum, stats: encoded.stats });
        self.tops.merge(&encoded.tops);
    }
}

/// Everything that decides the bytes of a tensor file.
fn fingerprint(name: &str, shape: &Shape, item: &Item<'_>, hash: [u8; 32]) -> [u8; 32] {
    let encoding = item.source.derived.as_ref().map_or("", |derived| derived.encoding);
    let text = format!(
        "gmat {} {} {name} {}{encoding} {shape} {} {}",
        file::VERSION,
        item.id,
        item.source.info.dtype,
        item.format.name(),
        item.group_rows
    );
    *blake3::Hasher::new().update(&hash).update(text.as_bytes()).finalize().as_bytes()
}

fn rms(sum_sq: f64, elems: u64) -> f64 {
    if elems == 0 { 0.0 } else { (sum_sq / elems as f64).sqrt() }
}
