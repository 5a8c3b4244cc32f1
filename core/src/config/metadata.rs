//! The `metadata` block of `import_config.json`: what a model is, in a handful of plain keys.
//!
//! For people to read and edit; an export takes its numbers from the whole `config.json`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ModelConfig;

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
        out.insert("architecture".to_owned(), Value::from(class));
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

impl Field {
    fn accepts(&self, value: &Value) -> bool {
        match self.kind {
            Kind::Integer => value.is_u64() || value.is_i64(),
            Kind::Number => value.is_number(),
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
