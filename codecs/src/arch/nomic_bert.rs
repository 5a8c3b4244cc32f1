//! Nomic's BERT: rotary embeddings, queries, keys and values in one projection, a gated feed-forward
//! network.
//!
//! Tensors and keys: the `nomic-bert` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`NomicBert::hf_names`], without experts.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, Nomic};

/// The architecture.
struct NomicBert;

register_arch!(NomicBert);

impl NomicBert {
    fn model(config: &ModelConfig) -> Result<Nomic> {
        Nomic::read(config, false)
    }
}

impl ModelArch for NomicBert {
    fn name(&self) -> &'static str {
        "nomic-bert"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["NomicBertModel"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        match Nomic::has_experts(config) {
            true => Score::No,
            false => decoder::score(config, self.hf_names(), &[]),
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
