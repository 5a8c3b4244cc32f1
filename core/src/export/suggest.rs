//! Recommending a type for every tensor, from the store's indexes alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{ExportConfig, Quantization, Target};
use crate::error::Result;
use crate::export::model::{architecture, model_config, place_all};
use crate::recipe::recommend;
use crate::registry::Registry;
use crate::store::{Store, tensor_file};

/// A recommended config and what to tell about it.
#[derive(Debug)]
pub struct Suggestion {
    /// The config.
    pub config: ExportConfig,
    /// How many tensors get each type.
    pub counts: BTreeMap<String, usize>,
    /// Paths of tensor files that should be there and are not.
    pub missing: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Recommends a type for every tensor by its role, size and importance.
///
/// # Errors
/// Like [`crate::export::ExportPlan::new`], for what concerns the model.
pub fn suggest(
    store: &Store<'_>,
    arch: Option<&str>,
    high: f64,
    medium: f64,
    registry: &Registry,
) -> Result<Suggestion> {
    let model = model_config(&store.metadata)?;
    let arch = architecture(registry, &model, arch)?;
    let mut notes = Vec::new();
    let placed = place_all(&store.metadata, arch, &model, &[], &mut notes)?;
    let mut quantization = Quantization::default();
    let mut counts = BTreeMap::new();
    let mut tensor_map = Vec::new();
    let mut missing = Vec::new();
    for tensor in placed {
        // Parts of a tensor have one type: what their mean importance asks for.
        let mut importance = 0.0;
        for piece in &tensor.pieces {
            let file = tensor_file(piece.id);
            if store.files().len(&file)?.is_none() {
                missing.push(store.files().place(&file));
            }
            importance += piece.record.importance / tensor.pieces.len() as f64;
        }
        let mut ids = BTreeSet::new();
        let source = tensor.sources().next().unwrap_or_default();
        let elems = tensor.shape.elems();
        let (name, _) = recommend(source, &tensor.name, elems, importance, high, medium);
        *counts.entry(name.to_owned()).or_insert(0) += 1;
        for piece in &tensor.pieces {
            // A tensor that is split has one entry: the type of its first part by name.
            quantization.per_tensor.entry(piece.id).or_insert_with(|| name.to_owned());
            // Several parts of one tensor may come from one tensor.
            if !ids.insert(piece.id) {
                continue;
            }
            tensor_map.push(Target { source: piece.id, target: tensor.name.clone() });
        }
    }
    missing.sort_unstable();
    missing.dedup();
    let config = ExportConfig { quantization, tensor_map, ..ExportConfig::default() };
    Ok(Suggestion { config, counts, missing, notes })
}
