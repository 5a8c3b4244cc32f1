//! `gmat formats`: everything registered.

use gmat_core::recipe::FileType;
use gmat_core::{Registry, Result};

use crate::report::Console;

pub(crate) fn run(registry: &Registry, console: &mut Console) -> Result<()> {
    console.line("Block formats (import --block-format):");
    for block in registry.blocks() {
        console.line(format!("  {:<14} {}", block.name(), block.summary()));
    }
    console.line("\nQuantization types (export --type, per_tensor):");
    for quant in registry.quants() {
        let block = quant.block();
        console.line(format!(
            "  {:<10} {:>7.4} bits per weight, {} weights in {} bytes",
            quant.name(),
            block.bits(),
            block.elems,
            block.bytes
        ));
    }
    console.line("\nRecipes (export --type, default_type):");
    for file_type in FileType::ALL {
        let base = file_type.default_type();
        if registry.quant(base).is_some() && file_type.name() != base {
            console.line(format!("  {:<10} mostly {base}", file_type.name()));
        }
    }
    console.line("\nArchitectures:");
    for arch in registry.archs() {
        console.line(format!("  {:<10} {}", arch.name(), arch.hf_names().join(", ")));
    }
    console.line("\nTokenizers:");
    for tokenizer in registry.tokenizers() {
        console.line(format!("  {}", tokenizer.name()));
    }
    Ok(())
}
