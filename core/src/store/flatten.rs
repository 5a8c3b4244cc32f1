//! A store with a base becomes one that stands by itself: what an import without the base would have
//! made, as far as that keeps every value.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Metadata, Record, Rows, SOURCE_KEYS, Store, TOKENS, finished_files, tensor_file};
use crate::block::{BlockFormat, EncodeInput};
use crate::decode::{Elements, RowDecoder, Stored};
use crate::error::{Error, Result, ResultExt};
use crate::format::store::{self as file, Group, Index, checksum};
use crate::import::Fingerprint;
use crate::io::{Chunk, Files, Sink, read_small};
use crate::limits::rows_per_group;
use crate::pipeline::{Budget, drive};
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;
use crate::resume;

/// One tensor on its way.
struct Item<'a> {
    id: Uuid,
    record: &'a Record,
    rows: Rows,
    decoder: RowDecoder,
    elements: Elements,
    /// The format that it gets; none if its bytes stay what they are.
    format: Option<&'static dyn BlockFormat>,
}

/// A row group on its way.
struct Unit {
    item: usize,
    group: Option<usize>,
    last: bool,
}

/// A store with a base, about to become one that stands by itself; no tensor has been read.
pub struct Flattening<'a> {
    store: &'a Store<'a>,
    items: Vec<Item<'a>>,
}

impl<'a> Flattening<'a> {
    /// Plans to write all of a store and what it takes from its base.
    ///
    /// # Errors
    /// `Config` if the store has no base; `Io` if the base was not given; `Malformed` if either is
    /// damaged.
    pub fn new(store: &'a Store<'a>, registry: &Registry) -> Result<Self> {
        if store.metadata.made_against.is_none() {
            return Err(Error::config(format!(
                "`{}` has no base: it stands by itself already",
                store.files().place("")
            )));
        }
        let items = store.metadata.tensors.iter().map(|(id, record)| {
            Item::new(store, *id, record, registry).context(|| format!("tensor `{}`", record.name))
        });
        Ok(Self { store, items: items.collect::<Result<_>>()? })
    }

    /// Most bytes that row groups of the new store may take.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.items.iter().map(Item::stored_bytes).fold(0, u64::saturating_add)
    }

    /// What decides the bytes of the new store: those of the old one, of which the metadata knows all
    /// hashes.
    #[must_use]
    pub fn fingerprint(&self) -> resume::Fingerprint {
        resume::Fingerprint::new().with("store", self.store.metadata.checksum().as_bytes())
    }

    /// Writes it. Every value stays what it is, bit by bit. Tensor files that an interrupted run left
    /// in `existing`, the folder that `sink` writes to, are kept if they are complete and whole.
    ///
    /// # Errors
    /// `Malformed` if the store or its base is damaged; `Config` if a row group does not fit the
    /// budget; what the sink says; `Cancelled`.
    pub fn run(
        &self,
        existing: Option<&dyn Files>,
        sink: &mut dyn Sink,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Metadata> {
        let items = &self.items;
        let bytes = items.iter().map(|item| item.record.stored_bytes).fold(0, u64::saturating_add);
        notify(progress, Event::Start { tensors: items.len(), bytes })?;
        let in_flight = budget.units(items.iter().map(Item::cost).max().unwrap_or(0))?;
        let wanted = items.iter().map(|item| Some((item.id, |index: &Index| item.makes(index))));
        let finished = finished_files(existing, wanted, budget, progress)?;
        let mut records: BTreeMap<Uuid, Record> = BTreeMap::new();
        for (item, index) in items.iter().zip(&finished) {
            if let Some(index) = index {
                records.insert(item.id, item.record(index));
            }
        }
        let missing = |unit: &Unit| finished.get(unit.item).is_some_and(Option::is_none);
        let (mut groups, mut done) = (Vec::new(), 0);
        drive(
            self.units().filter(missing),
            in_flight,
            |unit| {
                let item = items.get(unit.item).ok_or_else(no_such)?;
                Ok((item, item.read(self.store, unit.group).context(|| item.place())?))
            },
            |unit, (item, chunks)| item.encode(unit.group, &chunks).context(|| item.place()),
            |unit, encoded| {
                let item = items.get(unit.item).ok_or_else(no_such)?;
                if unit.group.is_none_or(|group| group == 0) {
                    let (index, dims) = (unit.item, item.record.shape.as_slice());
                    let encoding = item.format_name();
                    let name = &item.record.name;
                    notify(progress, Event::Tensor { index, name, dims, encoding })?;
                    sink.begin(&tensor_file(item.id), None)?;
                    sink.append(&file::head())?;
                }
                if let Some(number) = unit.group {
                    sink.append(&encoded)?;
                    groups.push(item.group(number, &groups, &encoded)?);
                    done += item.rows.index.groups.get(number).map_or(0, |group| group.len);
                    notify(progress, Event::Bytes(done))?;
                }
                if unit.last {
                    let index = item.index(std::mem::take(&mut groups));
                    sink.append(&index.to_bytes(index.end()))?;
                    sink.finish()?;
                    records.insert(item.id, item.record(&index));
                }
                Ok(())
            },
        )?;
        for name in [TOKENS, SOURCE_KEYS] {
            if let Some(bytes) = read_small(self.store.files(), name)? {
                sink.begin(name, Some(bytes.len() as u64))?;
                sink.append(&bytes)?;
                sink.finish()?;
            }
        }
        let old = self.store.metadata.clone();
        let mut metadata = Metadata { made_against: None, tensors: records, ..old };
        metadata.write(sink)?;
        Ok(metadata)
    }

    /// All row groups, in file order; a tensor without elements has one empty unit.
    fn units(&self) -> impl Iterator<Item = Unit> + '_ {
        self.items.iter().enumerate().flat_map(|(item, of)| {
            let count = of.rows.index.groups.len();
            let unit = move |group: Option<usize>| Unit {
                item,
                group,
                last: group.is_none_or(|group| group + 1 == count),
            };
            let empty = (count == 0).then(|| unit(None));
            (0..count).map(move |group| unit(Some(group))).chain(empty)
        })
    }
}

impl<'a> Item<'a> {
    fn new(store: &Store<'_>, id: Uuid, record: &'a Record, registry: &Registry) -> Result<Self> {
        let rows = store.rows(id, record)?;
        let index = &rows.index;
        let base = rows.base.as_ref().map(|(_, index)| index);
        let decoder = RowDecoder::new(index, base, registry)?;
        let current = registry.block(&index.format)?;
        // What an import would choose; what is exact stays so.
        let chosen = registry.block(&store.metadata.config.block_format)?;
        let takes = index.shape.rank() > 1 && chosen.accepts(index.dtype);
        let wanted = if takes { chosen } else { registry.block("raw")? };
        let wanted = match (record.from_base, current.is_lossless()) {
            (Some(_), true) if wanted.is_lossless() => wanted,
            _ => current,
        };
        let step = rows_per_group(index.matrix().1, wanted.granule_rows());
        let same = wanted.name() == current.name() && rows.base.is_none();
        let format = (!same && step == index.group_rows).then_some(wanted);
        if format.is_none() && rows.base.is_some() {
            return Err(Error::malformed("row groups are not of the size that import makes"));
        }
        let elements = Elements::new(index.dtype, registry)?;
        Ok(Self { id, record, decoder, elements, format, rows })
    }

    fn place(&self) -> String {
        format!("tensor `{}`", self.record.name)
    }

    fn format_name(&self) -> &str {
        self.format.map_or(self.rows.index.format.as_str(), |format| format.name())
    }

    /// Bytes that a row group needs at most.
    fn cost(&self) -> u64 {
        let longest = |index: &Index| index.groups.iter().map(|group| group.len).max().unwrap_or(0);
        let index = &self.rows.index;
        let (rows, cols) = index.matrix();
        let rows = index.group_rows.min(rows);
        let source = index.source_len(rows).saturating_mul(3);
        let stored = longest(index) + self.rows.base.as_ref().map_or(0, |base| longest(&base.1));
        rows.saturating_mul(cols).saturating_mul(4).saturating_add(source).saturating_add(stored)
    }

    /// A row group, and that of the base.
    fn read<'f>(&self, store: &Store<'f>, group: Option<usize>) -> Result<Vec<Chunk<'f>>> {
        let Some(number) = group else { return Ok(Vec::new()) };
        let own = Some((self.rows.location, &self.rows.index));
        let base = self.rows.base.as_ref().map(|base| (base.0, &base.1));
        let read = |(location, index): (_, &Index)| {
            let group = index.groups.get(number).ok_or_else(no_such)?;
            store.read(location, group.offset..group.offset + group.len)
        };
        own.into_iter().chain(base).map(read).collect()
    }

    fn encode(&self, group: Option<usize>, chunks: &[Chunk<'_>]) -> Result<Vec<u8>> {
        let (Some(number), [own, base @ ..]) = (group, chunks) else { return Ok(Vec::new()) };
        let own = self.rows.index.checked(number, own.as_ref().as_ref())?;
        let base = match (&self.rows.base, base.first()) {
            (Some(base), Some(chunk)) => {
                Some(base.1.checked(number, chunk.as_ref().as_ref()).context(|| "base")?)
            }
            _ => None,
        };
        let Some(format) = self.format else { return Ok(own.to_vec()) };
        let shape = self.rows.index.group_shape(number)?;
        let mut source = Vec::new();
        self.decoder.source(Stored { own, base }, shape, &mut source)?;
        let mut values = Vec::new();
        if shape.dtype.holds_weights() {
            values.resize(shape.rows * shape.cols, 0.0);
            self.elements.to_f32(&source, &mut values)?;
        }
        let (dtype, rows, cols) = (shape.dtype, shape.rows, shape.cols);
        let mut out = Vec::new();
        format
            .encode(EncodeInput { values: &values, bytes: &source, dtype, rows, cols }, &mut out)?;
        Ok(out)
    }

    fn group(&self, number: usize, before: &[Group], bytes: &[u8]) -> Result<Group> {
        let group = self.rows.index.groups.get(number).ok_or_else(no_such)?;
        let offset = before.last().map_or(file::HEAD, |group| group.offset + group.len);
        Ok(Group { offset, len: bytes.len() as u64, sum: checksum(bytes), stats: group.stats })
    }

    /// What decides the bytes of the new file.
    fn fingerprint(&self) -> [u8; 32] {
        let old = &self.rows.index;
        let made_of = self.record.made_of.as_ref();
        let fingerprint = Fingerprint {
            id: self.id,
            name: &self.record.name,
            dtype: old.dtype,
            encoding: made_of.map_or("", |made| made.encoding.as_str()),
            shape: &old.shape,
            format: self.format_name(),
            group_rows: old.group_rows,
            source: old.source_hash,
            base: None,
        };
        fingerprint.hash()
    }

    /// The new index.
    fn index(&self, groups: Vec<Group>) -> Index {
        Index {
            id: self.id,
            format: self.format_name().to_owned(),
            fingerprint: self.fingerprint(),
            groups,
            ..self.rows.index.clone()
        }
    }

    /// Whether the file with that index is the one that this makes.
    fn makes(&self, index: &Index) -> bool {
        *index == self.index(index.groups.clone())
    }

    /// What the metadata says about the file with that index.
    fn record(&self, index: &Index) -> Record {
        Record {
            block_format: index.format.clone(),
            from_base: None,
            stored_bytes: index.end() + index.to_bytes(index.end()).len() as u64,
            ..self.record.clone()
        }
    }

    /// Most bytes that the row groups of the new file may take.
    fn stored_bytes(&self) -> u64 {
        let index = &self.rows.index;
        let Some(format) = self.format else { return index.end() };
        let longest = |number| format.max_len(index.group_shape(number).ok()?);
        let groups = 0..index.groups.len();
        groups
            .map(|number| longest(number).map_or(0, |len| len as u64))
            .fold(0, u64::saturating_add)
    }
}

fn no_such() -> Error {
    Error::shape("no such row group")
}
