//! Recommending a type for every tensor, from the store's indexes alone.

use std::collections::BTreeMap;

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
        let record = tensor.record;
        let file = tensor_file(tensor.id);
        if store.files().len(&file)?.is_none() {
            missing.push(store.files().place(&file));
        }
        let elems = record.info()?.shape.elems();
        let (name, _) =
            recommend(&record.name, &tensor.name, elems, record.importance, high, medium);
        *counts.entry(name.to_owned()).or_insert(0) += 1;
        quantization.per_tensor.insert(tensor.id, name.to_owned());
        tensor_map.push(Target { source: tensor.id, target: tensor.name });
    }
    let config = ExportConfig { quantization, tensor_map, ..ExportConfig::default() };
    Ok(Suggestion { config, counts, missing, notes })
}
