//! Qwen3, mixture of experts: like the dense model, with experts in all or most layers.
//!
//! Tensors and keys: the `qwen3moe` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Qwen3Moe::hf_names`]; or a nested config of type `qwen3_moe`.
//! Limits: experts in all layers; rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, MAX_WIDTH, Names};

/// The architecture.
struct Qwen3Moe;

register_arch!(Qwen3Moe);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 151_936,
    layers: 24,
    embedding: 2048,
    feed_forward: 6144,
    heads: 32,
    kv_heads: Some(4),
    head_dim: None,
    states_head_dim: false,
    context: 32_768,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names = Names::of_layers(&[
    decoder::NORMS,
    decoder::ATTENTION,
    decoder::QK_NORMS,
    decoder::FEED_FORWARD,
    decoder::ROUTER,
    decoder::EXPERTS,
]);

impl Qwen3Moe {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::EXPERTS.check(config, "qwen3moe")?;
        decoder::refuse_dense_layers(config, "qwen3moe")?;
        decoder::require_norm(config, true, "qwen3moe")?;
        Ok(Hparams::read(config, &CLASS)?.with_used_experts(8))
    }
}

impl ModelArch for Qwen3Moe {
    fn name(&self) -> &'static str {
        "qwen3moe"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Qwen3MoeForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["qwen3_moe"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)?;
        let key = format!("{}.expert_feed_forward_length", self.name());
        decoder::write_size(config, &["moe_intermediate_size"], key, MAX_WIDTH, out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let experts = [decoder::NORMS, decoder::ATTENTION, decoder::QK_NORMS];
        decoder::expected_of_mixture(config, &Self::hparams(config)?, &experts, &[])
    }
}
