//! StarCoder2: layer norms, biases everywhere, a feed-forward network without gate, GELU.
//!
//! Tensors and keys: the `starcoder2` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`StarCoder2::hf_names`]; or a nested config of type `starcoder2`.
//! Limits: heads as wide as the model together; rotary scaling only if runtimes need no tensor for it;
//! runtimes ignore attention windows.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Needs};

/// The architecture.
struct StarCoder2;

register_arch!(StarCoder2);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 49_152,
    layers: 30,
    embedding: 3072,
    feed_forward: 12_288,
    heads: 24,
    kv_heads: Some(2),
    head_dim: None,
    states_head_dim: false,
    context: 4096,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Layer(1e-5),
};

const NAMES: Names = Names {
    global: &[decoder::BIASED_EMBEDDINGS],
    ..Names::of_layers(&[decoder::BIASED_NORMS, decoder::ATTENTION, FEED_FORWARD])
};

const FEED_FORWARD: &[decoder::Module] = decoder::modules! {
    "mlp.c_fc" => "ffn_up" + bias;
    "mlp.c_proj" => "ffn_down" + bias;
};

impl StarCoder2 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::GELU.check(config, "starcoder2")?;
        Hparams::read(config, &CLASS)?.with_plain_heads(config, "starcoder2")
    }
}

impl ModelArch for StarCoder2 {
    fn name(&self) -> &'static str {
        "starcoder2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Starcoder2ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["starcoder2"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Needs {
            global: NAMES.global,
            biases: &["output_norm", "attn_norm", "ffn_norm", "attn_output", "ffn_up", "ffn_down"],
            ..Needs::of(NAMES.layered)
        }
        .list(config, &Self::hparams(config)?)
    }
}
