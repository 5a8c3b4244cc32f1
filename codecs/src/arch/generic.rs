//! Any model, for other tools than llama.cpp: tensors under the names of the source, the config as
//! it is. No runtime loads such a file as a model, and it says so.
//!
//! Keys: `generic.source_architecture` (class name), `generic.config` (the whole `config.json`) and
//! `generic.config.<path>` for each of its numbers, texts and truth values, see [`Generic`].
//!
//! Names of more than 63 bytes, which GGUF does not allow, become 16 hexadecimal digits of their BLAKE3
//! hash, a dot and as much of their end as fits.
//!
//! Accepted classes: none; it has to be asked for by name.
//! Limits: tensors of elements that are no numbers to compute with cannot be held.

use gmat_core::arch::{ModelArch, Part, Placement, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;
use serde_json::Value;

/// The stand-in for an architecture that nobody described yet.
struct Generic;

register_arch!(Generic);

/// Most values of the config that get keys of their own; larger configs are there as text only.
const KEYS: usize = 1000;

/// Deepest nesting of such values.
const DEPTH: usize = 8;

impl ModelArch for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &[]
    }

    fn caveat(&self) -> Option<&'static str> {
        Some(
            "the file keeps the names of the source (`--arch generic`): no runtime loads it as a model",
        )
    }

    fn place(&self, tensor: &str, _: &ModelConfig) -> Result<Option<Placement>> {
        Ok(Some(Placement::Parts(vec![Part::whole(short(tensor)).viewed(View::WHOLE.flat())])))
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        if let Some(class) = config.architecture() {
            out.set("generic.source_architecture", class);
        }
        let text = serde_json::to_string(config.root())
            .map_err(|e| Error::malformed("`config.json` cannot be written").with_source(e))?;
        out.set("generic.config", text);
        let mut values = Vec::new();
        for (key, value) in config.root() {
            flatten(&format!("generic.config.{key}"), value, DEPTH, &mut values);
        }
        if values.len() <= KEYS {
            values.into_iter().for_each(|(key, value)| set(key, value, out));
        }
        Ok(())
    }
}

/// A name that GGUF allows.
fn short(tensor: &str) -> String {
    const MOST: usize = 63;
    if tensor.len() <= MOST {
        return tensor.to_owned();
    }
    let hash: String = blake3::hash(tensor.as_bytes()).to_hex().chars().take(16).collect();
    let ends = (0..tensor.len()).filter(|&at| tensor.is_char_boundary(at));
    let ends = ends.filter_map(|at| tensor.get(at..));
    let end = ends.into_iter().find(|end| end.len() + 17 <= MOST).unwrap_or_default();
    format!("{hash}.{end}")
}

/// Collects the single values below a key, until there are too many.
fn flatten<'v>(key: &str, value: &'v Value, depth: usize, out: &mut Vec<(String, &'v Value)>) {
    match value {
        Value::Object(inner) if depth > 0 => {
            for (name, value) in inner {
                if out.len() <= KEYS {
                    flatten(&format!("{key}.{name}"), value, depth - 1, out);
                }
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push((key.to_owned(), value)),
        _ => {}
    }
}

fn set(key: String, value: &Value, out: &mut Meta) {
    match value {
        Value::Bool(truth) => out.set(key, *truth),
        Value::String(text) => out.set(key, text.as_str()),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(count), ..) => match u32::try_from(count) {
                Ok(small) => out.set(key, small),
                Err(_) => out.set(key, count),
            },
            (_, Some(negative), _) => match i32::try_from(negative) {
                Ok(small) => out.set(key, small),
                Err(_) => out.set(key, number.to_string()),
            },
            (.., Some(real)) => {
                #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the point")]
                let rounded = real as f32;
                out.set(key, rounded);
            }
            _ => {}
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(config: &Value) -> Vec<String> {
        let config = ModelConfig::from_map(config.as_object().cloned().unwrap_or_default());
        let mut out = Meta::new();
        assert!(Generic.metadata(&config, &mut out).is_ok());
        out.entries().iter().map(|(key, value)| format!("{key}={value:?}")).collect()
    }

    #[test]
    fn the_config_is_there_value_by_value() {
        let keys = written(&json!({"architectures": ["Foo"], "a": {"b": -3, "c": [1]}, "d": 0.5,
            "e": true, "f": null, "g": 5_000_000_000u64, "h": -5_000_000_000i64}));
        for key in [
            "generic.config.a.b=I32(-3)",
            "generic.config.d=F32(0.5)",
            "generic.config.e=Bool(true)",
            "generic.config.g=U64(5000000000)",
        ] {
            assert!(keys.iter().any(|k| k == key), "{key}: {keys:?}");
        }
        assert!(keys.iter().any(|key| key.starts_with("generic.source_architecture=")));
        assert!(keys.iter().any(|key| key.starts_with("generic.config=String")));
        assert!(!keys.iter().any(|key| key.starts_with("generic.config.f")));
    }

    #[test]
    fn long_names_stay_apart_and_fit() {
        let long = |c: char| short(&format!("{c}{}.weight", "ä.".repeat(40)));
        let (a, b) = (long('a'), long('b'));
        assert_ne!(a, b);
        assert!(a.len() <= 63 && a.len() > 58 && a.ends_with("ä.ä..weight"), "{a}");
        assert_eq!(short("model.norm.weight"), "model.norm.weight");
    }

    #[test]
    fn a_huge_config_is_text_only() {
        let mut large = serde_json::Map::new();
        for number in 0..5000 {
            large.insert(format!("k{number}"), json!({"x": number}));
        }
        assert_eq!(written(&Value::Object(large)).len(), 1);
    }
}
