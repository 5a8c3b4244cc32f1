//! The `metadata` block of `import_config.json`: what a model is, in a handful of plain keys.
//!
//! For people to read and edit: an export takes its numbers from the whole `config.json`, with what
//! was edited here laid over it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ModelConfig;
use crate::error::{Error, Result};

/// What kind of value a key may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Number,
    Text,
    Truth,
}

/// A key of the block and the names under which configs have it, the first found wins.
struct Field {
    name: &'static str,
    kind: Kind,
    aliases: &'static [&'static str],
}

const fn field(name: &'static str, kind: Kind, aliases: &'static [&'static str]) -> Field {
    Field { name, kind, aliases }
}

/// The key for the name of the model's class, a list in configs.
const CLASS: &str = "architecture";

/// Encoder-decoder models count for their decoder; GPT-2 has names of its own.
const FIELDS: &[Field] = &[
    field("vocab_size", Kind::Integer, &["vocab_size", "n_vocab"]),
    field("hidden_size", Kind::Integer, &["hidden_size", "d_model", "n_embd"]),
    field(
        "num_layers",
        Kind::Integer,
        &["num_layers", "num_hidden_layers", "decoder_layers", "n_layer", "n_layers"],
    ),
    field(
        "num_attention_heads",
        Kind::Integer,
        &["num_attention_heads", "num_heads", "decoder_attention_heads", "n_head", "n_heads"],
    ),
    field("num_key_value_heads", Kind::Integer, &["num_key_value_heads", "n_kv_heads"]),
    field("head_dim", Kind::Integer, &["head_dim", "d_kv"]),
    field(
        "intermediate_size",
        Kind::Integer,
        &["intermediate_size", "d_ff", "decoder_ffn_dim", "n_inner", "ffn_hidden_size"],
    ),
    field(
        "max_position_embeddings",
        Kind::Integer,
        &["max_position_embeddings", "n_positions", "max_target_positions", "n_ctx"],
    ),
    field("sliding_window", Kind::Integer, &["sliding_window"]),
    field("num_experts", Kind::Integer, &["num_experts", "num_local_experts", "n_routed_experts"]),
    field("num_experts_per_tok", Kind::Integer, &["num_experts_per_tok"]),
    field("rope_theta", Kind::Number, &["rope_theta"]),
    field("rms_norm_eps", Kind::Number, &["rms_norm_eps"]),
    field(
        "layer_norm_eps",
        Kind::Number,
        &["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"],
    ),
    field("tie_word_embeddings", Kind::Truth, &["tie_word_embeddings"]),
    field("torch_dtype", Kind::Text, &["torch_dtype", "dtype"]),
    field("model_type", Kind::Text, &["model_type"]),
];

/// The block for a model with that `config.json` and that `__metadata__` of its SafeTensors file,
/// which fills in what the config does not say. Values of the wrong kind are left out.
#[must_use]
pub fn extract(
    config: Option<&ModelConfig>,
    safetensors_metadata: &BTreeMap<String, String>,
) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    let class = config.and_then(ModelConfig::architecture).map(str::to_owned);
    let class = class
        .or_else(|| config?.value(&["model_type"])?.as_str().map(str::to_owned))
        .or_else(|| embedded_class(safetensors_metadata));
    if let Some(class) = class {
        out.insert(CLASS.to_owned(), Value::from(class));
    }
    for field in FIELDS {
        let stated = field.aliases.iter().find_map(|alias| from_config(config?, field, alias));
        let value = stated.or_else(|| {
            field.aliases.iter().find_map(|alias| {
                let text = safetensors_metadata.get(*alias)?;
                Some(parsed(text)).filter(|value| field.accepts(value))
            })
        });
        if let Some(value) = value {
            out.insert(field.name.to_owned(), value);
        }
    }
    out
}

/// What [`extract`] leaves out because it is of the wrong kind, in words: mostly numbers written as
/// texts.
#[must_use]
pub fn odd(config: &ModelConfig) -> Vec<String> {
    let wrong = |field: &Field| {
        let alias = field.aliases.iter().find(|alias| config.value(&[alias]).is_some())?;
        let value = config.value(&[alias]).filter(|value| !field.accepts(value))?;
        let shown: String = value.to_string().chars().take(60).collect();
        Some(format!(
            "`{alias}` in `config.json` is `{shown}`, expected {}: it is not used",
            field.kind.describe()
        ))
    };
    FIELDS.iter().filter_map(wrong).collect()
}

/// Checks what a user wrote in the block. Keys that are not known may hold anything, and null says
/// nothing.
///
/// # Errors
/// `Config`, naming key and value, if a value is not of the kind that its key wants.
pub fn validate(block: &BTreeMap<String, Value>) -> Result<()> {
    let class = field(CLASS, Kind::Text, &[]);
    for field in FIELDS.iter().chain([&class]) {
        let Some(value) = block.get(field.name).filter(|value| !value.is_null()) else { continue };
        if !field.accepts(value) {
            let shown: String = value.to_string().chars().take(60).collect();
            return Err(Error::config(format!(
                "`metadata.{}` is `{shown}`, expected {}",
                field.name,
                field.kind.describe()
            )));
        }
    }
    Ok(())
}

/// The config with the user's edits: the values of the block that are not what [`extract`] finds in
/// the config. An edit replaces the key under every name that the config has for it; keys that are
/// not known go in as they are.
#[must_use]
pub fn edited(config: &ModelConfig, block: &BTreeMap<String, Value>) -> ModelConfig {
    let found = extract(Some(config), &BTreeMap::new());
    let mut out = config.clone();
    for (name, value) in block {
        let before = found.get(name).or_else(|| config.value(&[name]));
        if value.is_null() || before.is_some_and(|before| same(before, value)) {
            continue;
        }
        if name == CLASS {
            out.set("architectures", Value::from(vec![value.clone()]));
            continue;
        }
        let known = FIELDS.iter().find(|field| field.name == name);
        let aliases = known.map_or(&[][..], |field| field.aliases);
        let mut present = false;
        for alias in aliases.iter().filter(|alias| config.value(&[alias]).is_some()) {
            out.set(alias, value.clone());
            present = true;
        }
        if !present {
            out.set(name, value.clone());
        }
        if name == "rope_theta" {
            set_nested_theta(&mut out, value);
        }
    }
    out
}

/// Values that mean the same: `1` and `1.0` do.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|number| b.as_f64() == Some(number))
}

/// Replaces the base in the objects that hold the parameters of rotary embeddings, where it would
/// win over the plain key. Models with two kinds of layers have one set for each; the common key
/// stands for the layers with full attention.
fn set_nested_theta(config: &mut ModelConfig, theta: &Value) {
    for key in ["rope_parameters", "rope_scaling"] {
        let Some(Value::Object(mut object)) = config.value(&[key]).cloned() else { continue };
        let full = object.get_mut("full_attention").and_then(Value::as_object_mut);
        if let Some(old) = full.and_then(|full| full.get_mut("rope_theta")) {
            *old = theta.clone();
        }
        if let Some(old) = object.get_mut("rope_theta") {
            *old = theta.clone();
        }
        config.set(key, Value::Object(object));
    }
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::Integer => "a non-negative integer",
            Self::Number => "a number that is not negative",
            Self::Text => "a text that is not empty",
            Self::Truth => "true or false",
        }
    }
}

impl Field {
    fn accepts(&self, value: &Value) -> bool {
        match self.kind {
            Kind::Integer => value.is_u64(),
            Kind::Number => value.as_f64().is_some_and(|number| number >= 0.0),
            Kind::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Kind::Truth => value.is_boolean(),
        }
    }
}

fn from_config(config: &ModelConfig, field: &Field, alias: &str) -> Option<Value> {
    let direct = config.value(&[alias]).filter(|value| field.accepts(value));
    // Newer configs keep everything about rotary embeddings in an object of its own.
    let rope = || {
        let object = config.value(&["rope_parameters"])?;
        object.get(alias).filter(|value| field.name == "rope_theta" && field.accepts(value))
    };
    direct.or_else(rope).cloned()
}

fn embedded_class(metadata: &BTreeMap<String, String>) -> Option<String> {
    let listed = metadata.get("architectures").map(|text| {
        // A JSON list, or the name itself.
        let list: Option<Vec<String>> = serde_json::from_str(text).ok();
        list.and_then(|names| names.into_iter().next()).unwrap_or_else(|| text.clone())
    });
    listed
        .or_else(|| metadata.get("architecture").cloned())
        .or_else(|| metadata.get("model_type").cloned())
        .filter(|class| !class.is_empty())
}

/// `__metadata__` holds strings only: one that reads as an integer, a number or a truth value is
/// meant as that.
fn parsed(text: &str) -> Value {
    let trimmed = text.trim();
    if let Ok(integer) = trimmed.parse::<i64>() {
        return Value::from(integer);
    }
    if let Ok(integer) = trimmed.parse::<u64>() {
        return Value::from(integer);
    }
    if let Some(number) = trimmed.parse::<f64>().ok().filter(|number| number.is_finite()) {
        return Value::from(number);
    }
    match trimmed {
        "true" | "True" => Value::from(true),
        "false" | "False" => Value::from(false),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn block(json: Option<&str>, metadata: &[(&str, &str)]) -> String {
        let config = json.and_then(|json| ModelConfig::parse(json.as_bytes()).ok());
        let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        serde_json::to_string(&extract(config.as_ref(), &metadata)).unwrap_or_default()
    }

    #[test]
    fn names_of_three_generations() {
        let llama = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":8,
            "hidden_size":4,"num_hidden_layers":2,"rope_parameters":{"rope_theta":1e4},"dtype":"float16",
            "num_key_value_heads":null}"#;
        assert_eq!(
            block(Some(llama), &[]),
            r#"{"architecture":"LlamaForCausalLM","hidden_size":4,"model_type":"llama","num_layers":2,"rope_theta":10000.0,"torch_dtype":"float16","vocab_size":8}"#
        );
        let gpt2 =
            r#"{"model_type":"gpt2","n_embd":4,"n_layer":1,"n_head":2,"n_ctx":9,"n_inner":null}"#;
        assert_eq!(
            block(Some(gpt2), &[]),
            r#"{"architecture":"gpt2","hidden_size":4,"max_position_embeddings":9,"model_type":"gpt2","num_attention_heads":2,"num_layers":1}"#
        );
        let bart = r#"{"architectures":["B"],"d_model":4,"decoder_layers":3,"encoder_layers":9,
            "decoder_attention_heads":2,"decoder_ffn_dim":16,"max_target_positions":7}"#;
        assert_eq!(
            block(Some(bart), &[]),
            r#"{"architecture":"B","hidden_size":4,"intermediate_size":16,"max_position_embeddings":7,"num_attention_heads":2,"num_layers":3}"#
        );
    }

    #[test]
    fn nested_configs_speak_for_their_text_model() {
        let wrapper = r#"{"architectures":["VL"],"hidden_size":1,
            "text_config":{"hidden_size":2,"architectures":null,"num_attention_heads":"x"}}"#;
        assert_eq!(block(Some(wrapper), &[]), r#"{"architecture":"VL","hidden_size":2}"#);
    }

    fn map(value: Value) -> BTreeMap<String, Value> {
        value.as_object().cloned().unwrap_or_default().into_iter().collect()
    }

    fn with_edits(config: Value, block: Value) -> ModelConfig {
        let config = ModelConfig::from_map(config.as_object().cloned().unwrap_or_default());
        edited(&config, &map(block))
    }

    #[test]
    fn edits_replace_the_name_in_use() {
        let gpt2 = json!({"n_embd": 4, "n_ctx": 9, "n_positions": 9, "n_layer": 1});
        let config = with_edits(
            gpt2,
            json!({"hidden_size": 8, "max_position_embeddings": 7, "head_dim": 2}),
        );
        for (key, value) in [("n_embd", 8), ("n_ctx", 7), ("n_positions", 7), ("head_dim", 2)] {
            assert_eq!(config.u64(&[key]).ok().flatten(), Some(value), "{key}");
        }
        assert!(!config.is_stated("hidden_size") && !config.is_stated("max_position_embeddings"));
        let nested = json!({"hidden_size": 1, "text_config": {"hidden_size": 2}});
        let nested = with_edits(nested, json!({"hidden_size": 3}));
        assert_eq!(nested.u64(&["hidden_size"]).ok().flatten(), Some(3));
    }

    #[test]
    fn what_is_not_edited_stays_as_it_is() {
        let config = json!({"architectures": ["A"], "num_hidden_layers": 2, "rope_theta": 10000,
            "rope_parameters": {"rope_theta": 5.0}, "num_key_value_heads": null, "odd": [1]});
        let same = json!({"architecture": "A", "num_layers": 2, "rope_theta": 1e4, "odd": [1],
            "num_key_value_heads": null, "vocab_size": null});
        assert_eq!(
            Some(&with_edits(config.clone(), same)),
            config.as_object().cloned().map(ModelConfig::from_map).as_ref()
        );
    }

    #[test]
    fn a_class_and_a_rotary_base_can_be_edited() {
        let config = json!({"architectures": ["A"], "model_type": "a", "rope_parameters":
            {"rope_theta": 1.0, "full_attention": {"rope_theta": 2.0, "factor": 3}}});
        let config =
            with_edits(config, json!({"architecture": "B", "rope_theta": 7, "extra": "x"}));
        assert_eq!(config.architecture(), Some("B"));
        assert_eq!(
            config.value(&["rope_parameters"]),
            Some(&json!({"rope_theta": 7, "full_attention": {"rope_theta": 7, "factor": 3}}))
        );
        assert_eq!(config.value(&["rope_theta"]), Some(&json!(7)));
        assert_eq!(config.str(&["extra"]).ok().flatten(), Some("x"));
    }

    #[test]
    fn wrong_kinds_are_named() {
        let error = |block: Value| validate(&map(block)).err().map(|e| e.to_string());
        for (key, bad) in [
            ("num_layers", json!(-1)),
            ("hidden_size", json!(1.5)),
            ("vocab_size", json!("many")),
            ("rope_theta", json!("10000")),
            ("rms_norm_eps", json!(-1e-5)),
            ("tie_word_embeddings", json!(1)),
            ("torch_dtype", json!(16)),
            ("architecture", json!(["A"])),
        ] {
            let said = error(json!({ key: bad })).unwrap_or_default();
            assert!(said.starts_with(&format!("`metadata.{key}` is `{bad}`, expected ")), "{said}");
        }
        let fine = json!({"num_layers": 2, "rope_theta": 10000, "head_dim": null, "mine": [-1],
            "tie_word_embeddings": false, "architecture": "A"});
        assert_eq!(error(fine), None);
    }

    #[test]
    fn what_is_left_out_is_told() {
        let config = json!({"hidden_size": "256", "num_hidden_layers": 2, "head_dim": null,
            "rope_theta": [1]});
        let config = ModelConfig::from_map(config.as_object().cloned().unwrap_or_default());
        let told = odd(&config);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("`hidden_size` in `config.json` is `\"256\"`, expected a non-")
        );
    }

    #[test]
    fn embedded_metadata_fills_in() {
        let embedded = [
            ("format", "pt"),
            ("vocab_size", "32000"),
            ("hidden_size", "wide"),
            ("num_hidden_layers", " 2 "),
            ("rms_norm_eps", "1e-5"),
            ("architectures", "[\"A\"]"),
            ("tie_word_embeddings", "True"),
        ];
        assert_eq!(
            block(None, &embedded),
            r#"{"architecture":"A","num_layers":2,"rms_norm_eps":0.00001,"tie_word_embeddings":true,"vocab_size":32000}"#
        );
        assert_eq!(
            block(Some(r#"{"model_type":"m","vocab_size":5}"#), &embedded),
            r#"{"architecture":"m","model_type":"m","num_layers":2,"rms_norm_eps":0.00001,"tie_word_embeddings":true,"vocab_size":5}"#
        );
        assert_eq!(block(None, &[]), "{}");
    }
}
