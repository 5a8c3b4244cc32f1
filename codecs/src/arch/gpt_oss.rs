//! gpt-oss: attention with sinks that looks near and far by turns, and mixtures of experts with
//! biases.
//!
//! Tensors and keys: the `gpt-oss` model of the ggml project's GGUF files. Experts in MXFP4 are
//! stored by rows of the projection, gate and up by turns; those of other checkpoints are stored
//! transposed.
//!
//! Accepted classes: [`GptOss::hf_names`]; or a nested config of type `gpt_oss`.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Dim, Expected, ModelArch, Placement, Score, Take, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;
use serde_json::Value;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Hparams, Leaves, Module, Names, Rope, Scaling, Target,
    Wanted,
};

/// The architecture.
struct GptOss;

register_arch!(GptOss);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 201_088,
    layers: 36,
    embedding: 2880,
    feed_forward: 2880,
    heads: 64,
    kv_heads: Some(8),
    head_dim: Some(64),
    states_head_dim: true,
    context: 131_072,
    rope_theta: 150_000.0,
    epsilon: Epsilon::Rms(1e-5),
};

/// How far near layers look where the config does not say it.
const WINDOW: u64 = 128;

/// Where runtimes clamp what goes into the gated product.
const LIMIT: f64 = 7.0;

/// Checkpoints with experts by rows.
const BY_ROWS: Names =
    Names::of_layers(&[NORMS, decoder::ATTENTION, ROUTER, BIASES, EXPERTS_BY_ROWS]);

/// Checkpoints with transposed experts.
const TRANSPOSED: Names =
    Names::of_layers(&[NORMS, decoder::ATTENTION, ROUTER, BIASES, TRANSPOSED_EXPERTS]);

const NORMS: &[Module] = decoder::modules! {
    "input_layernorm" => "attn_norm";
    "post_attention_layernorm" => "post_attention_norm";
};

const ROUTER: &[Module] = decoder::modules! {
    "mlp.router" => "ffn_gate_inp" + bias;
};

const GATE: Take = Take::Every { first: 0, step: 2 };
const UP: Take = Take::Every { first: 1, step: 2 };

const BIASES: &[Module] = &[
    Module::new("self_attn.sinks", Leaves::Bare("weight"), &[Target::whole("attn_sinks")]),
    Module::new(
        "mlp.experts.gate_up_proj_bias",
        Leaves::Bare("bias"),
        &[
            Target::view("ffn_gate_exps", |_| View::WHOLE.of_vectors().take(GATE)),
            Target::view("ffn_up_exps", |_| View::WHOLE.of_vectors().take(UP)),
        ],
    ),
    Module::new(
        "mlp.experts.down_proj_bias",
        Leaves::Bare("bias"),
        &[Target::whole("ffn_down_exps")],
    ),
];

const EXPERTS_BY_ROWS: &[Module] = &[
    Module::new(
        "mlp.experts.gate_up_proj",
        Leaves::Bare("weight"),
        &[
            Target::view("ffn_gate_exps", |_| View::WHOLE.take(GATE)),
            Target::view("ffn_up_exps", |_| View::WHOLE.take(UP)),
        ],
    ),
    Module::new("mlp.experts.down_proj", Leaves::Bare("weight"), &[Target::whole("ffn_down_exps")]),
];

const TRANSPOSED_EXPERTS: &[Module] = &[
    Module::new(
        "mlp.experts.gate_up_proj",
        Leaves::Bare("weight"),
        &[
            Target::view("ffn_gate_exps", |_| View::WHOLE.transposed_columns(GATE)),
            Target::view("ffn_up_exps", |_| View::WHOLE.transposed_columns(UP)),
        ],
    ),
    Module::new(
        "mlp.experts.down_proj",
        Leaves::Bare("weight"),
        &[Target::view("ffn_down_exps", |_| View::WHOLE.transposed())],
    ),
];

impl GptOss {
    /// Rotary embeddings; a config that says nothing about their scaling has that of the class.
    fn rope(config: &ModelConfig) -> Result<Rope> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, "gpt-oss")?;
        if ["rope_parameters", "rope_scaling"].iter().any(|key| config.is_stated(key)) {
            return Ok(rope);
        }
        let scaling = Scaling::Yarn {
            factor: 32.0,
            original_context: 4096,
            options: vec![("scaling.yarn_beta_fast", 32.0), ("scaling.yarn_beta_slow", 1.0)],
        };
        Ok(Rope { scaling, ..rope })
    }

    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::EXPERTS.check(config, "gpt-oss")?;
        let limit = config.f64(&["swiglu_limit"])?.unwrap_or(LIMIT);
        if limit != LIMIT {
            return Err(Error::unsupported(format!(
                "`swiglu_limit` in {} is {limit}; runtimes compute {LIMIT} for `gpt-oss`",
                config.place_of(&["swiglu_limit"])
            )));
        }
        Self::check_layers(config)?;
        let hparams = Hparams::read(config, &CLASS)?.with_used_experts(4);
        if hparams.expert_count() == 0 {
            return Err(Error::malformed(format!("{} has no `num_local_experts`", config.place())));
        }
        Ok(hparams)
    }

    /// Runtimes take every second layer, from the first one on, for one that looks near.
    fn check_layers(config: &ModelConfig) -> Result<()> {
        let types = config.value(&["layer_types"]).and_then(Value::as_array);
        let usual = types.into_iter().flatten().enumerate().all(|(layer, kind)| {
            let near = kind.as_str() == Some("sliding_attention");
            near == (layer % 2 == 0)
        });
        match usual {
            true => Ok(()),
            false => Err(Error::unsupported(format!(
                "`layer_types` in {} is not `sliding_attention` and `full_attention` by turns, which runtimes compute for `gpt-oss`",
                config.place_of(&["layer_types"])
            ))),
        }
    }

    fn names(config: &ModelConfig) -> Result<&'static Names> {
        let quantized = config.object(&["quantization_config"])?.unwrap_or_default();
        Ok(match quantized.str(&["quant_method"])? {
            Some("mxfp4") => &BY_ROWS,
            _ => &TRANSPOSED,
        })
    }
}

impl ModelArch for GptOss {
    fn name(&self) -> &'static str {
        "gpt-oss"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["GptOssForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["gpt_oss"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        Self::names(config)?.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = Self::rope(config)?;
        hparams.write(self.name(), &rope, out)?;
        let window = decoder::bounded(config, &["sliding_window"], Some(WINDOW), u32::MAX.into())?;
        out.set_count("gpt-oss.attention.sliding_window", window)?;
        out.set_count("gpt-oss.expert_feed_forward_length", hparams.feed_forward)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let experts = dim(hparams.expert_count(), &["num_local_experts"]);
        let hidden = dim(hparams.embedding, &["hidden_size"]);
        let inner = dim(hparams.feed_forward, &["intermediate_size"]);
        let heads = dim(hparams.heads, &["num_attention_heads"]);
        decoder::wanted(config, &hparams, Self::names(config)?, |_, target| match target {
            "attn_q" | "attn_k" | "attn_v" | "attn_output" => Wanted::WithBias,
            "post_attention_norm" => Wanted::Of(vec![hidden]),
            "attn_sinks" => Wanted::Of(vec![heads]),
            "ffn_gate_inp" => Wanted::WithBiasOf(vec![experts, hidden]),
            "ffn_gate_exps" | "ffn_up_exps" => Wanted::Of(vec![experts, inner, hidden]),
            "ffn_down_exps" => Wanted::Of(vec![experts, hidden, inner]),
            _ => Wanted::Usual,
        })
    }
}
