//! Mistral 3: the language part of multimodal Mistral models, and Ministral 3, whose queries grow with
//! their position.
//!
//! Computed like Llama, tensors likewise. Keys: the `mistral3` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Mistral3::hf_names`]; or a config of type `ministral3`.
//! Limits: full rotary embeddings only.

use gmat_core::arch::{Expected, Generated, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Rope, Scaling};

/// The architecture.
struct Mistral3;

register_arch!(Mistral3);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 131_072,
    layers: 34,
    embedding: 4096,
    feed_forward: 14_336,
    heads: 32,
    kv_heads: Some(8),
    head_dim: Some(128),
    states_head_dim: true,
    context: 262_144,
    rope_theta: 1_000_000.0,
    epsilon: Epsilon::Rms(1e-5),
};

/// Where the text model is a Mistral model.
const MISTRAL: ClassDefaults = ClassDefaults {
    vocabulary: 32_000,
    layers: 32,
    head_dim: None,
    context: 131_072,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
    ..CLASS
};

const NAMES: Names =
    Names::of_layers(&[decoder::NORMS, decoder::INTERLEAVED_ATTENTION, decoder::FEED_FORWARD]);

impl Mistral3 {
    fn is_ministral(config: &ModelConfig) -> Result<bool> {
        Ok(config.str(&["model_type"])? == Some("ministral3"))
    }

    fn class(config: &ModelConfig) -> Result<&'static ClassDefaults> {
        Ok(if Self::is_ministral(config)? { &CLASS } else { &MISTRAL })
    }

    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "mistral3")?;
        Hparams::read(config, Self::class(config)?)
    }

    fn rope(config: &ModelConfig) -> Result<Rope> {
        Rope::read(config, Self::class(config)?.rope_theta)
    }
}

impl ModelArch for Mistral3 {
    fn name(&self) -> &'static str {
        "mistral3"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        // The fourth generation is another architecture in the same wrapper.
        if config.str(&["model_type"]).ok().flatten() == Some("mistral4") {
            return Score::No;
        }
        decoder::score(config, self.hf_names(), &["ministral3"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = Self::rope(config)?;
        hparams.write(self.name(), &rope, out)?;
        out.set_count("mistral3.vocab_size", Hparams::vocabulary(config, Self::class(config)?)?)?;
        out.set_count("mistral3.rope.dimension_count", hparams.head_dim)?;
        if !Self::is_ministral(config)? {
            return Ok(());
        }
        if !matches!(rope.scaling, Scaling::Yarn { .. }) {
            return Err(Error::unsupported(
                "`rope_type` in `config.json`: runtimes know only yarn for Ministral 3",
            ));
        }
        let own = config.object(&["rope_parameters", "rope_scaling"])?.unwrap_or_default();
        for (from, key) in [
            ("mscale_all_dim", "mistral3.rope.scaling.yarn_log_multiplier"),
            ("llama_4_scaling_beta", "mistral3.attention.temperature_scale"),
        ] {
            own.require_f64(&[from])?;
            decoder::write_factor(&own, from, None, key.to_owned(), out)?;
        }
        Ok(())
    }

    fn generated(&self, config: &ModelConfig) -> Result<Vec<Generated>> {
        Ok(Self::rope(config)?.llama3_tensor(Self::hparams(config)?.head_dim))
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(config, &Self::hparams(config)?, NAMES.layered, &[])
    }
}
