//! Phi-1, Phi-1.5, Phi-2: one layer norm for attention and feed-forward network side by side, biases
//! everywhere, half of each head rotated, GELU.
//!
//! Tensors and keys: the `phi2` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Phi2::hf_names`]; or a nested config of type `phi`.
//! Limits: heads as wide as the model together; rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Needs};

/// The architecture.
struct Phi2;

register_arch!(Phi2);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 51_200,
    layers: 24,
    embedding: 2048,
    feed_forward: 8192,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    states_head_dim: false,
    context: 2048,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Layer(1e-5),
};

const NAMES: Names = Names { global: &[EMBEDDINGS], ..Names::of_layers(&[LAYER]) };

const EMBEDDINGS: &[decoder::Module] = decoder::modules! {
    "embed_tokens" => "token_embd";
    "final_layernorm" => "output_norm" + bias;
    "lm_head" => "output" + bias;
};

const LAYER: &[decoder::Module] = decoder::modules! {
    "input_layernorm" => "attn_norm" + bias;
    "self_attn.q_proj" => "attn_q" + bias;
    "self_attn.k_proj" => "attn_k" + bias;
    "self_attn.v_proj" => "attn_v" + bias;
    "self_attn.dense" => "attn_output" + bias;
    "mlp.fc1" => "ffn_up" + bias;
    "mlp.fc2" => "ffn_down" + bias;
};

impl Phi2 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::GELU.check(config, "phi2")?;
        decoder::refuse_true(config, "qk_layernorm", "phi2")?;
        let hparams = Hparams::read(config, &CLASS)?.with_plain_heads(config, "phi2")?;
        Ok(Hparams { head_dim_stated: false, ..hparams })
    }
}

impl ModelArch for Phi2 {
    fn name(&self) -> &'static str {
        "phi2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["PhiForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["phi"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = decoder::partial_rope(config, CLASS.rope_theta, 0.5, self.name())?;
        hparams.write_sizes(self.name(), out)?;
        rope.write_unusual(self.name(), out)?;
        out.set_count("phi2.rope.dimension_count", rope.rotated(hparams.head_dim)?)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Needs {
            global: NAMES.global,
            biases: &["output_norm", "output", "attn_norm", "attn_output", "ffn_up", "ffn_down"],
            optional: &[],
            ..Needs::of(NAMES.layered)
        }
        .list(config, &Self::hparams(config)?)
    }
}
