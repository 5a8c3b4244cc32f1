//! Falcon: attention and feed-forward network side by side, few or single key heads, queries, keys
//! and values in one projection.
//!
//! Tensors and keys: the `falcon` model of the ggml project's GGUF files. Checkpoints have the
//! projection by groups of heads (queries, then a key and a value); files have all queries, then all
//! keys, then all values.
//!
//! Accepted classes: [`Falcon::hf_names`].
//! Limits: rotary embeddings, no biases, no sequential layers.

use gmat_core::arch::{Dim, Expected, ModelArch, Placement, Score, Take, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, Epsilon, Hparams, Leaves, Module, Names, Plain, Target, Wanted};

/// The architecture.
struct Falcon;

register_arch!(Falcon);

const PLAIN: Plain = Plain {
    context: &["max_position_embeddings"],
    default_context: Some(2048),
    growth: Some(4),
    epsilon: Epsilon::Layer(1e-5),
    causal: true,
};

/// The base of rotary embeddings that runtimes assume.
const THETA: f64 = 10_000.0;

const NAMES: Names =
    Names { layers: "h", prefix: "blk", global: &[GLOBAL], layered: &[NORMS, FUSED, PROJECTIONS] };

const GLOBAL: &[Module] = decoder::modules! {
    "word_embeddings" => "token_embd";
    "ln_f" => "output_norm" + bias;
    "lm_head" => "output";
};

/// One norm for both parts of a layer, or one for each.
const NORMS: &[Module] = decoder::modules! {
    "input_layernorm" => "attn_norm" + bias;
    "ln_mlp" => "attn_norm" + bias;
    "ln_attn" => "attn_norm_2" + bias;
};

const FUSED: &[Module] = &[Module::new(
    "self_attention.query_key_value",
    Leaves::Weight,
    &[
        Target::fused("attn_qkv", 0, |sizes| {
            let queries = sizes.heads / sizes.kv_heads;
            of_groups(sizes, 0, queries)
        }),
        Target::fused("attn_qkv", 1, |sizes| of_groups(sizes, sizes.heads / sizes.kv_heads, 1)),
        Target::fused("attn_qkv", 2, |sizes| of_groups(sizes, sizes.heads / sizes.kv_heads + 1, 1)),
    ],
)];

const PROJECTIONS: &[Module] = decoder::modules! {
    "self_attention.dense" => "attn_output";
    "mlp.dense_h_to_4h" => "ffn_up";
    "mlp.dense_4h_to_h" => "ffn_down";
};

/// Some of the heads of every group.
fn of_groups(sizes: &Hparams, first: u64, count: u64) -> View {
    let group = sizes.heads / sizes.kv_heads + 2;
    let rows = |heads: u64| heads * sizes.head_dim;
    let take = Take::Range { first: rows(first), count: rows(count), of: rows(group) };
    View::WHOLE.cut_and_merge(sizes.kv_heads).take(take)
}

impl Falcon {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        let switches = [("alibi", false), ("bias", false), ("parallel_attn", true)];
        decoder::only(config, "falcon", &switches)?;
        let activation = config.str(&["activation", "hidden_act"])?.unwrap_or("gelu");
        if !decoder::GELUS.contains(&activation) {
            return Err(Error::unsupported(format!(
                "`activation` in {} is `{activation}`; runtimes compute gelu for `falcon`",
                config.place_of(&["activation", "hidden_act"])
            )));
        }
        let hparams = PLAIN.read(config)?;
        let grouped = config.bool(&["new_decoder_architecture"])?.unwrap_or(false);
        let single = config.bool(&["multi_query"])?.unwrap_or(true);
        let keys = ["num_kv_heads", "n_head_kv", "num_key_value_heads"];
        let kv_heads = match (grouped, single) {
            (true, _) => decoder::bounded(config, &keys, Some(1), hparams.heads)?,
            (false, true) => 1,
            (false, false) => hparams.heads,
        };
        if !hparams.heads.is_multiple_of(kv_heads) {
            return Err(Error::malformed(format!(
                "`num_kv_heads` in {} is {kv_heads}, of which the number of attention heads, {}, is no multiple",
                config.place_of(&keys),
                hparams.heads
            )));
        }
        Ok(Hparams { kv_heads, ..hparams })
    }
}

impl ModelArch for Falcon {
    fn name(&self) -> &'static str {
        "falcon"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["FalconForCausalLM", "RWForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["falcon"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        hparams.write_plain(self.name(), out)?;
        out.set_count("falcon.attention.head_count_kv", hparams.kv_heads)?;
        out.set("falcon.tensor_data_layout", "jploski");
        let rope = decoder::key_only_rope(config, THETA, self.name())?;
        rope.write_unusual(self.name(), out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let hidden = dim(hparams.embedding, &["hidden_size"]);
        let rows = (hparams.heads + 2 * hparams.kv_heads) * hparams.head_dim;
        let fused = dim(rows, &["num_attention_heads", "num_kv_heads"]);
        decoder::wanted(config, &hparams, &NAMES, |_, target| match target {
            "attn_qkv" => Wanted::Of(vec![fused, hidden]),
            "attn_norm" | "output_norm" => Wanted::WithBias,
            _ => Wanted::Usual,
        })
    }
}
