//! Qwen3-VL, language part: like Qwen3, with rotary embeddings of three dimensions; the first layers
//! take what the image part computes, whose number a file states.
//!
//! Tensors and keys: the `qwen3vl` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Qwen3Vl::hf_names`]; or a config of these types.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names};

/// The architecture.
struct Qwen3Vl;

register_arch!(Qwen3Vl);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 151_936,
    layers: 32,
    embedding: 4096,
    feed_forward: 22_016,
    heads: 32,
    kv_heads: Some(32),
    head_dim: Some(128),
    states_head_dim: true,
    context: 128_000,
    rope_theta: 500_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names = Names::of_layers(&[
    decoder::NORMS,
    decoder::ATTENTION,
    decoder::QK_NORMS,
    decoder::FEED_FORWARD,
]);

impl Qwen3Vl {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "qwen3vl")?;
        Hparams::read(config, &CLASS)
    }
}

impl ModelArch for Qwen3Vl {
    fn name(&self) -> &'static str {
        "qwen3vl"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Qwen3VLForConditionalGeneration"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["qwen3_vl", "qwen3_vl_text"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::sectioned_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)?;
        let vision = config.object(&["vision_config"])?.unwrap_or_default();
        let layers = vision.value(&["deepstack_visual_indexes"]).and_then(|list| list.as_array());
        out.set_count("qwen3vl.n_deepstack_layers", layers.map_or(0, Vec::len) as u64)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(config, &Self::hparams(config)?, NAMES.layered, &[])
    }
}
