//! BLOOM: attention biased by distance (ALiBi), a norm behind the embedding, queries, keys and
//! values of each head in one projection.
//!
//! Tensors and keys: the `bloom` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Bloom::hf_names`].

use gmat_core::arch::{Dim, Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, Epsilon, Hparams, Module, Names, Plain, Wanted};

/// The architecture.
struct Bloom;

register_arch!(Bloom);

const PLAIN: Plain = Plain {
    context: &["seq_length"],
    default_context: Some(2048),
    growth: Some(4),
    epsilon: Epsilon::Layer(1e-5),
    causal: true,
};

const NAMES: Names = Names {
    layers: "h",
    prefix: "blk",
    global: &[GLOBAL],
    layered: &[decoder::FUSED_HEADS, LAYER],
};

const GLOBAL: &[Module] = decoder::modules! {
    "word_embeddings" => "token_embd";
    "word_embeddings_layernorm" => "token_embd_norm" + bias;
    "ln_f" => "output_norm" + bias;
    "lm_head" => "output";
};

const LAYER: &[Module] = decoder::modules! {
    "input_layernorm" => "attn_norm" + bias;
    "self_attention.dense" => "attn_output" + bias;
    "post_attention_layernorm" => "ffn_norm" + bias;
    "mlp.dense_h_to_4h" => "ffn_up" + bias;
    "mlp.dense_4h_to_h" => "ffn_down" + bias;
};

impl Bloom {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        let switches = [("apply_residual_connection_post_layernorm", false)];
        decoder::only(config, "bloom", &switches)?;
        let hparams = PLAIN.read(config)?;
        // Positions have no end; where the config says none, files have the width of the model.
        let length =
            decoder::bounded(config, PLAIN.context, Some(hparams.embedding), u32::MAX.into())?;
        // Configs have no key for the width of the feed-forward network.
        Ok(Hparams { context: length, feed_forward: 4 * hparams.embedding, ..hparams })
    }
}

impl ModelArch for Bloom {
    fn name(&self) -> &'static str {
        "bloom"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["BloomForCausalLM", "BloomModel"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["bloom"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        hparams.write_plain(self.name(), out)?;
        out.set_count("bloom.attention.head_count_kv", hparams.heads)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let hidden = dim(hparams.embedding, &["hidden_size"]);
        decoder::wanted(config, &hparams, &NAMES, |_, target| match target {
            "attn_qkv" => {
                Wanted::WithBiasOf(vec![dim(3 * hparams.embedding, &["hidden_size"]), hidden])
            }
            "token_embd_norm" => Wanted::WithBiasOf(vec![hidden]),
            "output" => Wanted::Usual,
            _ => Wanted::WithBias,
        })
    }
}
