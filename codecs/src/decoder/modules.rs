//! Tables of the modules that decoders with names like Llama's have in common.

use gmat_core::arch::View;

use super::names::{Module, modules};

/// Outside the layers.
pub(crate) const EMBEDDINGS: &[Module] = modules! {
    "embed_tokens" => "token_embd";
    "norm" => "output_norm";
    "lm_head" => "output" + bias;
};

/// The same of models whose output matrix is always the embedding.
pub(crate) const TIED_EMBEDDINGS: &[Module] = modules! {
    "embed_tokens" => "token_embd";
    "norm" => "output_norm";
};

/// The same of models whose norms have biases.
pub(crate) const BIASED_EMBEDDINGS: &[Module] = modules! {
    "embed_tokens" => "token_embd";
    "norm" => "output_norm" + bias;
    "lm_head" => "output" + bias;
};

/// Projections of the attention.
pub(crate) const ATTENTION: &[Module] = modules! {
    "self_attn.q_proj" => "attn_q" + bias;
    "self_attn.k_proj" => "attn_k" + bias;
    "self_attn.v_proj" => "attn_v" + bias;
    "self_attn.o_proj" => "attn_output" + bias;
};

/// Projections of the attention, for runtimes that rotate neighbouring rows: checkpoints keep the
/// two halves of a head apart.
pub(crate) const INTERLEAVED_ATTENTION: &[Module] = modules! {
    "self_attn.q_proj" => "attn_q" + bias, view = |sizes| View::WHOLE.interleaved(sizes.heads);
    "self_attn.k_proj" => "attn_k" + bias, view = |sizes| View::WHOLE.interleaved(sizes.kv_heads);
    "self_attn.v_proj" => "attn_v" + bias;
    "self_attn.o_proj" => "attn_output" + bias;
};

/// Norms of queries and keys, per head.
pub(crate) const QK_NORMS: &[Module] = modules! {
    "self_attn.q_norm" => "attn_q_norm";
    "self_attn.k_norm" => "attn_k_norm";
};

/// The gated feed-forward network.
pub(crate) const FEED_FORWARD: &[Module] = modules! {
    "mlp.gate_proj" => "ffn_gate" + bias;
    "mlp.up_proj" => "ffn_up" + bias;
    "mlp.down_proj" => "ffn_down" + bias;
};

/// The same with gate and up projection in one tensor, the gate first, which runtimes take as it is.
pub(crate) const FUSED_FEED_FORWARD: &[Module] = modules! {
    "mlp.gate_up_proj" => "ffn_up";
    "mlp.down_proj" => "ffn_down";
};

/// RMS norms before attention and feed-forward network.
pub(crate) const NORMS: &[Module] = modules! {
    "input_layernorm" => "attn_norm";
    "post_attention_layernorm" => "ffn_norm";
};

/// Layer norms before attention and feed-forward network.
pub(crate) const BIASED_NORMS: &[Module] = modules! {
    "input_layernorm" => "attn_norm" + bias;
    "post_attention_layernorm" => "ffn_norm" + bias;
};
