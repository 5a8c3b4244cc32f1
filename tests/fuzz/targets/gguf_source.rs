//! Any bytes as a GGUF file are a model to import or refused, and what is imported is kept whole.

#![no_main]

#[path = "shared/folder.rs"]
mod folder;

use std::sync::LazyLock;

use folder::Folder;
use gmat_core::config::ImportConfig;
use gmat_core::import::ImportPlan;
use gmat_core::inspect::Contents;
use gmat_core::io::Sink;
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::source::Model;
use gmat_core::{Registry, Result};
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::builtin(gmat_codecs::link()).expect("the codecs are sound"));

struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: &str, _: Option<u64>) -> Result<()> {
        Ok(())
    }

    fn append(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let folder = Folder { name: "model.gguf", start: data, len: data.len() as u64 + (1 << 16) };
    // An error is as good as a result; a panic is not.
    let _ = Contents::gguf(&folder, folder.name);
    let Ok(model) = Model::open_gguf(&folder, folder.name) else { return };
    let Ok(plan) = ImportPlan::new(&model, &ImportConfig::default(), &REGISTRY) else { return };
    // Tensors lie in the file, so that there is little to do.
    let budget = Budget { in_flight: 2, memory: 1 << 28 };
    let _ = plan.run(&folder, Default::default(), None, None, &mut Nowhere, budget, &mut Silent);
});
