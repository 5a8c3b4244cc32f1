//! Gemma, first generation: norms stored as their difference from 1, the embedding as output matrix,
//! GELU.
//!
//! Tensors and keys: the `gemma` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Gemma::hf_names`]; no wrappers, whose text models attend in another way.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Needs};

/// The architecture.
struct Gemma;

register_arch!(Gemma);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 256_000,
    layers: 28,
    embedding: 3072,
    feed_forward: 24_576,
    heads: 16,
    kv_heads: Some(16),
    head_dim: Some(256),
    states_head_dim: true,
    context: 8192,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names = Names {
    global: &[decoder::GEMMA_EMBEDDINGS],
    ..Names::of_layers(&[decoder::GEMMA_NORMS, decoder::ATTENTION, decoder::FEED_FORWARD])
};

impl Gemma {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::GELU.check(config, "gemma")?;
        Hparams::read(config, &CLASS)
    }
}

impl ModelArch for Gemma {
    fn name(&self) -> &'static str {
        "gemma"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["GemmaForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        let types: &[&str] = if config.is_nested() { &[] } else { &["gemma"] };
        decoder::score(config, self.hf_names(), types)
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        match decoder::no_output(tensor, config)? {
            Some(placement) => Ok(Some(placement)),
            None => NAMES.place(tensor, &Self::hparams(config)?),
        }
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write_sizes(self.name(), out)?;
        rope.write_unusual(self.name(), out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Needs { global: NAMES.global, ..Needs::of(NAMES.layered) }
            .list(config, &Self::hparams(config)?)
    }
}
