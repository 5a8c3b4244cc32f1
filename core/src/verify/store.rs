//! Verification of a store: every byte of every file.

use std::collections::{BTreeMap, BTreeSet};

use super::Verified;
use crate::error::Result;
use crate::format::store::Index;
use crate::format::tokens;
use crate::io::{Files, read_small};
use crate::pipeline::Budget;
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;
use crate::store::{
    FromBase, METADATA, Metadata, Record, SOURCE_KEYS, Store, TOKENS, ToCheck, check_groups,
    tensor_file,
};

/// The folder of tensor files.
const TENSORS: &str = "tensors";

/// Reads all of a store: `metadata.json`, the tokenizer, and every row group of every tensor, whose
/// source bytes are hashed again where the block format gives them back.
///
/// # Errors
/// `Io` if there is no store, or a file cannot be read; `Cancelled`. What is damaged or missing is
/// no error, but a difference.
pub fn verify_store(
    files: &dyn Files,
    registry: &Registry,
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Verified> {
    let mut found = Verified::new("store");
    found.files += 1;
    let Some(store) = found.take(METADATA, None, Store::open(files))? else { return Ok(found) };
    let metadata = &store.metadata;
    small_files(&store, &mut found)?;
    foreign_files(files, metadata, &mut found)?;

    let mut present: Vec<(&Record, Index)> = Vec::new();
    let mut shared = 0;
    for (&id, record) in &metadata.tensors {
        // What is in the base is verified with the base.
        if matches!(record.from_base, Some(FromBase::Same(_))) {
            shared += 1;
            continue;
        }
        let (file, name) = (tensor_file(id), Some(record.name.as_str()));
        if files.len(&file)?.is_none() {
            found.differs(&file, name, "the file is missing");
            continue;
        }
        found.files += 1;
        if let Some(index) = found.take(&file, name, store.index(id, record))? {
            present.push((record, index));
        }
    }
    found.bytes += present.iter().map(|(record, _)| record.stored_bytes).sum::<u64>();
    let start = Event::Start { tensors: present.len(), bytes: found.bytes };
    notify(progress, start)?;
    let mut to_check = Vec::with_capacity(present.len());
    for (record, index) in &present {
        // The hash of a tensor that was made of several is that of all of them.
        let format = registry.block(&index.format).ok();
        let alone = record.made_of.is_none() && record.from_base.is_none();
        let restore = format.filter(|format| format.is_lossless() && alone);
        to_check.push(ToCheck { index, restore });
    }
    let checked = check_groups(files, &to_check, budget, progress)?;
    let mut hashed = 0;
    let sources = present.iter().zip(checked.sources).enumerate();
    for (number, ((record, index), source)) in sources {
        let (file, name) = (tensor_file(index.id), Some(record.name.as_str()));
        let damaged: Vec<usize> =
            checked.damaged.range((number, 0)..(number + 1, 0)).map(|&(_, group)| group).collect();
        for &group in &damaged {
            let rows = index.group_rows(group);
            let place = index.groups.get(group).map_or(0..0, |g| g.offset..g.offset + g.len);
            found.differs(
                &file,
                name,
                format!(
                    "rows {} to {} are damaged: bytes {} to {} do not have their checksum",
                    rows.start, rows.end, place.start, place.end
                ),
            );
        }
        if let (Some(source), true) = (source, damaged.is_empty()) {
            hashed += 1;
            if source.to_hex().as_str() != record.source_blake3 {
                found.differs(&file, name, "the source bytes do not have the hash they had");
            }
        }
    }
    found.tensors = present.len();
    found.checks.push(format!("checksums of all {} files", found.files));
    if shared > 0 {
        found
            .checks
            .push(format!("not the {shared} tensors that are in the base: verify that, too"));
    }
    found.checks.push(format!("source hashes of {hashed} of {} tensors", metadata.total_tensors));
    Ok(found)
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
