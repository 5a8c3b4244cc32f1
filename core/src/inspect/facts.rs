//! The handful of numbers and names that say what a model is.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::format::gguf::{Array, Meta, Value};
use crate::recipe::FileType;
use crate::token::{Special, Vocab};

/// What a model is, as far as its metadata says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The model's own name.
    pub name: Option<String>,
    /// Architecture: a class name, or the one of GGUF.
    pub architecture: Option<String>,
    /// What `general.file_type` of a GGUF file means, such as `q4_k_m`.
    pub file_type: Option<String>,
    /// Layers.
    pub layers: Option<u64>,
    /// Width of the embedding.
    pub width: Option<u64>,
    /// Width inside of the feed-forward part.
    pub inner: Option<u64>,
    /// Attention heads; the most, where layers differ.
    pub heads: Option<u64>,
    /// Heads of keys and values; the most, where layers differ.
    pub kv_heads: Option<u64>,
    /// Experts of a layer.
    pub experts: Option<u64>,
    /// Experts used for a token.
    pub experts_used: Option<u64>,
    /// Longest context, in tokens.
    pub context: Option<u64>,
    /// Rows of the embedding.
    pub vocabulary: Option<u64>,
    /// The tokenizer.
    pub tokenizer: Option<TokenizerFacts>,
}

/// What a tokenizer is.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerFacts {
    /// What tokenizes with it: `gpt2`, `llama`, …
    pub model: String,
    /// The pre-tokenizer; may be empty.
    pub pre: String,
    /// Number of tokens.
    pub tokens: u64,
    /// Number of merges.
    pub merges: u64,
    /// Ids of tokens with a role, such as `bos`.
    pub special: Vec<(&'static str, u64)>,
    /// Names of chat templates.
    pub templates: Vec<String>,
}

impl Facts {
    /// From the metadata of an import config (see [`crate::config::metadata`]).
    pub(crate) fn of_config(block: &BTreeMap<String, Json>) -> Self {
        let count = |key: &str| block.get(key).and_then(Json::as_u64);
        let text = |key: &str| block.get(key).and_then(Json::as_str).map(str::to_owned);
        Self {
            architecture: text("architecture"),
            layers: count("num_layers"),
            width: count("hidden_size"),
            inner: count("intermediate_size"),
            heads: count("num_attention_heads"),
            kv_heads: count("num_key_value_heads"),
            experts: count("num_experts"),
            experts_used: count("num_experts_per_tok"),
            context: count("max_position_embeddings"),
            vocabulary: count("vocab_size"),
            ..Self::default()
        }
    }

    /// From the keys of a GGUF file.
    pub(crate) fn of_gguf(meta: &Meta) -> Self {
        let text = |key: &str| meta.value(key).and_then(Value::as_str).map(str::to_owned);
        let architecture = text("general.architecture");
        let of = architecture.as_deref().unwrap_or_default();
        let count = |key: &str| largest(meta.value(&format!("{of}.{key}"))?);
        let file_type = meta.value("general.file_type").and_then(Value::as_u64).map(|id| {
            let known = FileType::ALL.iter().find(|known| u64::from(known.id()) == id);
            known.map_or_else(|| format!("file type {id}"), |known| known.name().to_owned())
        });
        let tokenizer = TokenizerFacts::of_gguf(meta);
        Self {
            name: text("general.name"),
            file_type,
            layers: count("block_count"),
            width: count("embedding_length"),
            inner: count("feed_forward_length"),
            heads: count("attention.head_count"),
            kv_heads: count("attention.head_count_kv"),
            experts: count("expert_count").filter(|&experts| experts > 0),
            experts_used: count("expert_used_count").filter(|&experts| experts > 0),
            context: count("context_length"),
            vocabulary: count("vocab_size").or(tokenizer.as_ref().map(|t| t.tokens)),
            tokenizer,
            architecture,
        }
    }
}

/// A count, or the largest of a list of them: some models have one for every layer.
fn largest(value: &Value) -> Option<u64> {
    match value {
        Value::Array(Array::U32(values)) => values.iter().map(|&v| v.into()).max(),
        Value::Array(Array::I32(values)) => values.iter().filter_map(|&v| v.try_into().ok()).max(),
        value => value.as_u64(),
    }
}

impl TokenizerFacts {
    pub(crate) fn of_vocab(vocab: &Vocab) -> Self {
        let special = vocab.special.iter().map(|(special, &id)| (special.name(), u64::from(id)));
        Self {
            model: vocab.model.clone(),
            pre: vocab.pre.clone(),
            tokens: vocab.tokens.len() as u64,
            merges: vocab.merges.len() as u64,
            special: special.collect(),
            templates: vocab.templates.iter().map(|template| template.name.clone()).collect(),
        }
    }

    fn of_gguf(meta: &Meta) -> Option<Self> {
        let text = |key: &str| meta.value(key).and_then(Value::as_str).map(str::to_owned);
        let texts = |key: &str| match meta.value(key) {
            Some(Value::Array(Array::String(texts))) => texts.len() as u64,
            _ => 0,
        };
        let special = Special::ALL.into_iter();
        let id = |role: Special| Some((role.name(), meta.value(role.gguf_key())?.as_u64()?));
        let default = meta.value(TEMPLATE).map(|_| "default".to_owned());
        let other = |(key, _): &(String, Value)| {
            Some(key.strip_prefix(TEMPLATE)?.strip_prefix('.')?.to_owned())
        };
        Some(Self {
            model: text("tokenizer.ggml.model")?,
            pre: text("tokenizer.ggml.pre").unwrap_or_default(),
            tokens: texts("tokenizer.ggml.tokens"),
            merges: texts("tokenizer.ggml.merges"),
            special: special.filter_map(id).collect(),
            templates: default.into_iter().chain(meta.entries().iter().filter_map(other)).collect(),
        })
    }
}

/// Key of the default chat template, and what keys of others begin with.
const TEMPLATE: &str = "tokenizer.chat_template";
