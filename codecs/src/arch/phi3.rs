//! Phi-3, Phi-3.5, Phi-4: queries, keys and values in one tensor, gate and up projection in another,
//! both kept so; LongRoPE.
//!
//! Tensors and keys: the `phi3` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Phi3::hf_names`]; or a nested config of type `phi3`.
//! Limits: heads as wide as the model together; attention windows are written, but runtimes ignore
//! them.

use gmat_core::arch::{Expected, Generated, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Rope, Scaling};

/// The architecture.
struct Phi3;

register_arch!(Phi3);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 32_064,
    layers: 32,
    embedding: 3072,
    feed_forward: 8192,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    states_head_dim: false,
    context: 4096,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-5),
};

const NAMES: Names = Names::of_layers(&[decoder::NORMS, ATTENTION, decoder::FUSED_FEED_FORWARD]);

const ATTENTION: &[decoder::Module] = decoder::modules! {
    "self_attn.qkv_proj" => "attn_qkv";
    "self_attn.o_proj" => "attn_output";
};

impl Phi3 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "phi3")?;
        let hparams = Hparams::read(config, &CLASS)?.with_plain_heads(config, "phi3")?;
        Ok(Hparams { head_dim_stated: false, ..hparams })
    }

    fn rope(config: &ModelConfig) -> Result<Rope> {
        let rope = Rope::read_partial(config, CLASS.rope_theta, 1.0)?;
        match rope.scaling {
            Scaling::None | Scaling::Linear { .. } | Scaling::Long { .. } => Ok(rope),
            Scaling::Llama3 { .. } | Scaling::Yarn { .. } => Err(Error::unsupported(
                "`rope_type` in `config.json`: runtimes know linear and longrope for `phi3`",
            )),
        }
    }
}

impl ModelArch for Phi3 {
    fn name(&self) -> &'static str {
        "phi3"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Phi3ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["phi3"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = Self::rope(config)?;
        hparams.write(self.name(), &rope, out)?;
        out.set_count("phi3.rope.dimension_count", rope.rotated(hparams.head_dim)?)?;
        let original = decoder::original_context(config)?.unwrap_or(CLASS.context);
        out.set_count("phi3.rope.scaling.original_context_length", original)?;
        rope.write_long(self.name(), hparams.context, original, out)?;
        // 0 tells the models without a window from the others.
        let window = config.u64(&["sliding_window"])?.unwrap_or(0);
        out.set_count("phi3.attention.sliding_window", window)
    }

    fn generated(&self, config: &ModelConfig) -> Result<Vec<Generated>> {
        let rope = Self::rope(config)?;
        rope.long_factors(rope.rotated(Self::hparams(config)?.head_dim)?)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        decoder::expected(config, &Self::hparams(config)?, NAMES.layered, &[])
    }
}
