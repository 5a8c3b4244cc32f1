//! The tensors that runtimes look for in a decoder, with the shapes that its sizes imply.
//!
//! Which ones are needed: the `llama`, `qwen2` and `qwen3` loaders of the ggml project's llama.cpp.
//! There biases are optional unless an architecture always has them, and without `output.weight`
//! the embedding serves as output.

use gmat_core::arch::{Dim, Expected};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;

use super::Hparams;
use super::modules::EMBEDDINGS;
use super::names::Module;
use super::wanted::{Tables, Wanted};

/// What a model of these sizes has: the usual modules outside the layers, then those of `layered` in
/// each layer. The modules named in `biases` need their bias, the others may have one.
///
/// # Errors
/// `Malformed` if `vocab_size` is not a number.
pub(crate) fn expected(
    config: &ModelConfig,
    hparams: &Hparams,
    layered: &[&[Module]],
    biases: &[&str],
) -> Result<Vec<Expected>> {
    Needs { biases, ..Needs::of(layered) }.list(config, hparams)
}

/// What runtimes need of a model whose layers are all alike.
pub(crate) struct Needs<'a> {
    /// Modules outside the layers.
    pub(crate) global: &'a [&'a [Module]],
    /// Modules of every layer.
    pub(crate) layered: &'a [&'a [Module]],
    /// Targets that need their bias; others may have one.
    pub(crate) biases: &'a [&'a str],
    /// Targets that may be absent.
    pub(crate) optional: &'a [&'a str],
    /// Shapes that are not the usual ones, by target.
    pub(crate) shape: fn(&str, &Hparams) -> Option<Vec<Dim>>,
}

impl<'a> Needs<'a> {
    /// The usual modules outside the layers and these in the layers, of the usual shapes.
    pub(crate) fn of(layered: &'a [&'a [Module]]) -> Self {
        Self {
            global: &[EMBEDDINGS],
            layered,
            biases: &[],
            optional: &["output"],
            shape: |_, _| None,
        }
    }

    /// The tensors of a model of these sizes.
    ///
    /// # Errors
    /// `Malformed` if `vocab_size` is not a number.
    pub(crate) fn list(&self, config: &ModelConfig, hparams: &Hparams) -> Result<Vec<Expected>> {
        let tables = Tables {
            prefix: "blk",
            global: self.global,
            layered: self.layered,
            optional: self.optional,
        };
        tables.list(config, hparams, |_, target| {
            match ((self.shape)(target, hparams), self.biases.contains(&target)) {
                (None, false) => Wanted::Usual,
                (None, true) => Wanted::WithBias,
                (Some(dims), false) => Wanted::Of(dims),
                (Some(dims), true) => Wanted::WithBiasOf(dims),
            }
        })
    }
}

/// Shapes of norms of queries and keys that each head has for itself.
pub(crate) fn norms_of_heads(target: &str, sizes: &Hparams) -> Option<Vec<Dim>> {
    let (heads, keys): (_, &[&str]) = match target {
        "attn_q_norm" => (sizes.heads, &["num_attention_heads"]),
        "attn_k_norm" => (sizes.kv_heads, &["num_key_value_heads"]),
        _ => return None,
    };
    Some(vec![dim(heads, keys), dim(sizes.head_dim, &["head_dim"])])
}

/// A dimension of known size.
pub(crate) fn dim(size: u64, keys: &'static [&'static str]) -> Dim {
    Dim { size: Some(size), keys }
}

/// The shape of a module's weight, slowest dimension first; its bias has the first one alone.
pub(super) fn usual(
    source: &str,
    target: &str,
    hparams: &Hparams,
    vocabulary: Option<u64>,
) -> Option<Vec<Dim>> {
    let vocabulary = Dim { size: vocabulary, keys: &["vocab_size"] };
    let hidden = dim(hparams.embedding, &["hidden_size"]);
    let fused = source.ends_with("gate_up_proj") && target == "ffn_up";
    let inner = dim(hparams.feed_forward * if fused { 2 } else { 1 }, &["intermediate_size"]);
    let head = dim(hparams.head_dim, &["head_dim"]);
    let queries = dim(hparams.heads * hparams.head_dim, &["num_attention_heads", "head_dim"]);
    let keys = dim(hparams.kv_heads * hparams.head_dim, &["num_key_value_heads", "head_dim"]);
    let all_heads = (hparams.heads + 2 * hparams.kv_heads) * hparams.head_dim;
    Some(match target {
        "token_embd" | "output" => vec![vocabulary, hidden],
        "output_norm" | "attn_norm" | "ffn_norm" | "post_attention_norm" | "post_ffw_norm" => {
            vec![hidden]
        }
        "attn_q" => vec![queries, hidden],
        "attn_k" | "attn_v" => vec![keys, hidden],
        "attn_qkv" => {
            let keys = &["num_attention_heads", "num_key_value_heads", "head_dim"];
            vec![dim(all_heads, keys), hidden]
        }
        "attn_output" => vec![hidden, queries],
        "attn_q_norm" | "attn_k_norm" => vec![head],
        "ffn_gate" | "ffn_up" => vec![inner, hidden],
        "ffn_down" => vec![hidden, inner],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{ATTENTION, ClassDefaults, Epsilon, FEED_FORWARD, NORMS, QK_NORMS};
    use serde_json::{Value, json};

    const CLASS: ClassDefaults = ClassDefaults {
        vocabulary: 1000,
        layers: 3,
        embedding: 96,
        feed_forward: 200,
        heads: 6,
        kv_heads: None,
        head_dim: None,
        states_head_dim: false,
        context: 512,
        rope_theta: 10_000.0,
        epsilon: Epsilon::Rms(1e-6),
    };

    fn list(vocabulary: Value) -> Vec<Expected> {
        let json = json!({"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 128,
            "vocab_size": vocabulary});
        let config = ModelConfig::from_map(json.as_object().cloned().unwrap_or_default());
        let layered: &[&[Module]] = &[NORMS, ATTENTION, QK_NORMS, FEED_FORWARD];
        Hparams::read(&config, &CLASS)
            .and_then(|hparams| expected(&config, &hparams, layered, &["attn_q"]))
            .unwrap_or_default()
    }

    fn shape(list: &[Expected], name: &str) -> Option<(Vec<Option<u64>>, bool)> {
        let found = list.iter().find(|expected| expected.name == name)?;
        Some((found.dims.iter().map(|dim| dim.size).collect(), found.optional))
    }

    #[test]
    fn shapes_follow_from_the_sizes() {
        let list = list(json!(100));
        // Every module has a shape: 4 outside, and 11 weights and 7 biases in each of 2 layers.
        assert_eq!(list.len(), 4 + 2 * (11 + 7));
        for (name, dims, optional) in [
            ("token_embd.weight", &[100, 64][..], false),
            ("output_norm.weight", &[64], false),
            ("output.weight", &[100, 64], true),
            ("blk.0.attn_norm.weight", &[64], false),
            ("blk.0.attn_q.weight", &[96, 64], false),
            ("blk.0.attn_q.bias", &[96], false),
            ("blk.1.attn_k.weight", &[48, 64], false),
            ("blk.1.attn_k.bias", &[48], true),
            ("blk.1.attn_v.weight", &[48, 64], false),
            ("blk.1.attn_output.weight", &[64, 96], false),
            ("blk.1.attn_k_norm.weight", &[24], false),
            ("blk.1.ffn_up.weight", &[128, 64], false),
            ("blk.1.ffn_down.weight", &[64, 128], false),
            ("blk.1.ffn_down.bias", &[64], true),
        ] {
            let dims = dims.iter().copied().map(Some).collect();
            assert_eq!(shape(&list, name), Some((dims, optional)), "{name}");
        }
        assert_eq!(shape(&list, "blk.2.attn_q.weight"), None);
    }

    #[test]
    fn an_unknown_vocabulary_has_no_size() {
        let list = list(Value::Null);
        assert_eq!(shape(&list, "token_embd.weight"), Some((vec![None, Some(64)], false)));
    }
}
