//! `gmat formats`: everything registered.

use gmat_core::export::KEEP;
use gmat_core::plugin::Plugin;
use gmat_core::recipe::FileType;
use gmat_core::{Registry, Result};
use serde_json::json;

use crate::args::Formats;
use crate::report::Console;

pub(crate) fn run(args: &Formats, registry: &Registry, console: &mut Console) -> Result<()> {
    let recipes: Vec<(&str, &str)> = FileType::ALL
        .iter()
        .map(|file_type| (file_type.name(), file_type.default_type()))
        .filter(|&(name, base)| registry.quant(base).is_some() && name != base)
        .collect();
    if args.json {
        console.result(as_json(&recipes, registry).to_string());
        return Ok(());
    }
    console.line("Block formats (import --block-format):");
    for block in registry.blocks() {
        console.line(format!("  {:<14} {}", block.name(), block.summary()));
    }
    console.line("\nQuantization types (export --type, per_tensor):");
    for quant in registry.quants() {
        let block = quant.block();
        let from = quant.plugin().map(|plugin| format!(" (plugin `{}`)", plugin.place()));
        console.line(format!(
            "  {:<10} {:>7.4} bits per weight, {} weights in {} bytes{}",
            quant.name(),
            block.bits(),
            block.elems,
            block.bytes,
            from.unwrap_or_default()
        ));
    }
    console.line("\nRecipes (export --type, default_type):");
    for (name, base) in recipes {
        console.line(format!("  {name:<10} mostly {base}"));
    }
    console.line(format!("  {KEEP:<10} every tensor in the type that it is stored in"));
    console.line("\nOutput formats (convert --format):");
    for container in registry.containers() {
        console.line(format!("  {:<14} {}", container.name(), container.summary()));
    }
    console.line("\nArchitectures:");
    for arch in registry.archs() {
        let classes = match arch.hf_names() {
            [] => "any model, under the names of its source; for --arch only".to_owned(),
            classes => classes.join(", "),
        };
        console.line(format!("  {:<10} {classes}", arch.name()));
    }
    console.line("\nTokenizers:");
    for tokenizer in registry.tokenizers() {
        console.line(format!("  {:<13} {}", tokenizer.name(), tokenizer.summary()));
    }
    console.line("\nPre-tokenizers (import --pre):");
    for line in pre_tokenizers(registry).chunks(8) {
        console.line(format!("  {}", line.join(", ")));
    }
    Ok(())
}

fn as_json(recipes: &[(&str, &str)], registry: &Registry) -> serde_json::Value {
    let blocks = registry.blocks().iter();
    let with_plugin = |mut entry: serde_json::Value, plugin: Option<&Plugin>| {
        if let Some(plugin) = plugin {
            entry["plugin"] = json!({"path": plugin.place(), "blake3": plugin.identity().blake3});
        }
        entry
    };
    let blocks = blocks.map(|block| {
        let entry = json!({"name": block.name(), "summary": block.summary()});
        with_plugin(entry, block.plugin())
    });
    let blocks: Vec<_> = blocks.collect();
    let quants = registry.quants().iter().map(|quant| {
        let block = quant.block();
        let entry = json!({
            "name": quant.name(),
            "type_id": quant.ggml_type(),
            "bits_per_weight": block.bits(),
            "block_weights": block.elems,
            "block_bytes": block.bytes,
        });
        with_plugin(entry, quant.plugin())
    });
    let quants: Vec<_> = quants.collect();
    let recipes: Vec<_> =
        recipes.iter().map(|(name, base)| json!({"name": name, "mostly": base})).collect();
    let containers = registry.containers().iter();
    let containers: Vec<_> = containers
        .map(|container| json!({"name": container.name(), "summary": container.summary()}))
        .collect();
    let archs = registry.archs().iter();
    let archs: Vec<_> =
        archs.map(|arch| json!({"name": arch.name(), "classes": arch.hf_names()})).collect();
    let tokenizers: Vec<_> = registry.tokenizers().iter().map(|source| source.name()).collect();
    json!({
        "block_formats": blocks,
        "quantization_types": quants,
        "recipes": recipes,
        "output_formats": containers,
        "architectures": archs,
        "tokenizers": tokenizers,
        "pre_tokenizers": pre_tokenizers(registry),
    })
}

/// The names that can be forced on some tokenizer, sorted.
fn pre_tokenizers(registry: &Registry) -> Vec<&'static str> {
    let sources = registry.tokenizers().iter();
    let mut names: Vec<&str> =
        sources.flat_map(|source| source.pre_tokenizers()).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}
