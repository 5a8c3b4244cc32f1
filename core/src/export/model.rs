//! What the store says about the model as a whole: architecture, names, transformations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::arch::{self, Change, Join, ModelArch, Part, Placement, Slot, Taken};
use crate::config::metadata::{edited, validate};
use crate::config::{ModelConfig, Target};
use crate::error::{Error, Result, ResultExt};
use crate::registry::Registry;
use crate::store::{Metadata, Record};
use crate::tensor::Shape;

/// The hyperparameters of the stored model: its `config.json` with what was edited in the import
/// config's metadata, or that metadata alone.
pub(crate) fn model_config(metadata: &Metadata) -> Result<ModelConfig> {
    let raw = metadata.model.config.as_ref();
    let file = raw.map(|raw| ModelConfig::parse(raw.get().as_bytes())).transpose()?;
    effective_config(file.as_ref(), &metadata.config.metadata)
}

/// The hyperparameters that an export works with: those of `config.json`, if the model has one, with
/// what was edited in the `metadata` of the import config.
///
/// # Errors
/// `Config` if a value of the metadata is not of the kind that its key wants.
pub fn effective_config(
    file: Option<&ModelConfig>,
    given: &BTreeMap<String, Value>,
) -> Result<ModelConfig> {
    validate(given)?;
    if let Some(config) = file {
        return Ok(edited(config, given));
    }
    let mut root: Map<String, Value> = given.clone().into_iter().collect();
    if let Some(Value::String(name)) = root.get("architecture") {
        root.insert("architectures".to_owned(), Value::from(vec![name.clone()]));
    }
    Ok(ModelConfig::from_map(root).without_file())
}

/// The architecture of a model, or the one the user forces.
pub(crate) fn architecture(
    registry: &Registry,
    config: &ModelConfig,
    forced: Option<&str>,
) -> Result<&'static dyn ModelArch> {
    match forced {
        Some(name) => registry.arch(name),
        None => arch::choose(registry.archs(), config),
    }
}

/// One tensor of the output.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    /// GGUF name.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// What it is made of, in order; never empty.
    pub(crate) pieces: Vec<Piece<'a>>,
}

/// What one stored tensor gives to it.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) id: Uuid,
    pub(crate) record: &'a Record,
    pub(crate) taken: Taken,
    pub(crate) change: Change,
}

impl Placed<'_> {
    /// Names in the source.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().map(|piece| piece.record.name.as_str())
    }
}

/// Decides for every tensor of the store what it becomes; left-out ones are noted.
pub(crate) fn place_all<'a>(
    metadata: &'a Metadata,
    arch: &dyn ModelArch,
    config: &ModelConfig,
    map: &[Target],
    notes: &mut Vec<String>,
) -> Result<Vec<Placed<'a>>> {
    let targets = targets(metadata, map)?;
    let mut parts: BTreeMap<String, Vec<(Part, Uuid, &'a Record)>> = BTreeMap::new();
    let mut unknown = Vec::new();
    let mut dropped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut unlisted = 0;
    for (&id, record) in &metadata.tensors {
        let placement = arch.place(&record.name, config)?;
        let wanted = targets.get(&id);
        let own = match (placement, wanted) {
            (_, None) if !map.is_empty() => {
                unlisted += 1;
                continue;
            }
            (Some(Placement::Parts(parts)), None) => parts,
            (Some(Placement::Drop(reason)), None) => {
                dropped.entry(reason).or_default().push(&record.name);
                continue;
            }
            (None, None) => {
                unknown.push(record.name.as_str());
                continue;
            }
            (Some(Placement::Parts(parts)), Some(names)) => named(&record.name, parts, names)?,
            (_, Some(names)) => named(&record.name, vec![Part::whole("")], names)?,
        };
        for part in own {
            parts.entry(part.name.clone()).or_default().push((part, id, record));
        }
    }
    if !unknown.is_empty() {
        return Err(unknown_tensors(arch, &unknown));
    }
    for (reason, names) in dropped {
        notes.push(format!("left out, {reason}: {}", some(&names)));
    }
    if unlisted > 0 {
        let tensors = match unlisted {
            1 => "1 tensor is not in `tensor_map`, so it is".to_owned(),
            count => format!("{count} tensors are not in `tensor_map`, so they are"),
        };
        notes.push(format!("{tensors} left out"));
    }
    parts.into_iter().map(|(name, parts)| join(name, parts)).collect()
}

/// The names that `tensor_map` gives to each stored tensor.
fn targets<'m>(metadata: &Metadata, map: &'m [Target]) -> Result<BTreeMap<Uuid, Vec<&'m str>>> {
    let mut targets: BTreeMap<Uuid, Vec<&str>> = BTreeMap::new();
    for target in map {
        if !metadata.tensors.contains_key(&target.source) {
            return Err(Error::config(format!(
                "`tensor_map` names `{}` (for `{}`), which is not in the store",
                target.source, target.target
            ))
            .with_hint("generate the config again for this store"));
        }
        targets.entry(target.source).or_default().push(&target.target);
    }
    Ok(targets)
}

/// The parts that a tensor gives to the names that the user wants. A tensor that goes to one place
/// may be renamed; of one that is split, the parts are chosen by name.
fn named(source: &str, parts: Vec<Part>, names: &[&str]) -> Result<Vec<Part>> {
    let own: BTreeSet<String> = parts.iter().map(|part| part.name.clone()).collect();
    if let ([name], 1) = (names, own.len()) {
        let renamed = parts.into_iter().map(|part| Part { name: (*name).to_owned(), ..part });
        return Ok(renamed.collect());
    }
    match names.iter().find(|&&name| !own.contains(name)) {
        Some(name) if own.len() > 1 => Err(Error::config(format!(
            "`tensor_map` gives `{source}` the name `{name}`, but it is split into {}",
            some(&own.into_iter().collect::<Vec<_>>())
        ))),
        Some(name) => Err(Error::config(format!(
            "`tensor_map` names `{source}` more than once, at last `{name}`, but it becomes one tensor"
        ))),
        None => Ok(parts.into_iter().filter(|part| names.contains(&part.name.as_str())).collect()),
    }
}

/// One tensor from its parts.
fn join<'a>(name: String, mut parts: Vec<(Part, Uuid, &'a Record)>) -> Result<Placed<'a>> {
    parts.sort_by_key(|(part, ..)| part.slot.at);
    let slot = parts.first().map_or(Slot::ONLY, |(part, ..)| part.slot);
    for pair in parts.windows(2) {
        let [(one, _, a), (other, _, b)] = pair else { continue };
        let alike = (one.slot.of, one.slot.join) == (other.slot.of, other.slot.join);
        if one.slot.at == other.slot.at || !alike {
            return Err(Error::config(format!(
                "`{}` and `{}` would both become `{name}`",
                a.name, b.name
            ))
            .with_hint("leave one of them out with `tensor_map`"));
        }
    }
    if parts.len() as u64 != slot.of {
        return Err(lacking(&name, slot.of, &parts));
    }
    let mut pieces: Vec<Piece<'a>> = Vec::with_capacity(parts.len());
    let mut rows = 0u64;
    for (part, id, record) in parts {
        let place = || format!("tensor `{}` (for `{name}`)", record.name);
        let taken = part.view.of(&record.info()?.shape).context(place)?;
        let own = taken.shape().dims();
        if let Some(first) = pieces.first() {
            let before = first.taken.shape().dims();
            let same = match slot.join {
                Join::Stack => before == own,
                Join::Follow => before.get(1..) == own.get(1..),
            };
            if !same {
                return Err(Error::shape(format!(
                    "what becomes of it has shape {}, but that of `{}` has {}",
                    taken.shape(),
                    first.record.name,
                    first.taken.shape()
                ))
                .context(place()));
            }
        }
        rows = rows.saturating_add(own.first().copied().unwrap_or(1));
        pieces.push(Piece { id, record, taken, change: part.change });
    }
    let first = pieces.first().map(|piece| piece.taken.shape().dims().to_vec());
    let mut dims = first.unwrap_or_default();
    match (slot.of, slot.join) {
        (1, Join::Follow) => {}
        (_, Join::Stack) => dims.insert(0, slot.of),
        (_, Join::Follow) => dims.splice(..1, [rows]).for_each(drop),
    }
    let shape = Shape::try_new(dims).context(|| format!("tensor `{name}`"))?;
    Ok(Placed { name, shape, pieces })
}

/// A stack of experts, or the like, of which some are not there.
fn lacking(name: &str, of: u64, parts: &[(Part, Uuid, &Record)]) -> Error {
    const SHOWN: usize = 8;
    let present: BTreeSet<u64> = parts.iter().map(|(part, ..)| part.slot.at).collect();
    let missing: Vec<String> =
        (0..of).filter(|at| !present.contains(at)).take(SHOWN).map(|at| at.to_string()).collect();
    let first = parts.first().map_or("", |(_, _, record)| record.name.as_str());
    Error::malformed(format!(
        "`{name}` has {of} parts (such as `{first}`), but {} of them are missing, the first: {}",
        of.saturating_sub(parts.len() as u64),
        missing.join(", ")
    ))
    .with_hint("import all shards of the model and leave none of the parts out")
}

fn unknown_tensors(arch: &dyn ModelArch, names: &[&str]) -> Error {
    Error::unsupported(format!(
        "architecture `{}` does not know {} of the model's tensors: {}",
        arch.name(),
        names.len(),
        some(names)
    ))
    .with_hint(
        "import without them (`\"include\": false`), or list what is wanted in `tensor_map` of the export config",
    )
}

/// The first few of a list of names.
pub(crate) fn some(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> =
        names.iter().take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    let mut text = shown.join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
