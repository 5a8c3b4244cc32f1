//! What the store says about the model as a whole: architecture, names, transformations.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::arch::{self, ModelArch, Placement, RowMap};
use crate::config::metadata::{edited, validate};
use crate::config::{ModelConfig, Target};
use crate::error::{Error, Result};
use crate::registry::Registry;
use crate::store::{Metadata, Record};

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

/// One stored tensor that is exported.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) id: Uuid,
    pub(crate) record: &'a Record,
    /// GGUF name.
    pub(crate) name: String,
    pub(crate) rows: RowMap,
}

/// Decides for every tensor of the store what it becomes; left-out ones are noted.
pub(crate) fn place_all<'a>(
    metadata: &'a Metadata,
    arch: &dyn ModelArch,
    config: &ModelConfig,
    map: &[Target],
    notes: &mut Vec<String>,
) -> Result<Vec<Placed<'a>>> {
    let targets: BTreeMap<Uuid, &str> =
        map.iter().map(|target| (target.source, target.target.as_str())).collect();
    if let Some(target) = map.iter().find(|t| !metadata.tensors.contains_key(&t.source)) {
        return Err(Error::config(format!(
            "`tensor_map` names `{}` (for `{}`), which is not in the store",
            target.source, target.target
        ))
        .with_hint("generate the config again for this store"));
    }
    let mut placed = Vec::new();
    let mut unknown = Vec::new();
    let mut dropped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut unlisted = 0;
    for (&id, record) in &metadata.tensors {
        let place = arch.place(&record.name, config)?;
        let wanted = targets.get(&id).copied();
        let (name, rows) = match (place, wanted) {
            _ if !map.is_empty() && wanted.is_none() => {
                unlisted += 1;
                continue;
            }
            (Some(Placement::Tensor { rows, .. }), Some(name)) => (name.to_owned(), rows),
            (Some(Placement::Tensor { name, rows }), None) => (name, rows),
            (_, Some(name)) => (name.to_owned(), RowMap::Identity),
            (Some(Placement::Drop(reason)), None) => {
                dropped.entry(reason).or_default().push(&record.name);
                continue;
            }
            (None, None) => {
                unknown.push(record.name.as_str());
                continue;
            }
        };
        placed.push(Placed { id, record, name, rows });
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
    check_unique(&placed)?;
    Ok(placed)
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

fn check_unique(placed: &[Placed<'_>]) -> Result<()> {
    let mut names = BTreeMap::new();
    for tensor in placed {
        if let Some(other) = names.insert(&tensor.name, &tensor.record.name) {
            return Err(Error::config(format!(
                "`{other}` and `{}` would both become `{}`",
                tensor.record.name, tensor.name
            ))
            .with_hint("leave one of them out with `tensor_map`"));
        }
    }
    Ok(())
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
