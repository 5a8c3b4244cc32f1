//! The sizes of a decoder, read from `config.json`, checked, and written as GGUF keys.
//!
//! GGUF names: the "LLM" section of the GGUF specification of the ggml project. Config names: the
//! model classes of the `transformers` library and the older GPT-2 style.

use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::{Experts, Latent, Rope, float};

/// Bounds far above any real model, so that a hostile config cannot ask for absurd work.
pub(crate) const MAX_LAYERS: u64 = 1 << 14;
pub(crate) const MAX_HEADS: u64 = 1 << 16;
pub(crate) const MAX_WIDTH: u64 = 1 << 24;

/// Where a model class documents a value for a key that the config leaves out.
///
/// The library that saves a model writes every key of a whole model, but only the differing ones of
/// a text model nested in a wrapper: so the sizes here count for nested configs only, the rest
/// always.
pub(crate) struct ClassDefaults {
    pub(crate) vocabulary: u64,
    pub(crate) layers: u64,
    pub(crate) embedding: u64,
    pub(crate) feed_forward: u64,
    pub(crate) heads: u64,
    /// `None`: as many as `heads`.
    pub(crate) kv_heads: Option<u64>,
    /// `None`: `embedding / heads`.
    pub(crate) head_dim: Option<u64>,
    /// Whether files of this class always say how large a head is.
    pub(crate) states_head_dim: bool,
    pub(crate) context: u64,
    pub(crate) rope_theta: f64,
    pub(crate) epsilon: Epsilon<f64>,
}

/// What keeps norms from dividing by zero, by the kind of norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Epsilon<T> {
    /// Of root mean square norms.
    Rms(T),
    /// Of layer norms.
    Layer(T),
}

/// Checked sizes: everything is positive, head counts divide, `head_dim` is even. (The default has
/// no size at all.)
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Hparams {
    pub(crate) layers: u64,
    pub(crate) context: u64,
    pub(crate) embedding: u64,
    pub(crate) feed_forward: u64,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    /// Rows of one head in the query and key projections.
    pub(crate) head_dim: u64,
    /// Whether to write `head_dim`: config or class state it, or it does not follow from the rest.
    pub(crate) head_dim_stated: bool,
    pub(crate) epsilon: Option<Epsilon<f32>>,
    /// The mixture of experts, if it is one.
    pub(crate) experts: Option<Experts>,
    /// The latent attention, if it is one.
    pub(crate) latent: Option<Latent>,
    /// Whether attention looks back only.
    pub(crate) causal: bool,
}

impl Hparams {
    /// Reads and checks the sizes.
    ///
    /// # Errors
    /// `Malformed`, naming the key that is missing, of the wrong type or makes no sense.
    pub(crate) fn read(config: &ModelConfig, class: &ClassDefaults) -> Result<Self> {
        let size = |keys: &[&str], default: u64, max: u64| -> Result<u64> {
            let default = config.is_nested().then_some(default);
            bounded(config, keys, default, max)
        };
        let heads = size(&["num_attention_heads", "n_head", "n_heads"], class.heads, MAX_HEADS)?;
        let embedding = size(&["hidden_size", "n_embd", "dim"], class.embedding, MAX_WIDTH)?;
        let kv_keys = ["num_key_value_heads", "n_kv_heads", "num_kv_heads"];
        // An explicit null asks for one key head per query head.
        let stated = kv_keys.iter().any(|key| config.is_stated(key));
        let kv_default = class.kv_heads.filter(|_| !stated).unwrap_or(heads);
        let kv_heads = bounded(config, &kv_keys, Some(kv_default), MAX_HEADS)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::malformed(format!(
                "`num_attention_heads` in {} is {heads}, which is no multiple of `num_key_value_heads`, {kv_heads}",
                config.place_of(&["num_attention_heads"])
            )));
        }
        let (head_dim, head_dim_stated) = head_dim(config, class, embedding, heads)?;
        let context_keys = [
            "max_position_embeddings",
            "n_ctx",
            "n_positions",
            "max_sequence_length",
            "model_max_length",
        ];
        let feed_forward = ["intermediate_size", "n_inner", "hidden_dim"];
        Ok(Self {
            layers: size(
                &["num_hidden_layers", "n_layer", "num_layers", "n_layers"],
                class.layers,
                MAX_LAYERS,
            )?,
            context: bounded(config, &context_keys, Some(class.context), u32::MAX.into())?,
            embedding,
            feed_forward: size(&feed_forward, class.feed_forward, MAX_WIDTH)?,
            heads,
            kv_heads,
            head_dim,
            head_dim_stated,
            epsilon: Some(class.epsilon.read(config)?),
            experts: Experts::read(config)?,
            latent: None,
            causal: config.bool(&["is_causal"])?.unwrap_or(true),
        })
    }

    /// Number of experts to choose from; 0 if there are none.
    pub(crate) fn expert_count(&self) -> u64 {
        self.experts.as_ref().map_or(0, |experts| experts.count)
    }

    /// The number of tokens, for the architectures that write it.
    ///
    /// # Errors
    /// `Malformed`, naming the key.
    pub(crate) fn vocabulary(config: &ModelConfig, class: &ClassDefaults) -> Result<u64> {
        let default = config.is_nested().then_some(class.vocabulary);
        bounded(config, &["vocab_size"], default, u32::MAX.into())
    }

    /// For architectures whose runtimes know only heads that together are as wide as the model.
    ///
    /// # Errors
    /// `Unsupported` if the heads are not.
    pub(crate) fn with_plain_heads(self, config: &ModelConfig, arch: &str) -> Result<Self> {
        if self.heads.checked_mul(self.head_dim) != Some(self.embedding) {
            return Err(Error::unsupported(format!(
                "`head_dim` in {} is {}: runtimes know only `hidden_size` / `num_attention_heads` for `{arch}`",
                config.place_of(&["head_dim"]),
                self.head_dim
            )));
        }
        Ok(self)
    }

    /// Writes the keys that every decoder of this kind has.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write(&self, arch: &str, rope: &Rope, out: &mut Meta) -> Result<()> {
        self.write_sizes(arch, out)?;
        rope.write(arch, out)
    }

    /// The same without those of rotary embeddings.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write_sizes(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.{name}");
        out.set_count(key("block_count"), self.layers)?;
        out.set_count(key("context_length"), self.context)?;
        out.set_count(key("embedding_length"), self.embedding)?;
        out.set_count(key("feed_forward_length"), self.feed_forward)?;
        out.set_count(key("attention.head_count"), self.heads)?;
        out.set_count(key("attention.head_count_kv"), self.kv_heads)?;
        if !self.causal {
            out.set(key("attention.causal"), false);
        }
        match self.epsilon {
            Some(Epsilon::Rms(epsilon)) => {
                out.set(key("attention.layer_norm_rms_epsilon"), epsilon)
            }
            Some(Epsilon::Layer(epsilon)) => out.set(key("attention.layer_norm_epsilon"), epsilon),
            None => {}
        }
        if let Some(experts) = &self.experts {
            experts.write(arch, out)?;
        }
        if self.head_dim_stated {
            out.set_count(key("attention.key_length"), self.head_dim)?;
            out.set_count(key("attention.value_length"), self.head_dim)?;
        }
        Ok(())
    }
}

impl Epsilon<f64> {
    /// The value of the config, or else this one.
    pub(super) fn read(self, config: &ModelConfig) -> Result<Epsilon<f32>> {
        let (keys, default): (&[&str], f64) = match self {
            Self::Rms(default) => (&["rms_norm_eps", "norm_eps"], default),
            Self::Layer(default) => {
                (&["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "rms_norm_eps"], default)
            }
        };
        let key = keys.first().unwrap_or(&"");
        let value = config.f64(keys)?.unwrap_or(default);
        if value < 0.0 {
            return Err(Error::malformed(format!(
                "`{key}` in {} is {value}, which is negative",
                config.place_of(keys)
            )));
        }
        let value = float(key, value)?;
        Ok(match self {
            Self::Rms(_) => Epsilon::Rms(value),
            Self::Layer(_) => Epsilon::Layer(value),
        })
    }
}

/// The size of a head and whether it must be written.
fn head_dim(
    config: &ModelConfig,
    class: &ClassDefaults,
    embedding: u64,
    heads: u64,
) -> Result<(u64, bool)> {
    let given = config.u64(&["head_dim"])?.is_some();
    let divides = embedding.is_multiple_of(heads);
    let derived = divides.then(|| embedding / heads);
    if !given && class.head_dim.or(derived).is_none() {
        return Err(Error::malformed(format!(
            "`hidden_size` in {} is {embedding}, which is no multiple of `num_attention_heads`, {heads}, and there is no `head_dim`",
            config.place_of(&["hidden_size"])
        )));
    }
    let dim = bounded(config, &["head_dim"], class.head_dim.or(derived), MAX_HEADS)?;
    if dim % 2 != 0 {
        return Err(Error::malformed(format!(
            "the size of an attention head (`head_dim` in `config.json`, or `hidden_size` / `num_attention_heads`) is {dim}; rotary embeddings need an even number"
        )));
    }
    Ok((dim, given || class.states_head_dim || derived != Some(dim)))
}

/// The positive integer under the first of `keys`.
pub(crate) fn bounded(
    config: &ModelConfig,
    keys: &[&str],
    default: Option<u64>,
    max: u64,
) -> Result<u64> {
    let value = match (config.u64(keys)?, default) {
        (Some(value), _) | (None, Some(value)) => value,
        (None, None) => config.require_u64(keys)?,
    };
    if (1..=max).contains(&value) {
        return Ok(value);
    }
    let found = keys.iter().find(|key| config.value(&[key]).is_some()).or(keys.first());
    Err(Error::malformed(format!(
        "`{}` in {} is {value}, expected 1 to {max}",
        found.unwrap_or(&""),
        config.place_of(keys)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CLASS: ClassDefaults = ClassDefaults {
        vocabulary: 1000,
        layers: 3,
        embedding: 96,
        feed_forward: 200,
        heads: 6,
        kv_heads: Some(2),
        head_dim: None,
        states_head_dim: false,
        context: 512,
        rope_theta: 10_000.0,
        epsilon: Epsilon::Rms(1e-6),
    };

    /// A good config with some keys set; `"-"` removes one.
    fn config(changes: &[(&str, Value)]) -> ModelConfig {
        let mut keys = json!({
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100,
            "max_position_embeddings": 256,
        });
        let Some(map) = keys.as_object_mut() else { unreachable!() };
        for (key, value) in changes {
            match value == "-" {
                true => map.remove(*key),
                false => map.insert((*key).to_owned(), value.clone()),
            };
        }
        ModelConfig::from_map(map.clone())
    }

    fn read(changes: &[(&str, Value)], class: &ClassDefaults) -> Result<Hparams> {
        Hparams::vocabulary(&config(changes), class)?;
        Hparams::read(&config(changes), class)
    }

    #[test]
    fn absurd_values_are_refused_by_name() {
        let bad = [0u64.into(), json!(-1), json!(1.5), json!("4"), json!([4]), json!(1u64 << 40)];
        for key in [
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "intermediate_size",
            "vocab_size",
            "max_position_embeddings",
            "head_dim",
        ] {
            for value in &bad {
                let error = read(&[(key, value.clone())], &CLASS).err().map(|e| e.to_string());
                assert!(error.is_some_and(|e| e.contains(key)), "{key} {value}");
            }
        }
        let epsilon = |value: Value| read(&[("rms_norm_eps", value)], &CLASS);
        for value in [json!(-1e-6), json!(1e300), json!("x")] {
            let error = epsilon(value.clone()).err().map(|e| e.to_string());
            assert!(error.is_some_and(|e| e.contains("rms_norm_eps")), "{value}");
        }
        assert_eq!(epsilon(Value::Null).map(|h| h.epsilon).ok(), Some(Some(Epsilon::Rms(1e-6))));
    }

    #[test]
    fn sizes_must_fit_each_other() {
        let message = |changes: &[(&str, Value)]| {
            read(changes, &CLASS).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(message(&[("num_key_value_heads", json!(3))]).contains("num_key_value_heads"));
        assert!(message(&[("hidden_size", json!(66))]).contains("hidden_size"));
        assert!(message(&[("hidden_size", json!(68))]).contains("even"));
        assert!(message(&[("head_dim", json!(15))]).contains("even"));
        let own = read(&[("hidden_size", json!(66)), ("head_dim", json!(24))], &CLASS);
        assert_eq!(own.map(|h| (h.head_dim, h.head_dim_stated)).ok(), Some((24, true)));
    }

    #[test]
    fn missing_sizes_come_from_the_class_only_in_nested_configs() {
        for key in [
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "vocab_size",
        ] {
            let error = read(&[(key, json!("-"))], &CLASS).err().map(|e| e.to_string());
            assert!(error.is_some_and(|e| e.contains(key)), "{key}");
        }
        let json = json!({"text_config": {"hidden_size": 48}});
        let nested = json.as_object().cloned().map(ModelConfig::from_map).unwrap_or_default();
        let hparams = Hparams::read(&nested, &CLASS);
        let sizes = |h: Hparams| (h.layers, h.embedding, h.heads, h.kv_heads, h.head_dim);
        assert_eq!(hparams.map(sizes).ok(), Some((3, 48, 6, 2, 8)));
    }

    #[test]
    fn key_heads_default_to_the_class_unless_null() {
        let kv = |value| read(&[("num_key_value_heads", value)], &CLASS).map(|h| h.kv_heads).ok();
        assert_eq!(kv(json!("-")), Some(2));
        assert_eq!(kv(Value::Null), Some(4));
        let equal = ClassDefaults { kv_heads: None, ..CLASS };
        let read = read(&[("num_key_value_heads", json!("-"))], &equal);
        assert_eq!(read.map(|h| h.kv_heads).ok(), Some(4));
    }

    #[test]
    fn head_size_is_stated_where_it_cannot_be_derived() {
        let dim = |changes: &[(&str, Value)], class: &ClassDefaults| {
            read(changes, class).map(|h| (h.head_dim, h.head_dim_stated)).ok()
        };
        let fixed = ClassDefaults { head_dim: Some(128), ..CLASS };
        assert_eq!(dim(&[], &CLASS), Some((16, false)));
        assert_eq!(dim(&[("head_dim", Value::Null)], &CLASS), Some((16, false)));
        assert_eq!(dim(&[("head_dim", json!(16))], &CLASS), Some((16, true)));
        assert_eq!(dim(&[], &fixed), Some((128, true)));
        let stating = ClassDefaults { states_head_dim: true, ..CLASS };
        assert_eq!(dim(&[], &stating), Some((16, true)));
    }
}
