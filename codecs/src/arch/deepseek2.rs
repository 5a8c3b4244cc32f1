//! DeepSeek V2 and V3, Kimi K2, and the language part of Kimi-VL: latent attention, the first layers
//! dense, the others mixtures of experts with some that see every token.
//!
//! Tensors and keys: the `deepseek2` model of the ggml project's GGUF files. Layers that predict
//! further tokens (behind the last one) are left out: runtimes do not use them.
//!
//! Accepted classes: [`DeepSeek2::hf_names`]; or a nested config of one of the same types.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Dim, Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Experts, Hparams, Latent, Leaves, MAX_LAYERS,
    MAX_WIDTH, Module, Names, Target, Wanted,
};

/// The architecture.
struct DeepSeek2;

register_arch!(DeepSeek2);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 129_280,
    layers: 61,
    embedding: 7168,
    feed_forward: 18_432,
    heads: 128,
    kv_heads: None,
    // Not that of any projection: heads of queries and values differ, see `Latent`.
    head_dim: Some(64),
    states_head_dim: false,
    context: 4096,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const TYPES: [&str; 4] = ["deepseek_v2", "deepseek_v3", "kimi_k2", "youtu"];

const NAMES: Names = Names::of_layers(&[
    decoder::NORMS,
    decoder::LATENT_ATTENTION,
    decoder::LATENT_KEYS_AND_VALUES,
    decoder::FEED_FORWARD,
    decoder::ROUTER,
    decoder::EXPERTS,
    decoder::SHARED_EXPERTS,
    CORRECTION,
]);

/// What is added to the router's outputs when experts are chosen, not when they are weighed.
const CORRECTION: &[Module] = &[Module::new(
    "mlp.gate.e_score_correction_bias",
    Leaves::Bare("bias"),
    &[Target::whole("exp_probs_b")],
)];

impl DeepSeek2 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::EXPERTS.check(config, "deepseek2")?;
        decoder::only(config, "deepseek2", &[("attention_bias", false)])?;
        Experts::in_every_layer(config, "deepseek2")?;
        let hparams = Hparams::read(config, &CLASS)?;
        let latent = Some(Latent::read(config)?);
        Ok(Hparams { kv_heads: 1, head_dim_stated: false, latent, ..hparams })
    }

    /// How many layers are dense, from the first one on.
    fn dense_layers(config: &ModelConfig, hparams: &Hparams) -> Result<u64> {
        let default = if hparams.expert_count() > 0 { 0 } else { hparams.layers };
        Experts::dense_layers(config, hparams.layers, default)
    }

    /// Sigmoid is the only way of the third version, whose configs need not say so.
    fn default_gating(config: &ModelConfig) -> Result<Option<u32>> {
        let third = config.str(&["model_type"])?.is_some_and(|name| name == "deepseek_v3");
        Ok(third.then_some(Experts::SIGMOID))
    }
}

impl ModelArch for DeepSeek2 {
    fn name(&self) -> &'static str {
        "deepseek2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &[
            "DeepseekV2ForCausalLM",
            "DeepseekV3ForCausalLM",
            "KimiVLForConditionalGeneration",
            "KimiK25ForConditionalGeneration",
            "YoutuForCausalLM",
            "YoutuVLForConditionalGeneration",
        ]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &TYPES)
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        let hparams = Self::hparams(config)?;
        let further = config.u64(&["num_nextn_predict_layers"])?.unwrap_or(0).min(MAX_LAYERS);
        let layer = NAMES.layer(tensor).unwrap_or(0);
        if (hparams.layers..hparams.layers + further).contains(&layer) {
            return Ok(Some(Placement::Drop("of a layer that predicts further tokens")));
        }
        let tied = config.bool(&["tie_word_embeddings"])?.unwrap_or(false);
        if tied && tensor.ends_with("lm_head.weight") {
            return Ok(Some(Placement::Drop("the same as the embedding")));
        }
        NAMES.place(tensor, &hparams)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        hparams.write(self.name(), &rope, out)?;
        let key = |name: &str| format!("{}.{name}", self.name());
        if let Some(latent) = hparams.latent {
            latent.write(self.name(), out)?;
        }
        if let Some(scale) = decoder::attention_scale(config)? {
            out.set(key("rope.scaling.yarn_log_multiplier"), scale);
        }
        out.set_count(key("vocab_size"), Hparams::vocabulary(config, &CLASS)?)?;
        let dense = Self::dense_layers(config, &hparams)?;
        out.set_count(key("leading_dense_block_count"), dense)?;
        let inner = ["moe_intermediate_size", "intermediate_size"];
        decoder::write_size(config, &inner, key("expert_feed_forward_length"), MAX_WIDTH, out)?;
        Experts::write_weighing(config, self.name(), out)?;
        if let (Some(experts), Some(gating)) = (&hparams.experts, Self::default_gating(config)?)
            && !experts.states_gating()
        {
            out.set(key("expert_gating_func"), gating);
        }
        Ok(())
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dense = Self::dense_layers(config, &hparams)?;
        let hidden = Dim { size: Some(hparams.embedding), keys: &["hidden_size"] };
        let latent = hparams.latent.unwrap_or_default();
        decoder::wanted(config, &hparams, &NAMES, |layer, target| {
            let is_dense = layer.is_some_and(|layer| layer < dense);
            match target {
                "ffn_gate" | "ffn_up" | "ffn_down" if !is_dense => Wanted::Not,
                _ if target.starts_with("attn_") && target != "attn_norm" => {
                    latent.dims(target, hparams.heads, hidden).map_or(Wanted::Not, Wanted::Of)
                }
                _ => Wanted::Usual,
            }
        })
    }
}
