//! Attention that looks back over a window only, in some of the layers.
//!
//! Config keys: those of the model classes of the `transformers` library. GGUF keys:
//! `attention.sliding_window` and `attention.sliding_window_pattern` of the ggml project's files.

use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::{Array, Meta, Value};

use super::hparams::bounded;

/// The window and the layers that have it.
pub(crate) struct Sliding {
    window: u64,
    /// For every layer whether it is among them.
    layers: Vec<bool>,
    /// Every layer of that number has none if nothing else is said; what runtimes assume.
    period: u64,
}

/// Whether a file says which layers have the window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Always.
    Stated,
    /// If they are not those that runtimes assume.
    Implied,
}

impl Sliding {
    /// Reads window and layers. `period`: in models of this class all layers but every `period`-th
    /// have the window, and runtimes assume so.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Unsupported` for a kind of attention that is not known.
    pub(crate) fn read(
        config: &ModelConfig,
        window: Option<u64>,
        period: u64,
        layers: u64,
    ) -> Result<Option<Self>> {
        // A window that is null is none, whatever the class has.
        let window = window.filter(|_| !config.is_stated("sliding_window"));
        if config.u64(&["sliding_window"])?.or(window).is_none() {
            return Ok(None);
        }
        let window = bounded(config, &["sliding_window"], window, u32::MAX.into())?;
        let keys = ["sliding_window_pattern", "_sliding_window_pattern"];
        let layers = match config.value(&["layer_types"]) {
            Some(types) => listed(types, layers)?,
            None => {
                let period = bounded(config, &keys, Some(period), u32::MAX.into())?;
                (1..=layers).map(|layer| !layer.is_multiple_of(period)).collect()
            }
        };
        // As good as none.
        Ok(layers.contains(&true).then_some(Self { window, layers, period }))
    }

    /// Writes the keys.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write(&self, arch: &str, pattern: Pattern, out: &mut Meta) -> Result<()> {
        out.set_count(format!("{arch}.attention.sliding_window"), self.window)?;
        let assumed = (1..).map(|layer: u64| !layer.is_multiple_of(self.period));
        if pattern == Pattern::Stated
            || self.layers.iter().copied().ne(assumed.take(self.layers.len()))
        {
            let layers = Value::Array(Array::Bool(self.layers.clone()));
            out.set(format!("{arch}.attention.sliding_window_pattern"), layers);
        }
        Ok(())
    }
}

/// Which layers a list of kinds gives the window.
fn listed(types: &serde_json::Value, layers: u64) -> Result<Vec<bool>> {
    let list = types.as_array().filter(|list| list.len() as u64 == layers).ok_or_else(|| {
        Error::malformed(format!("`layer_types` in `config.json` is no list of {layers} layers"))
    })?;
    let kind = |kind: &serde_json::Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(Error::unsupported(format!(
            "`layer_types` in `config.json` has {kind}; known are full_attention and sliding_attention"
        ))),
    };
    list.iter().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gmat_core::ErrorKind;
    use serde_json::json;

    fn written(keys: &serde_json::Value, pattern: Pattern) -> Result<Vec<String>> {
        let config = ModelConfig::from_map(keys.as_object().cloned().unwrap_or_default());
        let mut out = Meta::new();
        if let Some(sliding) = Sliding::read(&config, Some(4096), 2, 4)? {
            sliding.write("a", pattern, &mut out)?;
        }
        Ok(out.entries().iter().map(|(key, value)| format!("{key}={value:?}")).collect())
    }

    #[test]
    fn layers_are_written_where_runtimes_assume_others() {
        let window = "a.attention.sliding_window=U32(8)".to_owned();
        let layers =
            |list: [bool; 4]| format!("a.attention.sliding_window_pattern=Array(Bool({list:?}))");
        let usual = [true, false, true, false];
        let of = |keys: serde_json::Value, pattern| written(&keys, pattern).unwrap_or_default();
        let config = json!({"sliding_window": 8});
        assert_eq!(of(config.clone(), Pattern::Implied), std::slice::from_ref(&window));
        assert_eq!(of(config, Pattern::Stated), [window.clone(), layers(usual)]);
        let config = json!({"sliding_window": 8, "sliding_window_pattern": 3});
        let expected = [window.clone(), layers([true, true, false, true])];
        assert_eq!(of(config, Pattern::Implied), expected);
        let (s, f) = ("sliding_attention", "full_attention");
        let config = json!({"sliding_window": 8, "layer_types": [f, s, s, s]});
        let expected = [window.clone(), layers([false, true, true, true])];
        assert_eq!(of(config, Pattern::Implied), expected);
        let config = json!({"sliding_window": 8, "layer_types": [s, f, s, f]});
        assert_eq!(of(config, Pattern::Implied), [window]);
        for none in [
            json!({"sliding_window": null}),
            json!({"sliding_window": 8, "sliding_window_pattern": 1}),
            json!({"sliding_window": 8, "layer_types": [f, f, f, f]}),
        ] {
            assert_eq!(of(none, Pattern::Stated), [""; 0]);
        }
        assert_eq!(of(json!({}), Pattern::Implied), ["a.attention.sliding_window=U32(4096)"]);
    }

    #[test]
    fn wrong_lists_are_refused() {
        let kind = |types| {
            let error = written(&json!({"layer_types": types}), Pattern::Implied).err();
            error.map(|error| error.kind())
        };
        assert_eq!(kind(json!(["full_attention"])), Some(ErrorKind::Malformed));
        assert_eq!(kind(json!(7)), Some(ErrorKind::Malformed));
        assert_eq!(kind(json!(["chunked_attention", 1, 2, 3])), Some(ErrorKind::Unsupported));
    }
}
