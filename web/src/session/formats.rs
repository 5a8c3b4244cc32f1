//! Everything that can be chosen.

use gmat_core::export::check_type;
use gmat_core::plugin::CUSTOM_TYPE;
use gmat_core::quant::Need;
use gmat_core::recipe::FileType;
use gmat_core::{Registry, limits};
use serde_json::{Value as Json, json};

pub(super) fn formats(registry: &Registry) -> Json {
    let blocks = registry.blocks().iter();
    let blocks: Vec<_> =
        blocks.map(|block| json!({"name": block.name(), "summary": block.summary()})).collect();
    let quants = registry.quants().iter().map(|quant| {
        json!({
            "name": quant.name(),
            "bits": quant.block().bits(),
            "needsImportance": quant.importance() == Need::Required,
            "forAll": check_type(quant.name(), registry).is_ok(),
            "plugin": quant.plugin().map(|plugin| plugin.name()),
            "custom": quant.ggml_type() >= CUSTOM_TYPE,
        })
    });
    let quants: Vec<_> = quants.collect();
    let recipes = FileType::ALL.iter().filter_map(|recipe| {
        let base = registry.quant(recipe.default_type())?;
        (recipe.name() != base.name()).then(
            || json!({"name": recipe.name(), "base": base.name(), "bits": base.block().bits()}),
        )
    });
    let recipes: Vec<_> = recipes.collect();
    let archs: Vec<_> = registry.archs().iter().map(|arch| arch.name()).collect();
    let containers = registry.containers().iter();
    let containers: Vec<_> = containers
        .map(|container| json!({"name": container.name(), "title": container.title()}))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "threads": rayon::current_num_threads(),
        "blocks": blocks,
        "types": quants,
        "recipes": recipes,
        "archs": archs,
        "containers": containers,
        "pluginBytes": limits::PLUGIN_MODULE,
    })
}
