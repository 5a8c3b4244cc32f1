//! Any `config.json` and SafeTensors header make a model or are refused: tensors of quantized
//! checkpoints are put together, and every architecture answers every question.

#![no_main]

#[path = "shared/folder.rs"]
mod folder;

use std::sync::LazyLock;

use folder::Folder;
use gmat_core::Registry;
use gmat_core::config::{ImportConfig, ModelConfig};
use gmat_core::format::gguf::Meta;
use gmat_core::import::ImportPlan;
use gmat_core::source::{Model, Pick};
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::builtin(gmat_codecs::link()).expect("the codecs are sound"));

/// The data of the tensors as a header describes it; a file of exactly that length is not refused
/// for it.
fn data_len(header: &[u8]) -> Option<u64> {
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let ends = header.as_object()?.values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    ends.max()
}

fuzz_target!(|data: &[u8]| {
    let Some((config_len, rest)) = data.split_first_chunk() else { return };
    let (config, header) = rest.split_at(rest.len().min(u16::from_le_bytes(*config_len).into()));
    let config = ModelConfig::parse(config);
    if let Ok(config) = &config {
        // An error is as good as a result; a panic is not.
        for arch in REGISTRY.archs() {
            let _ = arch.score(config);
            let _ = arch.metadata(config, &mut Meta::new());
            let _ = arch.generated(config);
            let _ = arch.expected(config);
        }
    }
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    let len = (file.len() as u64).saturating_add(data_len(header).unwrap_or(0));
    let folder = Folder { name: "model.safetensors", start: &file, len };
    let Ok(mut model) = Model::open(&folder, Pick::File(folder.name)) else { return };
    if let Ok(config) = &config {
        for (arch, tensor) in REGISTRY
            .archs()
            .iter()
            .flat_map(|arch| model.tensors.iter().map(move |tensor| (arch, tensor)))
        {
            let _ = arch.place(&tensor.info.name, config);
        }
    }
    if model.resolve(&folder, config.as_ref().ok()).is_ok()
        && let Ok(plan) = ImportPlan::new(&model, &ImportConfig::default(), &REGISTRY)
    {
        let _ = plan.source_bytes();
    }
});
