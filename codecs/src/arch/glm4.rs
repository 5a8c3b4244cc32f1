//! GLM-4: norms before and after attention and feed-forward network, half of each head rotated, gate
//! and up projection in one tensor, kept so.
//!
//! Tensors and keys: the `glm4` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Glm4::hf_names`]; or a nested config of type `glm4`.
//! Limits: rotary scaling only if runtimes need no tensor for it; no wrappers, whose rotary embeddings
//! have several dimensions.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names};

/// The architecture.
struct Glm4;

register_arch!(Glm4);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 151_552,
    layers: 40,
    embedding: 4096,
    feed_forward: 13_696,
    heads: 32,
    kv_heads: Some(2),
    head_dim: Some(128),
    states_head_dim: true,
    context: 131_072,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1.5625e-7),
};

const NAMES: Names = Names::of_layers(&[NORMS, decoder::ATTENTION, decoder::FUSED_FEED_FORWARD]);

const NORMS: &[decoder::Module] = decoder::modules! {
    "input_layernorm" => "attn_norm";
    "post_self_attn_layernorm" => "post_attention_norm";
    "post_attention_layernorm" => "ffn_norm";
    "post_mlp_layernorm" => "post_ffw_norm";
};

impl Glm4 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "glm4")?;
        Hparams::read(config, &CLASS)
    }
}

impl ModelArch for Glm4 {
    fn name(&self) -> &'static str {
        "glm4"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Glm4ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["glm4"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = decoder::partial_rope(config, CLASS.rope_theta, 0.5, self.name())?;
        hparams.write(self.name(), &rope, out)?;
        out.set_count("glm4.rope.dimension_count", rope.rotated(hparams.head_dim)?)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(config, &Self::hparams(config)?, NAMES.layered, &[])
    }
}
