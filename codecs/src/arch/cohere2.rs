//! Command R7B and its generation: like Command R, with a window in three of four layers, which alone
//! rotate.
//!
//! Tensors and keys: the `cohere2` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Cohere2::hf_names`]; or a nested config of type `cohere2`.
//! Limits: heads as wide as the model together; no rotary scaling.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Hparams, Names, Needs, Pattern, Sliding,
};

/// The architecture.
struct Cohere2;

register_arch!(Cohere2);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 256_000,
    layers: 40,
    embedding: 8192,
    feed_forward: 22_528,
    heads: 64,
    kv_heads: None,
    head_dim: Some(128),
    states_head_dim: true,
    context: 8192,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Layer(1e-5),
};

const NAMES: Names = Names {
    global: &[decoder::TIED_EMBEDDINGS],
    ..Names::of_layers(&[NORM, decoder::ATTENTION, decoder::FEED_FORWARD])
};

const NORM: &[decoder::Module] = decoder::modules! {
    "input_layernorm" => "attn_norm";
};

impl Cohere2 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "cohere2")?;
        for key in ["attention_bias", "use_qk_norm"] {
            decoder::refuse_true(config, key, "cohere2")?;
        }
        Hparams::read(config, &CLASS)?.with_plain_heads(config, "cohere2")
    }
}

impl ModelArch for Cohere2 {
    fn name(&self) -> &'static str {
        "cohere2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Cohere2ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["cohere2"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        match decoder::no_output(tensor, config)? {
            Some(placement) => Ok(Some(placement)),
            None => NAMES.place(tensor, &Self::hparams(config)?),
        }
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = decoder::unscaled_rope(config, CLASS.rope_theta, 1.0, self.name())?;
        hparams.write(self.name(), &rope, out)?;
        let key = "cohere2.logit_scale".to_owned();
        decoder::write_factor(config, "logit_scale", Some(0.0625), key, out)?;
        out.set_count("cohere2.vocab_size", Hparams::vocabulary(config, &CLASS)?)?;
        out.set_count("cohere2.rope.dimension_count", rope.rotated(hparams.head_dim)?)?;
        out.set("cohere2.rope.scaling.type", "none");
        match Sliding::read(config, Some(4096), 4, hparams.layers)? {
            Some(sliding) => sliding.write(self.name(), Pattern::Implied, out),
            None => Err(Error::unsupported(format!(
                "`sliding_window` or `layer_types` in {}: runtimes know only models some of whose layers have a window",
                config.place_of(&["sliding_window"])
            ))),
        }
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Needs { global: NAMES.global, ..Needs::of(NAMES.layered) }
            .list(config, &Self::hparams(config)?)
    }
}
