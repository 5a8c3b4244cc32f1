//! T5: encoder (and decoder) with RMS norms and biases of attention by relative positions.
//!
//! Names of tensors: the model classes of the `transformers` library. Keys: the `t5` and `t5encoder`
//! models of the ggml project's GGUF files.

use gmat_core::arch::{Dim, Expected, Placement};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::hparams::{MAX_HEADS, MAX_LAYERS, MAX_WIDTH, bounded};
use super::names::{Module, Names, modules};
use super::wanted::{Wanted, wanted};
use super::{Epsilon, Hparams};

/// Names of the encoder.
pub(crate) const ENCODER: Names = Names {
    layers: "encoder.block",
    prefix: "enc.blk",
    global: &[GLOBAL, ENCODER_NORM],
    layered: &[SELF_ATTENTION, ENCODER_FEED_FORWARD],
};

/// Names of the decoder.
pub(crate) const DECODER: Names = Names {
    layers: "decoder.block",
    prefix: "dec.blk",
    global: &[DECODER_NORM],
    layered: &[SELF_ATTENTION, CROSS_ATTENTION, DECODER_FEED_FORWARD],
};

const GLOBAL: &[Module] = modules! {
    "shared" => "token_embd";
    "lm_head" => "output";
};

const ENCODER_NORM: &[Module] = modules! {
    "encoder.final_layer_norm" => "enc.output_norm";
};

const DECODER_NORM: &[Module] = modules! {
    "decoder.final_layer_norm" => "dec.output_norm";
};

const SELF_ATTENTION: &[Module] = modules! {
    "layer.0.SelfAttention.q" => "attn_q";
    "layer.0.SelfAttention.k" => "attn_k";
    "layer.0.SelfAttention.v" => "attn_v";
    "layer.0.SelfAttention.o" => "attn_o";
    "layer.0.SelfAttention.relative_attention_bias" => "attn_rel_b";
    "layer.0.layer_norm" => "attn_norm";
};

const CROSS_ATTENTION: &[Module] = modules! {
    "layer.1.EncDecAttention.q" => "cross_attn_q";
    "layer.1.EncDecAttention.k" => "cross_attn_k";
    "layer.1.EncDecAttention.v" => "cross_attn_v";
    "layer.1.EncDecAttention.o" => "cross_attn_o";
    "layer.1.EncDecAttention.relative_attention_bias" => "cross_attn_rel_b";
    "layer.1.layer_norm" => "cross_attn_norm";
};

const ENCODER_FEED_FORWARD: &[Module] = modules! {
    "layer.1.DenseReluDense.wi" => "ffn_up";
    "layer.1.DenseReluDense.wi_0" => "ffn_gate";
    "layer.1.DenseReluDense.wi_1" => "ffn_up";
    "layer.1.DenseReluDense.wo" => "ffn_down";
    "layer.1.layer_norm" => "ffn_norm";
};

const DECODER_FEED_FORWARD: &[Module] = modules! {
    "layer.2.DenseReluDense.wi" => "ffn_up";
    "layer.2.DenseReluDense.wi_0" => "ffn_gate";
    "layer.2.DenseReluDense.wi_1" => "ffn_up";
    "layer.2.DenseReluDense.wo" => "ffn_down";
    "layer.2.layer_norm" => "ffn_norm";
};

/// Copies of the embedding that checkpoints have instead of `shared`, or besides it.
const COPIES: [&str; 2] = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];

/// The distance from which on runtimes make no difference between positions.
const MAX_DISTANCE: u64 = 128;

/// Sizes of a model of this kind.
pub(crate) struct T5 {
    /// Those of the encoder.
    pub(crate) encoder: Hparams,
    decoder_layers: u64,
    /// Whether the feed-forward network has a gate.
    gated: bool,
    buckets: u64,
}

impl T5 {
    /// Reads and checks the sizes.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Unsupported` for what runtimes do not compute.
    pub(crate) fn read(config: &ModelConfig, arch: &str) -> Result<Self> {
        let size = |key: &str, max: u64| bounded(config, &[key], None, max);
        let kind = config.str(&["feed_forward_proj"])?.unwrap_or("relu");
        if !["relu", "gated-gelu"].contains(&kind) {
            return Err(Error::unsupported(format!(
                "`feed_forward_proj` in {} is `{kind}`; runtimes compute relu or gated-gelu for `{arch}`",
                config.place_of(&["feed_forward_proj"])
            )));
        }
        let distance = config.u64(&["relative_attention_max_distance"])?.unwrap_or(MAX_DISTANCE);
        if distance != MAX_DISTANCE {
            return Err(Error::unsupported(format!(
                "`relative_attention_max_distance` in {} is {distance}; runtimes compute {MAX_DISTANCE} for `{arch}`",
                config.place_of(&["relative_attention_max_distance"])
            )));
        }
        let layers = bounded(config, &["num_layers", "num_hidden_layers"], None, MAX_LAYERS)?;
        let heads = bounded(config, &["num_heads", "num_attention_heads"], None, MAX_HEADS)?;
        Ok(Self {
            encoder: Hparams {
                layers,
                context: bounded(config, &["n_positions"], Some(512), u32::MAX.into())?,
                embedding: bounded(config, &["d_model", "hidden_size"], None, MAX_WIDTH)?,
                feed_forward: size("d_ff", MAX_WIDTH)?,
                heads,
                kv_heads: heads,
                head_dim: bounded(config, &["d_kv", "head_dim"], None, MAX_HEADS)?,
                epsilon: Some(Epsilon::Layer(1e-6).read(config)?),
                causal: true,
                ..Hparams::default()
            },
            decoder_layers: bounded(config, &["num_decoder_layers"], Some(layers), MAX_LAYERS)?,
            gated: kind != "relu",
            buckets: bounded(config, &["relative_attention_num_buckets"], Some(32), MAX_HEADS)?,
        })
    }

    /// The sizes of the decoder.
    fn decoder(&self) -> Hparams {
        Hparams { layers: self.decoder_layers, ..self.encoder.clone() }
    }

    /// What becomes of a tensor.
    ///
    /// # Errors
    /// `Malformed` if it belongs to a layer that the config does not have.
    pub(crate) fn place(&self, tensor: &str, decoder: bool) -> Result<Option<Placement>> {
        if COPIES.contains(&tensor) {
            return Ok(Some(Placement::Spare("token_embd.weight".to_owned())));
        }
        match ENCODER.place(tensor, &self.encoder)? {
            None if decoder => DECODER.place(tensor, &self.decoder()),
            placement => Ok(placement),
        }
    }

    /// Writes the keys that encoders with and without a decoder have.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.{name}");
        self.encoder.write_plain(arch, out)?;
        out.set_count(key("attention.key_length"), self.encoder.head_dim)?;
        out.set_count(key("attention.value_length"), self.encoder.head_dim)?;
        out.set_count(key("attention.relative_buckets_count"), self.buckets)?;
        // The norms are of root mean squares; the other key stands beside it since the first files.
        if let Some(Epsilon::Layer(epsilon)) = self.encoder.epsilon {
            out.set(key("attention.layer_norm_rms_epsilon"), epsilon);
        }
        Ok(())
    }

    /// Writes the keys of the decoder.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Limit` if a number does not fit its key.
    pub(crate) fn write_decoder(
        &self,
        config: &ModelConfig,
        arch: &str,
        out: &mut Meta,
    ) -> Result<()> {
        out.set_count(format!("{arch}.decoder_block_count"), self.decoder_layers)?;
        let start = config.u64(&["decoder_start_token_id", "pad_token_id"])?.unwrap_or(0);
        out.set_count(format!("{arch}.decoder_start_token_id"), start)
    }

    /// What runtimes look for.
    ///
    /// # Errors
    /// `Malformed`, naming the key.
    pub(crate) fn expected(&self, config: &ModelConfig, decoder: bool) -> Result<Vec<Expected>> {
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let vocabulary = Dim { size: config.u64(&["vocab_size"])?, keys: &["vocab_size"] };
        let hidden = dim(self.encoder.embedding, &["d_model"]);
        let inner = dim(self.encoder.feed_forward, &["d_ff"]);
        let all = dim(self.encoder.heads * self.encoder.head_dim, &["num_heads", "d_kv"]);
        let heads = dim(self.encoder.heads, &["num_heads"]);
        let buckets = dim(self.buckets, &["relative_attention_num_buckets"]);
        let shape = |layer: Option<u64>, target: &str| match target {
            "token_embd" | "output" => Wanted::Of(vec![vocabulary, hidden]),
            "attn_q" | "attn_k" | "attn_v" | "cross_attn_q" | "cross_attn_k" | "cross_attn_v" => {
                Wanted::Of(vec![all, hidden])
            }
            "attn_o" | "cross_attn_o" => Wanted::Of(vec![hidden, all]),
            "attn_rel_b" if layer == Some(0) => Wanted::Of(vec![buckets, heads]),
            "attn_rel_b" | "cross_attn_rel_b" => Wanted::Not,
            "ffn_gate" if !self.gated => Wanted::Not,
            "ffn_gate" | "ffn_up" => Wanted::Of(vec![inner, hidden]),
            "ffn_down" => Wanted::Of(vec![hidden, inner]),
            _ => Wanted::Of(vec![hidden]),
        };
        let mut list = wanted(config, &self.encoder, &ENCODER, shape)?;
        if decoder {
            list.extend(wanted(config, &self.decoder(), &DECODER, shape)?);
        }
        Ok(list)
    }
}
