//! Recommending a type for every tensor, from the store's indexes alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{ExportConfig, Quantization, Target};
use crate::error::Result;
use crate::export::basis::{Basis, source_order};
use crate::export::keep::stays;
use crate::export::types::KEEP;
use crate::export::verbatim::{kept_type, stored_type};
use crate::recipe::recommend;
use crate::registry::Registry;
use crate::store::Store;

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

/// Recommends a type for every tensor by its role, size and importance; for a model that came as
/// GGUF, the types that it has.
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
    let basis = Basis::new(store, arch, registry)?;
    let mut notes = Vec::new();
    let mut placed = basis.place(&store.metadata, &[], &mut notes)?;
    let mut quantization = Quantization::default();
    if basis.is_gguf() {
        // Somebody has decided on types already, and deciding again costs quality.
        quantization.default_type = KEEP.into();
        let places = source_order(&store.metadata);
        placed.sort_by_key(|tensor| places.get(&tensor.pieces.first()?.id).copied());
    }
    let mut counts = BTreeMap::new();
    let mut tensor_map = Vec::new();
    let mut missing = Vec::new();
    for tensor in placed {
        // Parts of a tensor have one type: what their mean importance asks for.
        let mut importance = 0.0;
        for piece in &tensor.pieces {
            let location = store.location(piece.id, piece.record)?;
            let (files, file) = store.file(location)?;
            if files.len(&file)?.is_none() {
                missing.push(files.place(&file));
            }
            importance += piece.record.importance / tensor.pieces.len() as f64;
        }
        let mut ids = BTreeSet::new();
        let source = tensor.sources().next().unwrap_or_default();
        let elems = tensor.shape.elems();
        let name = match basis.is_gguf() {
            true => kept_type(stored_type(&tensor)?),
            false => {
                let (name, _) = recommend(source, &tensor.name, elems, importance, high, medium);
                stays(&tensor, registry)?.map_or(name, |wish| wish.ty)
            }
        };
        *counts.entry(name.to_owned()).or_insert(0) += 1;
        for piece in &tensor.pieces {
            // A tensor that is split has one entry: the type of its first part by name.
            if !basis.is_gguf() {
                quantization.per_tensor.entry(piece.id).or_insert_with(|| name.into());
            }
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
