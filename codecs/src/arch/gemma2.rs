//! Gemma 2: norms before and after each part, capped scores and logits, a window in every other
//! layer.
//!
//! Tensors and keys: the `gemma2` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Gemma2::hf_names`]; no wrappers, whose text models attend in another way.
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
struct Gemma2;

register_arch!(Gemma2);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 256_000,
    layers: 26,
    embedding: 2304,
    feed_forward: 9216,
    heads: 8,
    kv_heads: Some(4),
    head_dim: Some(256),
    states_head_dim: true,
    context: 8192,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

/// Layers of the model with 27 billion parameters.
const LARGEST: u64 = 46;

/// Config key, GGUF key and default of what scores and logits are capped at.
const CAPS: [(&str, f64); 2] =
    [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)];

const NAMES: Names = Names {
    global: &[decoder::GEMMA_EMBEDDINGS],
    ..Names::of_layers(&[decoder::GEMMA_SANDWICH_NORMS, decoder::ATTENTION, decoder::FEED_FORWARD])
};

impl Gemma2 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::GELU.check(config, "gemma2")?;
        let hparams = Hparams::read(config, &CLASS)?;
        decoder::check_gemma(config, &hparams, LARGEST)?;
        Ok(hparams)
    }
}

impl ModelArch for Gemma2 {
    fn name(&self) -> &'static str {
        "gemma2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Gemma2ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        let types: &[&str] = if config.is_nested() { &[] } else { &["gemma2"] };
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
        let hparams = Self::hparams(config)?;
        hparams.write_sizes(self.name(), out)?;
        rope.write_unusual(self.name(), out)?;
        for (name, default) in CAPS {
            if config.is_stated(name) && config.value(&[name]).is_none() {
                return Err(Error::unsupported(format!(
                    "`{name}` in `config.json` is null, but runtimes always cap in this architecture"
                )));
            }
            let key = format!("gemma2.{name}");
            decoder::write_factor(config, name, Some(default), key, out)?;
        }
        match Sliding::read(config, Some(4096), 2, hparams.layers)? {
            Some(sliding) => sliding.write(self.name(), Pattern::Implied, out),
            // Without the key runtimes assume a window.
            None => out.set_count("gemma2.attention.sliding_window", hparams.context),
        }
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Needs { global: NAMES.global, ..Needs::of(NAMES.layered) }
            .list(config, &Self::hparams(config)?)
    }
}
