//! SmolLM3: computed like Llama, but every fourth layer does not rotate.
//!
//! Tensors and keys: the `smollm3` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`SmolLm3::hf_names`]; or a nested config of type `smollm3`.
//! Limits: rotary scaling only if runtimes need no tensor for it; the layers without rotation are
//! those that runtimes know.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names};

/// The architecture.
struct SmolLm3;

register_arch!(SmolLm3);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 128_256,
    layers: 36,
    embedding: 2048,
    feed_forward: 11_008,
    heads: 16,
    kv_heads: Some(4),
    head_dim: None,
    states_head_dim: false,
    context: 32_768,
    rope_theta: 2_000_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

/// Every layer of this number keeps queries and keys as they are, in runtimes.
const UNROTATED: u64 = 4;

const NAMES: Names =
    Names::of_layers(&[decoder::NORMS, decoder::INTERLEAVED_ATTENTION, decoder::FEED_FORWARD]);

impl SmolLm3 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "smollm3")?;
        for key in ["attention_bias", "mlp_bias", "use_sliding_window"] {
            decoder::refuse_true(config, key, "smollm3")?;
        }
        Hparams::read(config, &CLASS)
    }

    /// Refuses other layers without rotation than runtimes know.
    fn check_rotated(config: &ModelConfig, layers: u64) -> Result<()> {
        let key = "no_rope_layers";
        let known = match config.value(&[key]) {
            None => config.u64(&["no_rope_layer_interval"])?.is_none_or(|n| n == UNROTATED),
            Some(list) => {
                let rotated = |layer: u64| u64::from(!layer.is_multiple_of(UNROTATED));
                let list = list.as_array().map(|list| list.iter().map(serde_json::Value::as_u64));
                list.is_some_and(|list| list.eq((1..=layers).map(|layer| Some(rotated(layer)))))
            }
        };
        if known {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "`no_rope_layers` or `no_rope_layer_interval` in {}: runtimes know only models of which every {UNROTATED}th layer does not rotate",
            config.place_of(&[key])
        )))
    }
}

impl ModelArch for SmolLm3 {
    fn name(&self) -> &'static str {
        "smollm3"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["SmolLM3ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["smollm3"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        let hparams = Self::hparams(config)?;
        Self::check_rotated(config, hparams.layers)?;
        hparams.write(self.name(), &rope, out)?;
        out.set_count("smollm3.vocab_size", Hparams::vocabulary(config, &CLASS)?)?;
        out.set_count("smollm3.rope.dimension_count", hparams.head_dim)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(config, &Self::hparams(config)?, NAMES.layered, &[])
    }
}
