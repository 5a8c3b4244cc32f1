//! OLMo 2 and 3: norms after attention and feed-forward network, norms of queries and keys over all
//! heads at once; in OLMo 3 a window in three of four layers.
//!
//! Tensors and keys: the `olmo2` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Olmo2::hf_names`]; or a nested config of these types.
//! Limits: heads as wide as the model together; rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Hparams, Names, Needs, Pattern, Rope, Sliding,
};

/// The architecture.
struct Olmo2;

register_arch!(Olmo2);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 50_304,
    layers: 32,
    embedding: 4096,
    feed_forward: 11_008,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    states_head_dim: false,
    context: 2048,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-5),
};

const OLMO3: ClassDefaults = ClassDefaults { rope_theta: 500_000.0, ..CLASS };

const NAMES: Names =
    Names::of_layers(&[NORMS, decoder::ATTENTION, decoder::QK_NORMS, decoder::FEED_FORWARD]);

const NORMS: &[decoder::Module] = decoder::modules! {
    "post_attention_layernorm" => "post_attention_norm";
    "post_feedforward_layernorm" => "post_ffw_norm";
};

impl Olmo2 {
    fn is_olmo3(config: &ModelConfig) -> Result<bool> {
        Ok(config.str(&["model_type"])? == Some("olmo3")
            || config.architecture() == Some("Olmo3ForCausalLM"))
    }

    fn class(config: &ModelConfig) -> Result<&'static ClassDefaults> {
        Ok(if Self::is_olmo3(config)? { &OLMO3 } else { &CLASS })
    }

    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "olmo2")?;
        decoder::refuse_true(config, "attention_bias", "olmo2")?;
        Hparams::read(config, Self::class(config)?)?.with_plain_heads(config, "olmo2")
    }

    fn rope(config: &ModelConfig) -> Result<Rope> {
        let rope = decoder::key_only_rope(config, Self::class(config)?.rope_theta, "olmo2")?;
        if rope.sliding_theta.is_some_and(|theta| theta != rope.theta) {
            return Err(Error::unsupported(
                "`rope_theta` in `config.json` depends on the kind of layer, which runtimes do not know for `olmo2`",
            ));
        }
        // Files of OLMo 3 state it for both kinds of layers.
        let sliding_theta = Self::is_olmo3(config)?.then_some(rope.theta);
        Ok(Rope { sliding_theta, ..rope })
    }
}

impl ModelArch for Olmo2 {
    fn name(&self) -> &'static str {
        "olmo2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Olmo2ForCausalLM", "Olmo3ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["olmo2", "olmo3"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        hparams.write(self.name(), &Self::rope(config)?, out)?;
        let window = Self::is_olmo3(config)?.then_some(4096);
        match Sliding::read(config, window, 4, hparams.layers)? {
            Some(sliding) => sliding.write(self.name(), Pattern::Stated, out),
            None => Ok(()),
        }
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Needs {
            optional: &[],
            shape: |target, sizes| {
                let size = match target {
                    "attn_q_norm" => sizes.embedding,
                    "attn_k_norm" => sizes.kv_heads * sizes.head_dim,
                    _ => return None,
                };
                let keys = &["hidden_size", "num_attention_heads", "num_key_value_heads"];
                Some(vec![decoder::dim(size, keys)])
            },
            ..Needs::of(NAMES.layered)
        }
        .list(config, &Self::hparams(config)?)
    }
}
