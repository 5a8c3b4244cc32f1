//! Gemma 3, text: norms before and after each part and of queries and keys; a window and a rotary
//! base of their own in five of six layers.
//!
//! Tensors and keys: the `gemma3` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Gemma3::hf_names`]; or a nested config of type `gemma3_text`.
//! Limits: rotary scaling only if runtimes need no tensor for it; the scale of attention scores is
//! the one that runtimes compute.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Hparams, Names, Needs, Pattern, Sliding,
};

/// The architecture.
struct Gemma3;

register_arch!(Gemma3);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 262_208,
    layers: 26,
    embedding: 2304,
    feed_forward: 9216,
    heads: 8,
    kv_heads: Some(4),
    head_dim: Some(256),
    states_head_dim: true,
    context: 131_072,
    rope_theta: 1_000_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

/// Layers of the model with 27 billion parameters.
const LARGEST: u64 = 62;

const NAMES: Names = Names {
    global: &[decoder::GEMMA_EMBEDDINGS, OUTPUT],
    ..Names::of_layers(&[
        decoder::GEMMA_SANDWICH_NORMS,
        decoder::ATTENTION,
        decoder::GEMMA_QK_NORMS,
        decoder::FEED_FORWARD,
    ])
};

const OUTPUT: &[decoder::Module] = decoder::modules! {
    "lm_head" => "output";
};

impl Gemma3 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::GELU.check(config, "gemma3")?;
        if config.value(&["attn_logit_softcapping"]).is_some() {
            return Err(Error::unsupported(format!(
                "`attn_logit_softcapping` in {} is not null, but runtimes do not cap scores for `gemma3`",
                config.place_of(&["attn_logit_softcapping"])
            )));
        }
        let hparams = Hparams::read(config, &CLASS)?;
        decoder::check_gemma(config, &hparams, LARGEST)?;
        Ok(hparams)
    }
}

impl ModelArch for Gemma3 {
    fn name(&self) -> &'static str {
        "gemma3"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["gemma3_text"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let mut rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        rope.sliding_theta.get_or_insert(10_000.0);
        let hparams = Self::hparams(config)?;
        hparams.write(self.name(), &rope, out)?;
        if config.f64(&["final_logit_softcapping"])? != Some(0.0) {
            let key = "gemma3.final_logit_softcapping".to_owned();
            decoder::write_factor(config, "final_logit_softcapping", None, key, out)?;
        }
        match Sliding::read(config, Some(4096), 6, hparams.layers)? {
            Some(sliding) => sliding.write(self.name(), Pattern::Implied, out),
            None => Ok(()),
        }
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Needs { global: NAMES.global, ..Needs::of(NAMES.layered) }
            .list(config, &Self::hparams(config)?)
    }
}
