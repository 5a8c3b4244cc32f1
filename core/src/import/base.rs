//! Import against a base: what a tensor has in common with one of a store that is there already.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::hash::SourceHash;
use super::{ImportPlan, Item, Unit, place};
use crate::decode::{RowDecoder, Stored};
use crate::error::{Error, Result, ResultExt};
use crate::format::store::{Index, checksum, damaged};
use crate::io::{Chunk, Files};
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;
use crate::store::{FromBase, Location, MadeAgainst, Record, Store};
use crate::tensor::mem_len;

/// The store that a model is imported against.
pub(super) struct BaseStore<'a> {
    store: &'a Store<'a>,
    path: Option<String>,
}

/// What a tensor takes from the base.
pub(super) enum Base<'a> {
    /// All: it is the tensor of that id.
    Same(Uuid, &'a Record),
    /// Its values, from which its own differ.
    Difference(Uuid, Box<Partner>),
}

/// The tensor of the base that another one differs from.
pub(super) struct Partner {
    index: Index,
    decoder: RowDecoder,
}

impl Partner {
    /// The source bytes of a unit's rows in the base; `bytes` are what is stored.
    pub(super) fn source(&self, unit: &Unit, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if unit.rows.is_empty() {
            return Ok(out);
        }
        let number = self.number(unit)?;
        let group = self.index.groups.get(number).ok_or_else(no_such)?;
        let mut decode = || {
            if checksum(bytes) != group.sum {
                return Err(damaged(&format!("row group {number}"), group.offset));
            }
            let stored = Stored { own: bytes, base: None };
            self.decoder.source(stored, self.index.group_shape(number)?, &mut out)
        };
        decode().context(|| format!("row group {number} of the base"))?;
        Ok(out)
    }

    fn number(&self, unit: &Unit) -> Result<usize> {
        mem_len(unit.rows.start / self.index.group_rows.max(1))
    }

    /// Bytes that a unit needs of the base: as they are stored, and as they were in the source.
    pub(super) fn cost(&self, rows: u64) -> u64 {
        let stored = self.index.groups.iter().map(|group| group.len).max().unwrap_or(0);
        stored.saturating_add(self.index.source_len(rows))
    }
}

fn no_such() -> Error {
    Error::shape("no such row group in the base")
}

impl Item<'_> {
    /// Whether nothing of it is stored.
    pub(super) fn is_same(&self) -> bool {
        matches!(self.base, Some(Base::Same(..)))
    }

    /// What its record says.
    pub(super) fn takes(&self) -> Option<FromBase> {
        match &self.base {
            Some(Base::Same(id, _)) => Some(FromBase::Same(*id)),
            Some(Base::Difference(id, _)) => Some(FromBase::Difference(*id)),
            None => None,
        }
    }

    /// What of the base decides its bytes.
    pub(super) fn base_hash(&self) -> Option<[u8; 32]> {
        match &self.base {
            Some(Base::Difference(_, partner)) => Some(partner.index.source_hash),
            _ => None,
        }
    }
}

impl<'a> ImportPlan<'a> {
    /// Looks for every tensor in a base: those that are the same are not stored, and of others of the
    /// same name, type and shape only what differs, if neither side loses bits. `path` is where the base
    /// is, seen from the new store.
    ///
    /// The source of tensors that may be the same is read for that.
    ///
    /// # Errors
    /// `Config` if the base has nothing in common with the model; `Unsupported` if it has a base itself;
    /// what reading says.
    pub fn against(
        &mut self,
        base: &'a Store<'a>,
        path: Option<String>,
        files: &dyn Files,
        registry: &Registry,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        base.refuse_base()?;
        let by_name: BTreeMap<&str, (Uuid, &Record)> =
            base.metadata.tensors.iter().map(|(id, r)| (r.name.as_str(), (*id, r))).collect();
        let places: Vec<String> =
            self.model.shards.iter().map(|shard| files.place(&shard.name)).collect();
        let (mut same, mut differ, mut lossy) = (0, 0, None);
        for number in 0..self.items.len() {
            let Some(item) = self.items.get(number) else { continue };
            let info = &item.source.info;
            let alike = by_name.get(info.name.as_str()).filter(|(_, record)| {
                record.dtype == info.dtype.name() && record.shape == info.shape.dims()
            });
            let Some(&(id, record)) = alike else { continue };
            let found = self.compare(item, number, base, id, record, files, registry, progress);
            let found = found.context(|| place(&places, item.source))?;
            match &found {
                Some(Base::Same(..)) => same += 1,
                Some(Base::Difference(..)) => differ += 1,
                None if !registry.block(&record.block_format)?.is_lossless() => {
                    lossy = Some(record.block_format.as_str());
                }
                None => {}
            }
            if let Some(item) = self.items.get_mut(number) {
                if matches!(found, Some(Base::Difference(..))) {
                    item.format = differences(registry)?;
                }
                item.base = found;
            }
        }
        let base_place = base.files().place("");
        if same + differ == 0 {
            let error = match lossy {
                Some(format) => Error::config(format!(
                    "nothing can be taken from `{base_place}`: it is stored as `{format}`, which does \
                     not tell the exact values of its source"
                ))
                .with_hint("import the base with --block-format lossless"),
                None => Error::config(format!(
                    "`{base_place}` has no tensor in common with the model"
                ))
                .with_hint("import without --base"),
            };
            return Err(error);
        }
        let whole = self.items.len() - same - differ;
        self.notes.push(format!(
            "of {} tensors, {same} are those of the base, {differ} are stored as differences, {whole} \
             in full",
            self.items.len()
        ));
        if let Some(format) = lossy {
            self.notes.push(format!(
                "the base is stored as `{format}`, which does not tell exact values: no differences \
                 are taken from it"
            ));
        }
        self.base = Some(BaseStore { store: base, path });
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, just above")]
    fn compare(
        &self,
        item: &Item<'a>,
        number: usize,
        base: &'a Store<'a>,
        id: Uuid,
        record: &'a Record,
        files: &dyn Files,
        registry: &Registry,
        progress: &mut dyn Progress,
    ) -> Result<Option<Base<'a>>> {
        let info = &item.source.info;
        let rows = base.rows(id, record).context(|| "base")?;
        let decoder = rows.decoder(registry).context(|| "base")?;
        let exact = decoder.is_lossless();
        let partner = Partner { index: rows.index, decoder };
        let derived = item.source.derived.as_ref();
        let encoding = derived.map(|derived| derived.encoding);
        let alike = record.made_of.as_ref().map(|made| made.encoding.as_str()) == encoding;
        let numbers = !item.finite || partner.index.stats().non_finite == 0;
        if alike
            && numbers
            && (exact || record.block_format == item.format.name())
            && self.is_same(item, number, exact, base, id, &partner, files, progress)?
        {
            return Ok(Some(Base::Same(id, record)));
        }
        let can = exact
            && item.format.is_lossless()
            && differences(registry).is_ok_and(|format| format.accepts(info.dtype))
            && partner.index.group_rows == item.group_rows;
        Ok(can.then(|| Base::Difference(id, Box::new(partner))))
    }

    /// Whether a tensor is that of the base: its hash tells, but mostly the first rows do.
    #[expect(clippy::too_many_arguments, reason = "one caller, just above")]
    fn is_same(
        &self,
        item: &Item<'a>,
        number: usize,
        exact: bool,
        base: &Store<'_>,
        id: Uuid,
        partner: &Partner,
        files: &dyn Files,
        progress: &mut dyn Progress,
    ) -> Result<bool> {
        let mut hash = SourceHash::default();
        for unit in item.units(number) {
            let chunks = self.read_source(files, item, &unit, &mut hash)?;
            let first = unit.rows.start == 0 && !unit.rows.is_empty();
            if first
                && exact
                && item.source.derived.is_none()
                && !partner.index.groups.is_empty()
                && partner.index.group_rows == item.group_rows
            {
                let stored = read_group(base, id, partner, &unit)?;
                let source = partner.source(&unit, stored.as_ref().as_ref())?;
                if chunks.first().is_some_and(|chunk| chunk.as_ref().as_ref() != source) {
                    return Ok(false);
                }
            }
            notify(progress, Event::Compared)?;
        }
        Ok(hash.finish() == partner.index.source_hash)
    }

    /// The rows of the base that a unit differs from.
    pub(super) fn read_base(&self, item: &Item<'_>, unit: &Unit) -> Result<Option<Chunk<'a>>> {
        match (&item.base, &self.base) {
            (Some(Base::Difference(id, partner)), Some(base)) if !unit.rows.is_empty() => {
                read_group(base.store, *id, partner, unit).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Source bytes of the tensors that are those of the base.
    pub(super) fn same_bytes(&self) -> u64 {
        let same = self.items.iter().filter(|item| item.is_same());
        same.map(|item| item.rows.saturating_mul(item.row_len)).fold(0, u64::saturating_add)
    }

    /// Their records.
    pub(super) fn same_records(&self) -> BTreeMap<Uuid, Record> {
        let mut records = BTreeMap::new();
        for item in &self.items {
            let Some(Base::Same(_, record)) = &item.base else { continue };
            let shard = self.model.shards.get(item.source.shard);
            let file = shard.map(|shard| shard.name.clone()).unwrap_or_default();
            let from_base = item.takes();
            records.insert(item.id, Record { file, from_base, ..(*record).clone() });
        }
        records
    }

    /// What the metadata says of the base.
    pub(super) fn made_against(&self) -> Option<MadeAgainst> {
        let base = self.base.as_ref()?;
        let checksum = base.store.metadata.checksum().to_owned();
        Some(MadeAgainst { checksum, path: base.path.clone() })
    }
}

fn read_group<'f>(base: &Store<'f>, id: Uuid, partner: &Partner, unit: &Unit) -> Result<Chunk<'f>> {
    let group = partner.index.groups.get(partner.number(unit)?).ok_or_else(no_such)?;
    base.read(Location::Own(id), group.offset..group.offset + group.len)
}

/// The format that differences are stored in.
fn differences(registry: &Registry) -> Result<&'static dyn crate::block::BlockFormat> {
    let format = registry.blocks().iter().copied().find(|format| format.takes_base());
    format.ok_or_else(|| Error::unsupported("this build has no block format for differences"))
}
