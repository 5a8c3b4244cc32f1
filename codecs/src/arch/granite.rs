//! Granite: computed like Llama, with factors for embeddings, attention scores, residuals and logits.
//!
//! Tensors and keys: the `granite` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Granite::hf_names`]; or a nested config of type `granite`.
//! Limits: full rotary embeddings only.

use gmat_core::arch::{Expected, Generated, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Rope};

/// The architecture.
struct Granite;

register_arch!(Granite);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 32_000,
    layers: 32,
    embedding: 4096,
    feed_forward: 11_008,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    states_head_dim: false,
    context: 2048,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names =
    Names::of_layers(&[decoder::NORMS, decoder::INTERLEAVED_ATTENTION, decoder::FEED_FORWARD]);

impl Granite {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "granite")?;
        let hparams = Hparams::read(config, &CLASS)?;
        // Its files do not say how large a head is where that follows.
        let head_dim_stated = hparams.heads * hparams.head_dim != hparams.embedding;
        Ok(Hparams { head_dim_stated, ..hparams })
    }
}

impl ModelArch for Granite {
    fn name(&self) -> &'static str {
        "granite"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["GraniteForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["granite"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        hparams.write(self.name(), &Rope::read(config, CLASS.rope_theta)?, out)?;
        out.set_count("granite.vocab_size", Hparams::vocabulary(config, &CLASS)?)?;
        out.set_count("granite.rope.dimension_count", hparams.head_dim)?;
        decoder::write_granite_factors(config, self.name(), out)
    }

    fn generated(&self, config: &ModelConfig) -> Result<Vec<Generated>> {
        let rope = Rope::read(config, CLASS.rope_theta)?;
        Ok(rope.llama3_tensor(Self::hparams(config)?.head_dim))
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(config, &Self::hparams(config)?, NAMES.layered, &[])
    }
}
