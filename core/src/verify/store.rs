//! Verification of a store: every byte of every file.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::Verified;
use crate::decode::Restorer;
use crate::error::Result;
use crate::format::store::Index;
use crate::format::tokens;
use crate::io::{Files, read_small};
use crate::pipeline::Budget;
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;
use crate::store::{
    FromBase, Location, METADATA, Metadata, Record, SOURCE_KEYS, Store, TOKENS, ToCheck,
    check_groups, tensor_file,
};

/// The folder of tensor files.
const TENSORS: &str = "tensors";

/// Reads all of a store: `metadata.json`, the tokenizer, and every row group of every tensor, whose
/// source bytes are hashed again where the block format gives them back. Those of tensors that are
/// stored as differences can be made with `base` only, the folder of the store's base.
///
/// # Errors
/// `Io` if there is no store, or a file cannot be read; as [`Store::with_base`]; `Cancelled`. What is
/// damaged or missing is no error, but a difference.
pub fn verify_store(
    files: &dyn Files,
    base: Option<&dyn Files>,
    registry: &Registry,
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Verified> {
    let mut found = Verified::new("store");
    found.files += 1;
    let Some(store) = found.take(METADATA, None, Store::open(files))? else { return Ok(found) };
    let store = match base {
        Some(base) => store.with_base(base)?,
        None => store,
    };
    small_files(&store, &mut found)?;
    foreign_files(files, &store.metadata, &mut found)?;

    let mut present = Vec::new();
    let mut shared = 0;
    for (&id, record) in &store.metadata.tensors {
        // What is in the base is verified with the base.
        if matches!(record.from_base, Some(FromBase::Same(_))) {
            shared += 1;
            continue;
        }
        present.extend(Present::open(&store, id, record, registry, &mut found)?);
    }
    found.bytes += present.iter().map(|present| present.record.stored_bytes).sum::<u64>();
    let start = Event::Start { tensors: present.len(), bytes: found.bytes };
    notify(progress, start)?;
    let to_check: Vec<ToCheck<'_>> = present.iter().map(Present::to_check).collect();
    let checked = check_groups(files, base, &to_check, budget, progress)?;
    let mut hashed = 0;
    for (number, (present, source)) in present.iter().zip(&checked.sources).enumerate() {
        let (record, index) = (present.record, &present.index);
        let (file, name) = (tensor_file(index.id), Some(record.name.as_str()));
        let groups = (number, 0)..(number + 1, 0);
        for &(_, group) in checked.damaged.range(groups.clone()) {
            found.differs(&file, name, damaged_rows(index, group));
        }
        let mut in_base = checked.damaged_in_base.range(groups.clone()).peekable();
        let whole = checked.damaged.range(groups).next().is_none() && in_base.peek().is_none();
        if let Some((location, index)) = &present.base {
            for &(_, group) in in_base {
                found.differs(&store.place(*location), name, damaged_rows(index, group));
            }
        }
        if let (Some(source), true) = (source, whole) {
            hashed += 1;
            if source.to_hex().as_str() != record.source_blake3 {
                found.differs(&file, name, "the source bytes do not have the hash they had");
            }
        }
        if present.lacks_base() && store.base().is_none() {
            found.not_hashed.push(record.name.clone());
        }
    }
    found.tensors = present.len();
    found.checks.push(format!("checksums of all {} files", found.files));
    if shared > 0 {
        found
            .checks
            .push(format!("not the {shared} tensors that are in the base: verify that, too"));
    }
    let total = store.metadata.total_tensors;
    found.checks.push(format!("source hashes of {hashed} of {total} tensors"));
    Ok(found)
}

/// A tensor with a file of its own.
struct Present<'a> {
    record: &'a Record,
    index: Index,
    /// What it differs from, if that is there and fits.
    base: Option<(Location, Index)>,
    /// How its source bytes are restored, if that is possible.
    restore: Option<Restorer>,
}

impl<'a> Present<'a> {
    /// Reads indexes; what cannot be read is noted.
    fn open(
        store: &Store<'_>,
        id: Uuid,
        record: &'a Record,
        registry: &Registry,
        found: &mut Verified,
    ) -> Result<Option<Self>> {
        let (file, name) = (tensor_file(id), Some(record.name.as_str()));
        if store.files().len(&file)?.is_none() {
            found.differs(&file, name, "the file is missing");
            return Ok(None);
        }
        found.files += 1;
        let index = found.take(&file, name, store.index(id, record))?;
        let Some(index) = index else { return Ok(None) };
        let base = match (record.from_base, store.base()) {
            (Some(FromBase::Difference(other)), Some(_)) => {
                let (files, file) = store.file(Location::Base(other))?;
                let place = files.place(&file);
                match files.len(&file)? {
                    Some(_) => found.take(&place, name, store.base_of(record, &index))?.flatten(),
                    None => {
                        found.differs(&place, name, "the file is missing");
                        None
                    }
                }
            }
            _ => None,
        };
        // The hash of a tensor that was made of several is that of all of them.
        let alone = record.made_of.is_none();
        let restorable = alone && (record.from_base.is_none() || base.is_some());
        let of_base = base.as_ref().map(|(_, index)| index);
        let restore = Restorer::new(&index, of_base, registry).ok();
        let restore = restore.filter(|restorer| restorable && restorer.is_lossless());
        Ok(Some(Self { record, index, base, restore }))
    }

    fn to_check(&self) -> ToCheck<'_> {
        let base = self.base.as_ref().map(|(_, index)| index);
        ToCheck { index: &self.index, base, restore: self.restore }
    }

    /// Whether its source bytes are not to be had because what it differs from is not.
    fn lacks_base(&self) -> bool {
        let difference = matches!(self.record.from_base, Some(FromBase::Difference(_)));
        difference && self.base.is_none() && self.record.made_of.is_none()
    }
}

fn damaged_rows(index: &Index, group: usize) -> String {
    let rows = index.group_rows(group);
    let place = index.groups.get(group).map_or(0..0, |g| g.offset..g.offset + g.len);
    format!(
        "rows {} to {} are damaged: bytes {} to {} do not have their checksum",
        rows.start, rows.end, place.start, place.end
    )
}

/// The tokenizer, and the keys of a GGUF source.
fn small_files(store: &Store<'_>, found: &mut Verified) -> Result<()> {
    let (files, model) = (store.files(), &store.metadata.model);
    let mut has_tokens = false;
    if let Some(Some(bytes)) = found.take(TOKENS, None, read_small(files, TOKENS))? {
        has_tokens = true;
        found.files += 1;
        let sound = found.take(TOKENS, None, tokens::read(&bytes))?.is_some();
        let hash = blake3::hash(&bytes).to_hex();
        // Stores of earlier versions do not say which tokenizer is theirs.
        if sound && model.tokens.as_ref().is_some_and(|known| *known != hash.as_str()) {
            found.differs(TOKENS, None, "it is the tokenizer of another model");
        }
    }
    if model.tokens.is_some() && !has_tokens {
        found.differs(TOKENS, None, "the file is missing");
    }
    if model.source_keys.is_some() {
        if files.len(SOURCE_KEYS)?.is_none() {
            found.differs(SOURCE_KEYS, None, "the file is missing");
        } else {
            found.files += 1;
            found.take(SOURCE_KEYS, None, store.source_keys())?;
        }
    }
    Ok(())
}

/// What is in the folder of a store, and not of it.
fn foreign_files(files: &dyn Files, metadata: &Metadata, found: &mut Verified) -> Result<()> {
    let own = metadata.tensors.iter();
    let own = own.filter(|(_, record)| !matches!(record.from_base, Some(FromBase::Same(_))));
    let own: BTreeSet<String> = own.map(|(&id, _)| tensor_file(id)).collect();
    let mut present: BTreeMap<String, bool> = BTreeMap::new();
    for name in files.names_in(TENSORS)? {
        let path = format!("{TENSORS}/{name}");
        present.insert(path.clone(), own.contains(&path));
    }
    let of_model = |name: &str| match name {
        METADATA | TOKENS => true,
        SOURCE_KEYS => metadata.model.source_keys.is_some(),
        name => own.contains(name),
    };
    for name in files.names()? {
        let known = of_model(&name);
        present.entry(name).or_insert(known);
    }
    for (name, _) in present.iter().filter(|(_, known)| !**known) {
        found.differs(name, None, "the file does not belong to the store");
    }
    Ok(())
}
