//! What the Gemma models have in common: norms stored as their difference from 1, the embedding as
//! output matrix, and a scale of attention scores that runtimes do not read.
//!
//! Sources: the `gemma*` models of the ggml project's llama.cpp and of the `transformers` library.

use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};

use super::Hparams;
use super::names::{Module, modules};

/// Outside the layers.
pub(crate) const GEMMA_EMBEDDINGS: &[Module] = modules! {
    "embed_tokens" => "token_embd";
    "norm" => "output_norm" + 1;
};

/// Norms before attention and feed-forward network.
pub(crate) const GEMMA_NORMS: &[Module] = modules! {
    "input_layernorm" => "attn_norm" + 1;
    "post_attention_layernorm" => "ffn_norm" + 1;
};

/// Norms before and after attention and feed-forward network.
pub(crate) const GEMMA_SANDWICH_NORMS: &[Module] = modules! {
    "input_layernorm" => "attn_norm" + 1;
    "post_attention_layernorm" => "post_attention_norm" + 1;
    "pre_feedforward_layernorm" => "ffn_norm" + 1;
    "post_feedforward_layernorm" => "post_ffw_norm" + 1;
};

/// Norms of queries and keys, per head.
pub(crate) const GEMMA_QK_NORMS: &[Module] = modules! {
    "self_attn.q_norm" => "attn_q_norm" + 1;
    "self_attn.k_norm" => "attn_k_norm" + 1;
};

/// Refuses options that runtimes do not compute. They scale scores by the head size; in the largest
/// model of a generation, which they know by its number of layers, by `embedding / heads`.
///
/// # Errors
/// `Unsupported`, naming the key; `Malformed` if a key is of the wrong type.
pub(crate) fn check_gemma(config: &ModelConfig, sizes: &Hparams, largest: u64) -> Result<()> {
    let computed = match sizes.layers == largest {
        true => sizes.embedding / sizes.heads,
        false => sizes.head_dim,
    };
    let key = ["query_pre_attn_scalar"];
    // 256 is what the classes have.
    let scalar = config.f64(&key)?.unwrap_or(256.0);
    if scalar != computed as f64 {
        return Err(Error::unsupported(format!(
            "`query_pre_attn_scalar` in {} is {scalar}, but runtimes compute with {computed} in a model of these sizes",
            config.place_of(&key)
        )));
    }
    if config.bool(&["use_bidirectional_attention"])? == Some(true) {
        return Err(Error::unsupported(format!(
            "`use_bidirectional_attention` in {} is true, but runtimes look back only",
            config.place_of(&["use_bidirectional_attention"])
        )));
    }
    Ok(())
}
