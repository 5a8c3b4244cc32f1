//! Import: a SafeTensors or GGUF model becomes a store.

mod base;
mod beside;
mod draft;
mod encode;
mod fingerprint;
mod finished;
mod hash;
mod in_place;
mod map;
mod record;

pub use self::beside::{Tokenizer, model_files};
pub use self::draft::Draft;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use uuid::Uuid;

pub(crate) use self::fingerprint::Fingerprint;
pub(crate) use self::in_place::InPlace;

use self::base::{Base, BaseStore};
use self::encode::{Encoded, encode, group_shape};
use self::hash::SourceHash;
use self::map::full_map;
use crate::block::BlockFormat;
use crate::config::ImportConfig;
use crate::decode::Elements;
use crate::error::{Error, Result, ResultExt};
use crate::format::store::{self as file, Group};
use crate::io::{Chunk, Files, Sink};
use crate::limits::{self, rows_per_group};
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;
use crate::source::{Model, SourceTensor};
use crate::stats::LaneTops;
use crate::store::{Metadata, ModelFiles, TOKENS, tensor_file, write_source_keys};

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
    /// What it takes from the base.
    base: Option<Base<'a>>,
}

impl Item<'_> {
    /// Its row groups; one empty unit if it has no elements.
    fn units(&self, number: usize) -> impl Iterator<Item = Unit> + use<> {
        let (rows, step) = (self.rows, self.group_rows);
        let groups = rows.div_ceil(step).max(1);
        (0..groups).map(move |group| {
            let start = group * step;
            let end = (start + step).min(rows);
            Unit { item: number, rows: start..end, last: group + 1 == groups }
        })
    }
}

/// What is to be done, checked against the model: no tensor byte has been read.
pub struct ImportPlan<'a> {
    model: &'a Model,
    items: Vec<Item<'a>>,
    base: Option<BaseStore<'a>>,
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
                base: None,
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
        Ok(Self { model, items, base: None, config, notes })
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

    /// Bytes that the tensors take in the store at most; less if many weights are zero, or if the block
    /// format compresses.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.items.iter().filter(|item| !item.is_same()).fold(0, |sum: u64, item| {
            let rows = item.group_rows.min(item.rows);
            let group = group_shape(item, rows).ok().and_then(|shape| item.format.max_len(shape));
            let groups = item.rows.div_ceil(item.group_rows);
            // The last group is smaller.
            let full = group.map_or(0, |len| len as u64).saturating_mul(groups);
            let unused = groups.saturating_mul(item.group_rows.min(item.rows)) - item.rows;
            let row = full.checked_div(groups.saturating_mul(rows)).unwrap_or(0);
            sum.saturating_add(full.saturating_sub(row.saturating_mul(unused)))
        })
    }

    /// Carries out the plan: writes every tensor, the keys of a GGUF source, `tokens` if given, and
    /// `metadata.json` last. Tensor files that an interrupted run of the same plan left complete in
    /// `existing` are not written again.
    ///
    /// # Errors
    /// The first error in plan order, naming file and tensor; `Config` if the source of a tensor in
    /// `existing` is not what it was. What the sink has then is incomplete.
    #[expect(clippy::too_many_arguments, reason = "what comes in, where it goes, and how")]
    pub fn run(
        &self,
        files: &dyn Files,
        model_files: ModelFiles,
        tokens: Option<&[u8]>,
        existing: Option<&dyn Files>,
        sink: &mut dyn Sink,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Metadata> {
        let in_flight = budget.units(self.unit_cost()?)?;
        let places: Vec<String> =
            self.model.shards.iter().map(|shard| files.place(&shard.name)).collect();
        let places = &places;
        notify(progress, Event::Start { tensors: self.items.len(), bytes: self.source_bytes()? })?;
        let finished = self.finished(existing, budget, progress)?;
        let finished_of = |unit: &Unit| finished.get(unit.item).and_then(Option::as_ref);
        let hasher = RefCell::new(SourceHash::default());
        let hashes = RefCell::new(BTreeMap::new());
        let buffers = Buffers::default();
        let mut open: Option<OpenTensor> = None;
        let mut records = self.same_records();
        let mut done = self.same_bytes();
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
                if finished_of(unit).is_some() {
                    return Ok(None);
                }
                let chunks: Vec<&[u8]> =
                    chunks.iter().map(|chunk| chunk.as_ref().as_ref()).collect();
                encode(item, unit, &chunks, &buffers)
                    .map(Some)
                    .context(|| place(places, item.source))
            },
            |unit, encoded| {
                let Some(item) = self.items.get(unit.item) else { return Ok(()) };
                let hash = match unit.last {
                    true => hashes.borrow_mut().remove(&unit.item).unwrap_or_default(),
                    false => [0; 32],
                };
                done += (unit.rows.end - unit.rows.start) * item.row_len;
                let Some(encoded) = encoded else {
                    if let (true, Some(index)) = (unit.last, finished_of(&unit)) {
                        let same = index.fingerprint == record::fingerprint(item, hash);
                        let same = same.then_some(()).ok_or_else(changed_since);
                        same.context(|| place(places, item.source))?;
                        records.insert(item.id, self.record(item, index));
                    }
                    return notify(progress, Event::Bytes(done));
                };
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
                buffers.put(encoded.bytes);
                notify(progress, Event::Bytes(done))?;
                if unit.last {
                    let tensor = open.take().unwrap_or_default();
                    let index = record::index(item, tensor, hash);
                    sink.append(&index.to_bytes(index.end()))?;
                    sink.finish()?;
                    records.insert(item.id, self.record(item, &index));
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
            model_files.tokens = Some(blake3::hash(tokens).to_hex().to_string());
            sink.begin(TOKENS, Some(tokens.len() as u64))?;
            sink.append(tokens)?;
            sink.finish()?;
        }
        let mut metadata = Metadata::new(self.config.clone(), model_files, records);
        for plugin in self.items.iter().filter_map(|item| item.format.plugin()) {
            let (name, identity) = (plugin.name().to_owned(), plugin.identity().clone());
            metadata.plugins.insert(name, identity);
        }
        metadata.made_against = self.made_against();
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
            let base = match &item.base {
                // What differs is encoded in both ways.
                Some(Base::Difference(_, partner)) => partner.cost(rows) + encoded as u64,
                _ => 0,
            };
            let cost = (rows * item.cols * 4).saturating_add(source) + encoded as u64 + base;
            most = most.max(cost);
        }
        Ok(most)
    }

    /// All row groups, in file order; a tensor without elements has one empty unit.
    fn units(&self) -> impl Iterator<Item = Unit> + '_ {
        let stored = self.items.iter().enumerate().filter(|(_, item)| !item.is_same());
        stored.flat_map(|(number, item)| item.units(number))
    }

    /// Reads what a unit needs: its source, and the rows of the base that it differs from.
    fn read<'f>(
        &'f self,
        files: &'f dyn Files,
        item: &Item<'_>,
        unit: &Unit,
        hash: &mut SourceHash,
    ) -> Result<Vec<Chunk<'f>>> {
        let mut chunks = self.read_source(files, item, unit, hash)?;
        chunks.extend(self.read_base(item, unit)?);
        Ok(chunks)
    }

    /// One piece of the tensor, or of each of its parts.
    fn read_source<'f>(
        &self,
        files: &'f dyn Files,
        item: &Item<'_>,
        unit: &Unit,
        hash: &mut SourceHash,
    ) -> Result<Vec<Chunk<'f>>> {
        if unit.rows.is_empty() {
            return Ok(Vec::new());
        }
        let (tensor, rows) = (item.source, &unit.rows);
        self.model.read_rows(files, tensor, rows, item.row_len, |part, range, bytes| {
            hash.add(part, range, bytes)
        })
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

fn changed_since() -> Error {
    Error::config("the tensor is not what it was when an interrupted run imported it")
        .with_hint("add --restart to start over")
}
