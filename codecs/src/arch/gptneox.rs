//! GPT-NeoX and Pythia: attention and feed-forward network side by side, a part of each head
//! rotated, queries, keys and values of each head in one projection.
//!
//! Tensors and keys: the `gptneox` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`GptNeoX::hf_names`].
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Dim, Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, Computes, Epsilon, Hparams, Module, Names, Plain, Rope, Wanted};

/// The architecture.
struct GptNeoX;

register_arch!(GptNeoX);

const PLAIN: Plain = Plain {
    context: &["max_position_embeddings"],
    default_context: Some(2048),
    growth: None,
    epsilon: Epsilon::Layer(1e-5),
    causal: true,
};

/// The base of rotary embeddings that runtimes assume.
const THETA: f64 = 10_000.0;

/// The part of a head that is rotated where the config does not say it.
const SHARE: f64 = 0.25;

const NAMES: Names = Names {
    layers: "layers",
    prefix: "blk",
    global: &[GLOBAL],
    layered: &[decoder::FUSED_HEADS, LAYER],
};

const GLOBAL: &[Module] = decoder::modules! {
    "embed_in" => "token_embd";
    "embed_out" => "output";
    "final_layer_norm" => "output_norm" + bias;
};

const LAYER: &[Module] = decoder::modules! {
    "input_layernorm" => "attn_norm" + bias;
    "attention.dense" => "attn_output" + bias;
    "post_attention_layernorm" => "ffn_norm" + bias;
    "mlp.dense_h_to_4h" => "ffn_up" + bias;
    "mlp.dense_4h_to_h" => "ffn_down" + bias;
};

impl GptNeoX {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes { activations: decoder::GELUS, experts: false }.check(config, "gptneox")?;
        decoder::only(config, "gptneox", &[("attention_bias", true)])?;
        PLAIN.read(config)
    }
}

impl ModelArch for GptNeoX {
    fn name(&self) -> &'static str {
        "gptneox"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["GPTNeoXForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["gpt_neox"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        hparams.write_plain(self.name(), out)?;
        let rope = Rope::read_partial(config, THETA, SHARE)?;
        out.set_count("gptneox.rope.dimension_count", rope.rotated(hparams.head_dim)?)?;
        rope.write_unusual(self.name(), out)?;
        let parallel = config.bool(&["use_parallel_residual"])?.unwrap_or(true);
        out.set("gptneox.use_parallel_residual", parallel);
        Ok(())
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let hidden = dim(hparams.embedding, &["hidden_size"]);
        let fused = dim(3 * hparams.embedding, &["hidden_size"]);
        decoder::wanted(config, &hparams, &NAMES, |_, target| match target {
            "attn_qkv" => Wanted::WithBiasOf(vec![fused, hidden]),
            "output" => Wanted::Usual,
            _ => Wanted::WithBias,
        })
    }
}
