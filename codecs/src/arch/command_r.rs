//! Command R, Aya: layer norms without bias, attention and feed-forward network side by side, the
//! embedding as output matrix, scaled logits.
//!
//! Tensors and keys: the `command-r` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`CommandR::hf_names`]; or a nested config of type `cohere`.
//! Limits: heads as wide as the model together; no rotary scaling; norms of queries and keys in models
//! of 64 layers and more, where runtimes look for them.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Needs};

/// The architecture.
struct CommandR;

register_arch!(CommandR);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 256_000,
    layers: 40,
    embedding: 8192,
    feed_forward: 22_528,
    heads: 64,
    kv_heads: None,
    head_dim: None,
    states_head_dim: false,
    context: 8192,
    rope_theta: 500_000.0,
    epsilon: Epsilon::Layer(1e-5),
};

/// From so many layers on runtimes look for norms of queries and keys.
const NORMED: u64 = 64;

const NAMES: Names = Names {
    global: &[decoder::TIED_EMBEDDINGS],
    ..Names::of_layers(&[NORM, decoder::ATTENTION, decoder::QK_NORMS, decoder::FEED_FORWARD])
};

const NORM: &[decoder::Module] = decoder::modules! {
    "input_layernorm" => "attn_norm";
};

impl CommandR {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "command-r")?;
        decoder::refuse_true(config, "attention_bias", "command-r")?;
        let hparams = Hparams::read(config, &CLASS)?.with_plain_heads(config, "command-r")?;
        let normed = config.bool(&["use_qk_norm"])?.unwrap_or(false);
        if normed != (hparams.layers >= NORMED) {
            return Err(Error::unsupported(format!(
                "`use_qk_norm` in {} is {normed}, but runtimes look for norms of queries and keys in models of {NORMED} layers and more, and only there",
                config.place_of(&["use_qk_norm"])
            )));
        }
        Ok(hparams)
    }
}

impl ModelArch for CommandR {
    fn name(&self) -> &'static str {
        "command-r"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["CohereForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["cohere"])
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
        // `max_position_embeddings` is far below what the models were trained with.
        let key = "command-r.context_length".to_owned();
        decoder::write_size(config, &["model_max_length"], key, u32::MAX.into(), out)?;
        let key = "command-r.logit_scale".to_owned();
        decoder::write_factor(config, "logit_scale", Some(0.0625), key, out)?;
        out.set("command-r.rope.scaling.type", "none");
        Ok(())
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let layered: &[&[decoder::Module]] = match hparams.layers {
            NORMED.. => NAMES.layered,
            _ => &[NORM, decoder::ATTENTION, decoder::FEED_FORWARD],
        };
        Needs { global: NAMES.global, shape: decoder::norms_of_heads, ..Needs::of(layered) }
            .list(config, &hparams)
    }
}
