//! Qwen2-VL and Qwen2.5-VL, language part: like Qwen2, with rotary embeddings of three dimensions.
//!
//! Tensors and keys: the `qwen2vl` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Qwen2Vl::hf_names`]; or a config of these types.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names};

/// The architecture.
struct Qwen2Vl;

register_arch!(Qwen2Vl);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 152_064,
    layers: 80,
    embedding: 8192,
    feed_forward: 29_568,
    heads: 64,
    kv_heads: Some(8),
    head_dim: None,
    states_head_dim: false,
    context: 32_768,
    rope_theta: 1_000_000.0,
    epsilon: Epsilon::Rms(1e-5),
};

const NAMES: Names = Names::of_layers(&[decoder::NORMS, decoder::ATTENTION, decoder::FEED_FORWARD]);

impl Qwen2Vl {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "qwen2vl")?;
        decoder::refuse_true(config, "use_sliding_window", "qwen2vl")?;
        Hparams::read(config, &CLASS)
    }
}

impl ModelArch for Qwen2Vl {
    fn name(&self) -> &'static str {
        "qwen2vl"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(
            config,
            self.hf_names(),
            &["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"],
        )
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::sectioned_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(
            config,
            &Self::hparams(config)?,
            NAMES.layered,
            &["attn_q", "attn_k", "attn_v"],
        )
    }
}
