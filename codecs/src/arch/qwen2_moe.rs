//! Qwen1.5 and Qwen2, mixture of experts: like the dense model, with experts and one expert that
//! sees every token.
//!
//! Tensors and keys: the `qwen2moe` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Qwen2Moe::hf_names`]; or a nested config of type `qwen2_moe`.
//! Limits: experts in all layers; rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, MAX_WIDTH, Names};

/// The architecture.
struct Qwen2Moe;

register_arch!(Qwen2Moe);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 151_936,
    layers: 24,
    embedding: 2048,
    feed_forward: 5632,
    heads: 16,
    kv_heads: Some(16),
    head_dim: None,
    states_head_dim: false,
    context: 32_768,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names = Names::of_layers(&[
    decoder::NORMS,
    decoder::ATTENTION,
    decoder::FEED_FORWARD,
    decoder::ROUTER,
    decoder::EXPERTS,
    decoder::SHARED_EXPERT,
]);

impl Qwen2Moe {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::EXPERTS.check(config, "qwen2moe")?;
        decoder::refuse_dense_layers(config, "qwen2moe")?;
        decoder::require_norm(config, false, "qwen2moe")?;
        Ok(Hparams::read(config, &CLASS)?.with_used_experts(4))
    }
}

impl ModelArch for Qwen2Moe {
    fn name(&self) -> &'static str {
        "qwen2moe"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Qwen2MoeForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["qwen2_moe"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)?;
        let key = |name: &str| format!("{}.{name}", self.name());
        for (from, to) in [
            ("moe_intermediate_size", "expert_feed_forward_length"),
            ("shared_expert_intermediate_size", "expert_shared_feed_forward_length"),
        ] {
            decoder::write_size(config, &[from], key(to), MAX_WIDTH, out)?;
        }
        Ok(())
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let biases = ["attn_q", "attn_k", "attn_v"];
        let modules = [decoder::NORMS, decoder::ATTENTION];
        decoder::expected_of_mixture(config, &Self::hparams(config)?, &modules, &biases)
    }
}
