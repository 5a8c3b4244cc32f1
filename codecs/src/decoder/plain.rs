//! Sizes of models from before rotary embeddings and grouped key heads: GPT-2, BERT and their kin.
//!
//! Config keys: the model classes of the `transformers` library, which had many names for the same.

use gmat_core::arch::{Take, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::hparams::{MAX_HEADS, MAX_LAYERS, MAX_WIDTH, bounded};
use super::names::{Leaves, Module, Target};
use super::{Epsilon, Hparams};

/// What is particular about a class.
pub(crate) struct Plain {
    /// Keys of the length that positions are trained for.
    pub(crate) context: &'static [&'static str],
    /// That length where the config does not say it.
    pub(crate) default_context: Option<u64>,
    /// How much wider than the model the feed-forward network is where the config does not say it.
    pub(crate) growth: Option<u64>,
    pub(crate) epsilon: Epsilon<f64>,
    pub(crate) causal: bool,
}

impl Plain {
    /// Reads and checks the sizes.
    ///
    /// # Errors
    /// `Malformed`, naming the key that is missing, of the wrong type or makes no sense.
    pub(crate) fn read(&self, config: &ModelConfig) -> Result<Hparams> {
        let heads = ["num_attention_heads", "n_head", "n_heads", "num_heads"];
        let heads = bounded(config, &heads, None, MAX_HEADS)?;
        let width = ["hidden_size", "n_embd", "n_embed", "d_model", "dim"];
        let embedding = bounded(config, &width, None, MAX_WIDTH)?;
        if !embedding.is_multiple_of(heads) {
            let key = width.iter().find(|key| config.is_stated(key)).unwrap_or(&"hidden_size");
            return Err(Error::malformed(format!(
                "`{key}` in {} is {embedding}, which is no multiple of the number of attention heads, {heads}",
                config.place_of(&width)
            )));
        }
        let inner = ["intermediate_size", "n_inner", "hidden_dim", "ffn_hidden_size", "ffn_dim"];
        let default_inner = self.growth.map(|growth| embedding * growth);
        let layers = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"];
        Ok(Hparams {
            layers: bounded(config, &layers, None, MAX_LAYERS)?,
            context: bounded(config, self.context, self.default_context, u32::MAX.into())?,
            embedding,
            feed_forward: bounded(config, &inner, default_inner, MAX_WIDTH)?,
            heads,
            kv_heads: heads,
            head_dim: embedding / heads,
            epsilon: Some(self.epsilon.read(config)?),
            causal: self.causal,
            ..Hparams::default()
        })
    }
}

impl Hparams {
    /// Writes the keys that every model has: neither key heads nor rotary embeddings.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write_plain(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.{name}");
        out.set_count(key("block_count"), self.layers)?;
        out.set_count(key("context_length"), self.context)?;
        out.set_count(key("embedding_length"), self.embedding)?;
        out.set_count(key("feed_forward_length"), self.feed_forward)?;
        out.set_count(key("attention.head_count"), self.heads)?;
        if !self.causal {
            out.set(key("attention.causal"), false);
        }
        match self.epsilon {
            Some(Epsilon::Rms(epsilon)) => {
                out.set(key("attention.layer_norm_rms_epsilon"), epsilon);
            }
            Some(Epsilon::Layer(epsilon)) => out.set(key("attention.layer_norm_epsilon"), epsilon),
            None => {}
        }
        Ok(())
    }
}

/// A projection that has query, key and value of each head together.
pub(crate) const FUSED_HEADS: &[Module] =
    &[fused("self_attention.query_key_value"), fused("attention.query_key_value")];

const fn fused(source: &'static str) -> Module {
    const PARTS: &[Target] = &[
        Target::fused("attn_qkv", 0, |sizes| of_heads(sizes, 0)),
        Target::fused("attn_qkv", 1, |sizes| of_heads(sizes, 1)),
        Target::fused("attn_qkv", 2, |sizes| of_heads(sizes, 2)),
    ];
    Module::new(source, Leaves::WeightAndBias, PARTS)
}

/// The queries, keys or values (`at` 0 to 2) of all heads.
const fn of_heads(sizes: &Hparams, at: u64) -> View {
    View::WHOLE.cut_and_merge(sizes.heads).take(Take::Share { at, of: 3 })
}

/// Refuses a config in which a switch is not as runtimes compute it.
///
/// # Errors
/// `Unsupported`, naming the key; `Malformed` if it is neither true nor false.
pub(crate) fn only(config: &ModelConfig, arch: &str, switches: &[(&str, bool)]) -> Result<()> {
    for &(key, known) in switches {
        if config.bool(&[key])?.is_some_and(|value| value != known) {
            return Err(Error::unsupported(format!(
                "`{key}` in {} is {}, which runtimes do not compute for `{arch}`",
                config.place_of(&[key]),
                !known
            )));
        }
    }
    Ok(())
}
