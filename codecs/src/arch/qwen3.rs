//! Qwen3, dense: norms of queries and keys per head, head size stated; rows stay in order.
//!
//! Tensors and keys: the `qwen3` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Qwen3::hf_names`]; or a nested config of type `qwen3`.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names};

/// The architecture.
struct Qwen3;

register_arch!(Qwen3);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 151_936,
    layers: 32,
    embedding: 4096,
    feed_forward: 22_016,
    heads: 32,
    kv_heads: Some(32),
    head_dim: Some(128),
    states_head_dim: true,
    context: 32_768,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names = Names::of_layers(&[
    decoder::NORMS,
    decoder::ATTENTION,
    decoder::QK_NORMS,
    decoder::FEED_FORWARD,
]);

impl Qwen3 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "qwen3")?;
        Hparams::read(config, &CLASS)
    }
}

impl ModelArch for Qwen3 {
    fn name(&self) -> &'static str {
        "qwen3"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Qwen3ForCausalLM", "Qwen3Model"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["qwen3"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(config, &Self::hparams(config)?, NAMES.layered, &[])
    }
}
