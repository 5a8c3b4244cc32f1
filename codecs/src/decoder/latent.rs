//! Multi-head latent attention: keys and values of all heads are projected from one short vector per
//! token, and only that vector is cached.
//!
//! The scheme: <https://arxiv.org/abs/2405.04434>, section 2.1. Runtimes multiply queries with the
//! transposed key projection instead of computing keys, so the projection of keys and values is
//! stored in two parts, each with one matrix per head. They see one key head, as wide as the cached
//! vector.

use gmat_core::arch::{Dim, Take, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::hparams::{MAX_HEADS, MAX_WIDTH, bounded};
use super::names::{Leaves, Module, Target, modules};
use super::{Hparams, float};

/// Sizes of the attention, in rows or elements.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Latent {
    /// The vector that queries are projected from, if not from the token's own.
    query_rank: Option<u64>,
    /// The vector that keys and values are projected from.
    rank: u64,
    /// The part of a head's key that has no position.
    key: u64,
    /// The part of a key that rotates, common to all heads.
    rotary: u64,
    /// The value of a head.
    value: u64,
}

/// Projections and norms that are tensors of their own.
pub(crate) const LATENT_ATTENTION: &[Module] = modules! {
    "self_attn.q_proj" => "attn_q";
    "self_attn.q_a_proj" => "attn_q_a";
    "self_attn.q_a_layernorm" => "attn_q_a_norm";
    "self_attn.q_b_proj" => "attn_q_b";
    "self_attn.kv_a_proj_with_mqa" => "attn_kv_a_mqa";
    "self_attn.kv_a_layernorm" => "attn_kv_a_norm";
    "self_attn.o_proj" => "attn_output";
};

/// The projection from the latent vector: per head the rows of its key, then those of its value.
pub(crate) const LATENT_KEYS_AND_VALUES: &[Module] = &[Module::new(
    "self_attn.kv_b_proj",
    Leaves::Weight,
    &[
        Target::view("attn_k_b", |sizes| heads(sizes, |l| (0, l.key)).transposed()),
        Target::view("attn_v_b", |sizes| heads(sizes, |l| (l.key, l.value))),
    ],
)];

/// Some rows of every head.
fn heads(sizes: &Hparams, rows: fn(&Latent) -> (u64, u64)) -> View {
    let latent = sizes.latent.unwrap_or_default();
    let (first, count) = rows(&latent);
    View::WHOLE.cut(sizes.heads).take(Take::Range { first, count, of: latent.key + latent.value })
}

/// How much attention grows with the logarithm of the factor of rotary scaling, as files have it:
/// a tenth of what the config says, which runtimes undo.
///
/// # Errors
/// `Malformed`, naming the key; `Unsupported` if rotary embeddings should grow as well.
pub(crate) fn attention_scale(config: &ModelConfig) -> Result<Option<f32>> {
    let own = config.object(&["rope_parameters", "rope_scaling"])?.unwrap_or_default();
    let (embeddings, attention) = (own.f64(&["mscale"])?, own.f64(&["mscale_all_dim"])?);
    let Some(scale) = attention else { return Ok(None) };
    if embeddings.is_some_and(|other| other != scale) {
        return Err(Error::unsupported(format!(
            "`mscale` in {} is not `mscale_all_dim`, which runtimes do not compute",
            config.place_of(&["rope_parameters", "rope_scaling"])
        )));
    }
    float("mscale_all_dim", 0.1 * scale).map(Some)
}

impl Latent {
    /// Reads and checks the sizes.
    ///
    /// # Errors
    /// `Malformed`, naming the key that is missing or makes no sense.
    pub(crate) fn read(config: &ModelConfig) -> Result<Self> {
        let size = |key: &str, max: u64| bounded(config, &[key], None, max);
        let query = "q_lora_rank";
        Ok(Self {
            query_rank: match config.u64(&[query])? {
                None => None,
                Some(_) => Some(size(query, MAX_WIDTH)?),
            },
            rank: size("kv_lora_rank", MAX_WIDTH)?,
            key: size("qk_nope_head_dim", MAX_HEADS)?,
            rotary: size("qk_rope_head_dim", MAX_HEADS)?,
            value: size("v_head_dim", MAX_HEADS)?,
        })
    }

    /// Writes the keys.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.{name}");
        if let Some(rank) = self.query_rank {
            out.set_count(key("attention.q_lora_rank"), rank)?;
        }
        out.set_count(key("attention.kv_lora_rank"), self.rank)?;
        out.set_count(key("attention.key_length"), self.rank + self.rotary)?;
        out.set_count(key("attention.value_length"), self.rank)?;
        out.set_count(key("attention.key_length_mla"), self.key + self.rotary)?;
        out.set_count(key("attention.value_length_mla"), self.value)?;
        out.set_count(key("rope.dimension_count"), self.rotary)
    }

    /// The shape of a tensor of the attention, slowest dimension first; `None` if a model of these
    /// sizes has none of that name.
    pub(crate) fn dims(&self, target: &str, heads: u64, hidden: Dim) -> Option<Vec<Dim>> {
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let heads_dim = dim(heads, &["num_attention_heads"]);
        let rank = dim(self.rank, &["kv_lora_rank"]);
        let key = dim(self.key, &["qk_nope_head_dim"]);
        let value = dim(self.value, &["v_head_dim"]);
        let query_rank = self.query_rank.map(|rank| dim(rank, &["q_lora_rank"]));
        let queries = dim(
            heads * (self.key + self.rotary),
            &["num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim"],
        );
        let cached = dim(self.rank + self.rotary, &["kv_lora_rank", "qk_rope_head_dim"]);
        let values = dim(heads * self.value, &["num_attention_heads", "v_head_dim"]);
        Some(match target {
            "attn_q" if query_rank.is_none() => vec![queries, hidden],
            "attn_q_a" => vec![query_rank?, hidden],
            "attn_q_a_norm" => vec![query_rank?],
            "attn_q_b" => vec![queries, query_rank?],
            "attn_kv_a_mqa" => vec![cached, hidden],
            "attn_kv_a_norm" => vec![rank],
            "attn_k_b" => vec![heads_dim, rank, key],
            "attn_v_b" => vec![heads_dim, value, rank],
            "attn_output" => vec![hidden, values],
            _ => return None,
        })
    }
}
