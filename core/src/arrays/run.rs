//! Carrying out a plan: read rows, convert them, append.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

use super::entry::{Aspect, Elements, Entry};
use super::manifest::{
    FileRecord, MANIFEST, Manifest, PLAN_NOTE, ShardEntry, ShardNote, TensorEntry, json, shard_note,
};
use super::plan::{Array, ArrayPlan};
use crate::container::{Packing, Transform};
use crate::error::{Error, Result, ResultExt};
use crate::io::{Chunk, Sink};
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::source::mxfp4;
use crate::tensor::mem_len;

/// Rows of one array.
struct Unit {
    array: usize,
    rows: Range<u64>,
    last: bool,
}

/// Rows as they are written, and how many values were clamped.
struct Converted {
    bytes: Vec<u8>,
    clamped: u64,
}

/// Shards that need not be written again, by number.
#[derive(Debug, Clone, Default)]
pub struct Done(pub(super) BTreeMap<usize, ShardNote>);

impl Done {
    /// Number of shards.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files of these shards.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(|note| &note.files).map(|record| record.file.as_str())
    }
}

/// A sink that knows the hash and length of the file being written.
struct Hashing<'a> {
    sink: &'a mut dyn Sink,
    hasher: blake3::Hasher,
    name: String,
    len: u64,
}

impl<'a> Hashing<'a> {
    fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink, hasher: blake3::Hasher::new(), name: String::new(), len: 0 }
    }

    fn begin(&mut self, name: String, len: u64) -> Result<()> {
        self.hasher.reset();
        self.len = 0;
        self.sink.begin(&name, Some(len))?;
        self.name = name;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.sink.append(bytes)
    }

    fn give(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.hasher.update(&bytes);
        self.len += bytes.len() as u64;
        self.sink.give(bytes)
    }

    fn finish(&mut self) -> Result<FileRecord> {
        self.sink.finish()?;
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Ok(FileRecord { blake3, bytes: self.len, file: std::mem::take(&mut self.name) })
    }

    /// A small file at once.
    fn whole(&mut self, name: &str, bytes: &[u8]) -> Result<FileRecord> {
        self.begin(name.to_owned(), bytes.len() as u64)?;
        self.append(bytes)?;
        self.finish()
    }
}

impl ArrayPlan<'_> {
    /// Writes every shard that is not in `done`, each followed by a note that it is complete, then the
    /// loader and the manifest. `config` is the `config.json` of the model.
    ///
    /// # Errors
    /// The first error in plan order, naming file and tensor. Shards with a note are complete then.
    pub fn run(
        &self,
        done: Done,
        config: Option<Box<RawValue>>,
        sink: &mut dyn Sink,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Manifest> {
        let in_flight = budget.units(self.unit_cost()?)?;
        let left = |array: &Array| !done.0.contains_key(&array.shard);
        let arrays: Vec<usize> =
            self.arrays.iter().enumerate().filter(|(_, a)| left(a)).map(|(n, _)| n).collect();
        let bytes =
            arrays.iter().map(|&number| self.source_len(number)).fold(0, u64::saturating_add);
        notify(progress, Event::Start { tensors: arrays.len(), bytes })?;
        let mut notes = done.0;
        let mut sink = Hashing::new(sink);
        let note = self.note()?;
        sink.whole(PLAN_NOTE, &json(&note)?)?;
        let (entries, container) = (&self.entries, self.options.container);
        let places: Vec<String> = entries.iter().map(|entry| self.origin.place(entry)).collect();
        let place = |unit: &Unit| {
            let entry = self.arrays.get(unit.array).map_or(usize::MAX, |array| array.entry);
            places.get(entry).cloned().unwrap_or_default()
        };
        let planned = &self.arrays;
        let buffers = Buffers::default();
        let mut shard = ShardNote { clamped: BTreeMap::new(), files: Vec::new(), shard: 0 };
        let mut begun = None;
        let mut clamped = 0;
        let (mut position, mut read_bytes) = (0, 0);
        let units = arrays.iter().flat_map(|&number| {
            let entry = planned.get(number).and_then(|array| entries.get(array.entry));
            let ranges = entry.into_iter().flat_map(Entry::units);
            ranges.map(move |(rows, last)| Unit { array: number, rows, last })
        });
        drive(
            units,
            in_flight,
            |unit| {
                let (_, entry) = self.find(unit.array)?;
                self.origin.read(entry, &unit.rows).context(|| place(unit))
            },
            |unit, chunks| {
                let array = planned.get(unit.array).ok_or_else(no_such)?;
                let entry = entries.get(array.entry).ok_or_else(no_such)?;
                let transform = container.transform(array.dtype);
                let converted = convert(array, entry, &unit.rows, &chunks, transform, &buffers);
                converted
                    .context(|| {
                        format!("rows {} to {}", unit.rows.start, unit.rows.end.saturating_sub(1))
                    })
                    .context(|| places.get(array.entry).cloned().unwrap_or_default())
            },
            |unit, converted| {
                let (array, entry) = self.find(unit.array)?;
                let plan = self.shards.get(array.shard).ok_or_else(no_such)?;
                if begun != Some(unit.array) {
                    begun = Some(unit.array);
                    notify(
                        progress,
                        Event::Tensor {
                            index: position,
                            name: &array.name,
                            dims: array.shape.dims(),
                            encoding: container.dtype_name(array.dtype),
                        },
                    )?;
                    position += 1;
                    let first = unit.array == plan.arrays.start;
                    match container.packing() {
                        Packing::Tensor => sink.begin(self.file(array), array.len)?,
                        Packing::Shard if first => sink.begin(self.file(array), plan.len)?,
                        Packing::Shard => {}
                    }
                    if first || container.packing() == Packing::Tensor {
                        sink.append(&container.begin(plan.arrays.len())?)?;
                    }
                    sink.append(&array.head)?;
                }
                buffers.put(sink.give(converted.bytes)?);
                clamped += converted.clamped;
                read_bytes += entry.source_len(&unit.rows);
                notify(progress, Event::Bytes(read_bytes))?;
                if !unit.last {
                    return Ok(());
                }
                sink.append(container.tail())?;
                if clamped > 0 {
                    shard.clamped.insert(array.name.clone(), std::mem::take(&mut clamped));
                }
                let last = unit.array + 1 == plan.arrays.end;
                if last || container.packing() == Packing::Tensor {
                    sink.append(container.end())?;
                    shard.files.push(sink.finish()?);
                }
                if last {
                    shard.shard = array.shard;
                    sink.whole(&shard_note(array.shard), &json(&shard)?)?;
                    let empty = ShardNote { clamped: BTreeMap::new(), files: Vec::new(), shard: 0 };
                    notes.insert(array.shard, std::mem::replace(&mut shard, empty));
                }
                Ok(())
            },
        )?;
        let loader = container.loader();
        let loader = sink.whole(loader.name, loader.text.as_bytes())?;
        let mut manifest = self.manifest(note.identity, config, loader, &notes)?;
        sink.whole(MANIFEST, &manifest.sealed()?)?;
        Ok(manifest)
    }

    fn find(&self, array: usize) -> Result<(&Array, &Entry)> {
        let array = self.arrays.get(array).ok_or_else(no_such)?;
        Ok((array, self.entries.get(array.entry).ok_or_else(no_such)?))
    }

    /// Bytes that are read for an array, without scales.
    fn source_len(&self, array: usize) -> u64 {
        self.find(array).map_or(0, |(_, entry)| entry.source_len(&(0..entry.rows)))
    }

    /// Bytes that one unit under way needs at most.
    fn unit_cost(&self) -> Result<u64> {
        let mut most = 0;
        for array in &self.arrays {
            let entry = self.entries.get(array.entry).ok_or_else(no_such)?;
            let values = entry.group_rows.min(entry.rows).saturating_mul(entry.cols);
            // Elements of the output, once as they are in memory and once as they are written.
            let out = self.options.container.elem_len(array.dtype).saturating_mul(2);
            most = most.max(entry.cost()?.saturating_add(values.saturating_mul(out)));
        }
        Ok(most)
    }

    fn manifest(
        &self,
        identity: super::manifest::Identity,
        config: Option<Box<RawValue>>,
        loader: FileRecord,
        notes: &BTreeMap<usize, ShardNote>,
    ) -> Result<Manifest> {
        let container = self.options.container;
        let config = match config {
            Some(config) => config,
            None => RawValue::from_string("{}".to_owned())
                .map_err(|e| Error::malformed("cannot be written as JSON").with_source(e))?,
        };
        let records: BTreeMap<&str, &FileRecord> = notes
            .values()
            .flat_map(|note| &note.files)
            .map(|record| (record.file.as_str(), record))
            .collect();
        let own = |file: &str| match container.packing() {
            Packing::Tensor => records.get(file).copied(),
            Packing::Shard => None,
        };
        let mut tensors = Vec::new();
        for array in &self.arrays {
            let file = self.file(array);
            let note = notes.get(&array.shard).ok_or_else(no_such)?;
            let bytes = array.dtype.byte_len(array.shape.elems()).unwrap_or(0);
            tensors.push(TensorEntry {
                blake3: own(&file).map(|record| record.blake3.clone()),
                bytes: own(&file).map(|record| record.bytes),
                clamped: note.clamped.get(&array.name).copied().unwrap_or(0),
                dtype: container.dtype_name(array.dtype).to_owned(),
                key: array.key.clone(),
                name: array.name.clone(),
                shape: array.shape.dims().to_vec(),
                size_mb: bytes as f64 / MIB,
                file,
            });
        }
        let mut shards = Vec::new();
        for plan in &self.shards {
            let first = self.arrays.get(plan.arrays.start).ok_or_else(no_such)?;
            let file = self.file(first);
            let (file, blake3) = match container.packing() {
                Packing::Tensor => (file.split('/').next().unwrap_or_default().to_owned(), None),
                Packing::Shard => {
                    let record = records.get(file.as_str()).map(|record| record.blake3.clone());
                    (file, record)
                }
            };
            shards.push(ShardEntry {
                blake3,
                bytes: plan.len,
                file,
                size_mb: plan.len as f64 / MIB,
                tensor_count: plan.arrays.len(),
            });
        }
        let (total_parameters, total_scales) = self.parameters();
        Ok(Manifest {
            checksum: String::new(),
            clamped: tensors.iter().map(|tensor| tensor.clamped).fold(0, u64::saturating_add),
            config,
            format: container.manifest_name(self.options.precision.name()),
            generator: concat!("gmat ", env!("CARGO_PKG_VERSION")).to_owned(),
            identity,
            loader,
            total_shards: shards.len(),
            shards,
            tensors,
            total_parameters,
            total_scales,
            total_size_gb: self.output_bytes() as f64 / MIB / 1024.0,
        })
    }
}

const MIB: f64 = 1_048_576.0;

/// Some rows of an array as they are written.
fn convert(
    array: &Array,
    entry: &Entry,
    rows: &Range<u64>,
    chunks: &[Chunk<'_>],
    transform: Option<Transform>,
    buffers: &Buffers,
) -> Result<Converted> {
    let count = mem_len((rows.end - rows.start).saturating_mul(entry.cols))?;
    let mut bytes = Vec::new();
    let mut clamped = 0;
    let elements = entry.elements(rows, chunks, buffers)?;
    let source = match &elements {
        Elements::Borrowed(source) => Some(*source),
        Elements::Owned(source) => Some(source.as_slice()),
        Elements::Values(_) => None,
    };
    match (source, &elements) {
        (Some(source), _) => match array.aspect {
            Aspect::Codes if entry.is_mxfp4() => {
                bytes = buffers.bytes();
                mxfp4::codes(source, &mut bytes);
            }
            Aspect::Scales if entry.is_mxfp4() => {
                bytes = buffers.bytes();
                mxfp4::scales(source, &mut bytes);
            }
            // What needs no conversion is transformed from where it is.
            _ if array.cast.is_copy() && transform.is_some() => {}
            _ => {
                bytes = buffers.any_bytes(array.cast.out_len(count as u64)?);
                clamped = array.cast.bytes(source, count, buffers, &mut bytes)?;
            }
        },
        (None, Elements::Values(values)) => {
            bytes = buffers.any_bytes(array.cast.out_len(values.len() as u64)?);
            clamped = array.cast.write(values, &mut bytes)?;
        }
        (None, _) => {}
    }
    if let Some(transform) = transform {
        let mut written = buffers.bytes();
        match source.filter(|_| array.cast.is_copy()) {
            Some(source) => transform(source, &mut written),
            None => transform(&bytes, &mut written),
        }
        buffers.put(std::mem::replace(&mut bytes, written));
    }
    match elements {
        Elements::Owned(buffer) => buffers.put(buffer),
        Elements::Values(values) => buffers.put_values(values),
        Elements::Borrowed(_) => {}
    }
    Ok(Converted { bytes, clamped })
}

fn no_such() -> Error {
    Error::shape("no such array")
}
