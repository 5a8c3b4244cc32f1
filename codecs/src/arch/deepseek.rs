//! DeepSeek MoE of the first generation: attention like Llama's, the first layers dense, the others
//! mixtures of experts with some that see every token.
//!
//! Tensors and keys: the `deepseek` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`DeepSeek::hf_names`].
//! Limits: no rotary scaling.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Experts, Hparams, MAX_WIDTH, Names, Scaling, Wanted,
};

/// The architecture.
struct DeepSeek;

register_arch!(DeepSeek);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 102_400,
    layers: 28,
    embedding: 2048,
    feed_forward: 10_944,
    heads: 16,
    kv_heads: None,
    head_dim: None,
    states_head_dim: false,
    context: 4096,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names = Names::of_layers(&[
    decoder::NORMS,
    decoder::INTERLEAVED_ATTENTION,
    decoder::FEED_FORWARD,
    decoder::ROUTER,
    decoder::EXPERTS,
    decoder::SHARED_EXPERTS,
]);

impl DeepSeek {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::EXPERTS.check(config, "deepseek")?;
        decoder::only(config, "deepseek", &[("norm_topk_prob", false), ("attention_bias", false)])?;
        Experts::in_every_layer(config, "deepseek")?;
        let other = |key: &str, value: &str| {
            Error::unsupported(format!(
                "`{key}` in {} is {value}, which runtimes do not compute for `deepseek`",
                config.place_of(&[key])
            ))
        };
        let hparams = Hparams::read(config, &CLASS)?;
        if hparams.experts.as_ref().is_some_and(Experts::is_sigmoid) {
            return Err(other("scoring_func", "`sigmoid`"));
        }
        match config.f64(&["routed_scaling_factor"])? {
            Some(factor) if factor != 1.0 => {
                Err(other("routed_scaling_factor", &factor.to_string()))
            }
            _ => Ok(hparams),
        }
    }

    /// How many layers are dense, from the first one on.
    fn dense_layers(config: &ModelConfig, hparams: &Hparams) -> Result<u64> {
        let default = if hparams.expert_count() > 0 { 0 } else { hparams.layers };
        Experts::dense_layers(config, hparams.layers, default)
    }
}

impl ModelArch for DeepSeek {
    fn name(&self) -> &'static str {
        "deepseek"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["DeepseekForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["deepseek"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        if rope.scaling != Scaling::None {
            return Err(Error::unsupported(
                "`rope_scaling` in `config.json`: runtimes do not scale rotary embeddings for `deepseek`",
            ));
        }
        hparams.write(self.name(), &rope, out)?;
        let key = |name: &str| format!("{}.{name}", self.name());
        out.set(key("rope.scaling.type"), "none");
        out.set_count(key("rope.dimension_count"), hparams.head_dim)?;
        out.set_count(key("vocab_size"), Hparams::vocabulary(config, &CLASS)?)?;
        let dense = Self::dense_layers(config, &hparams)?;
        out.set_count(key("leading_dense_block_count"), dense)?;
        let inner = key("expert_feed_forward_length");
        decoder::write_size(config, &["moe_intermediate_size"], inner, MAX_WIDTH, out)?;
        Experts::write_weighing(config, self.name(), out)?;
        // Runtimes of this architecture know no other factor.
        out.set(key("expert_weights_scale"), 1.0f32);
        Ok(())
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dense = Self::dense_layers(config, &hparams)?;
        decoder::wanted(config, &hparams, &NAMES, |layer, target| {
            let is_dense = layer.is_some_and(|layer| layer < dense);
            match target {
                "ffn_gate" | "ffn_up" | "ffn_down" if !is_dense => Wanted::Not,
                _ => Wanted::Usual,
            }
        })
    }
}
