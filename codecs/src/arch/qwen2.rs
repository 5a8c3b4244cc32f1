//! Qwen2 and Qwen2.5, dense: biases on queries, keys and values; rows stay in order.
//!
//! Tensors and keys: the `qwen2` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Qwen2::hf_names`]; or a nested config of type `qwen2`.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names};

/// The architecture.
struct Qwen2;

register_arch!(Qwen2);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 151_936,
    layers: 32,
    embedding: 4096,
    feed_forward: 22_016,
    heads: 32,
    kv_heads: Some(32),
    head_dim: None,
    states_head_dim: false,
    context: 32_768,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names = Names::of_layers(&[decoder::NORMS, decoder::ATTENTION, decoder::FEED_FORWARD]);

impl Qwen2 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "qwen2")?;
        Hparams::read(config, &CLASS)
    }
}

impl ModelArch for Qwen2 {
    fn name(&self) -> &'static str {
        "qwen2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Qwen2ForCausalLM", "Qwen2Model", "DotsOCRForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["qwen2"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(
            config,
            &Self::hparams(config)?,
            NAMES.layered,
            &["attn_q", "attn_k", "attn_v"],
        )
    }
}
