//! Nomic's BERT with experts in some of its layers.
//!
//! Tensors and keys: the `nomic-bert-moe` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`NomicBertMoe::hf_names`], with experts.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, Nomic};

/// The architecture.
struct NomicBertMoe;

register_arch!(NomicBertMoe);

impl NomicBertMoe {
    fn model(config: &ModelConfig) -> Result<Nomic> {
        Nomic::read(config, true)
    }
}

impl ModelArch for NomicBertMoe {
    fn name(&self) -> &'static str {
        "nomic-bert-moe"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["NomicBertModel"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        match Nomic::has_experts(config) {
            true => decoder::score(config, self.hf_names(), &[]),
            false => Score::No,
        }
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        Self::model(config)?.place(tensor)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        Self::model(config)?.write(config, self.name(), out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Self::model(config)?.expected(config)
    }
}
