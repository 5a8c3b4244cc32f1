//! Architectures against what the reference converter made of models whose weights a formula gives:
//! each file in `data/arch` has a config, the shapes of the checkpoint, and the keys and tensor hashes
//! of the converter's file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gmat_core::arch::choose;
use gmat_core::config::ModelConfig;
use gmat_core::format::gguf::{Array, Meta, Value as Gv};
use gmat_core::{ErrorKind, Registry, Result};
use serde_json::{Value, json};

use crate::arch::{check_tensors, exported};
use crate::support::{data, safetensors};

/// Values of a tensor by its name: 16 bits of a product, from -0.5 to 0.5.
fn weights(name: &str, dims: &[u64]) -> Vec<u8> {
    let seed: u64 = name.bytes().map(u64::from).sum::<u64>() * 40_503;
    let values = (0..dims.iter().product::<u64>()).map(|index| {
        let bits = ((index * 2_654_435_761 + seed) % (1 << 32)) >> 16;
        f32::from(u16::try_from(bits).unwrap()) / 65_536.0 - 0.5
    });
    values.flat_map(f32::to_le_bytes).collect()
}

fn described(value: &Gv) -> Value {
    match value {
        Gv::U32(v) => json!({"type": "UINT32", "value": v}),
        Gv::F32(v) => json!({"type": "FLOAT32", "value": f64::from(*v)}),
        Gv::Bool(v) => json!({"type": "BOOL", "value": v}),
        Gv::String(v) => json!({"type": "STRING", "value": std::str::from_utf8(v).unwrap()}),
        Gv::Array(Array::Bool(v)) => json!({"type": "ARRAY", "elem": "BOOL", "value": v}),
        Gv::Array(Array::I32(v)) => json!({"type": "ARRAY", "elem": "INT32", "value": v}),
        Gv::Array(Array::String(v)) => {
            let texts: Vec<&str> =
                v.iter().map(|text| std::str::from_utf8(text).unwrap()).collect();
            json!({"type": "ARRAY", "elem": "STRING", "value": texts})
        }
        other => panic!("{other:?}"),
    }
}

fn record(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The config of a recorded model, with some keys changed; null removes one.
fn changed(model: &str, changes: &Value) -> ModelConfig {
    let record = record(&data(&format!("data/arch/{model}.json")));
    let mut config = record["config"].as_object().unwrap().clone();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => config.remove(key),
            value => config.insert(key.clone(), value.clone()),
        };
    }
    ModelConfig::from_map(config)
}

/// The keys of a model.
fn keys(config: &ModelConfig) -> Result<BTreeMap<String, Value>> {
    let registry = Registry::builtin(gmat_codecs::link())?;
    let mut meta = Meta::new();
    choose(registry.archs(), config)?.metadata(config, &mut meta)?;
    Ok(meta.entries().iter().map(|(key, value)| (key.clone(), described(value))).collect())
}

#[test]
fn models_by_formula_are_converted_as_by_the_reference() {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let mut files: Vec<_> =
        fs::read_dir(data("data/arch")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 38, "{files:?}");
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let record = record(&path);
        let config = ModelConfig::from_map(record["config"].as_object().unwrap().clone());
        let arch = choose(registry.archs(), &config).unwrap();
        assert_eq!(record["arch"], arch.name(), "{name}");

        let theirs: BTreeMap<String, Value> = serde_json::from_value(record["kv"].clone()).unwrap();
        assert_eq!(keys(&config).unwrap(), theirs, "{name}");

        let source: Vec<(&str, &str, Vec<u64>, Vec<u8>)> = record["source"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, dims)| {
                let dims: Vec<u64> = serde_json::from_value(dims.clone()).unwrap();
                let bytes = weights(name, &dims);
                (name.as_str(), "F32", dims, bytes)
            })
            .collect();
        let tensors = exported(arch, &config, &safetensors(&source));
        check_tensors(name, &tensors, &record);
        // What runtimes look for is there, in the shape that the config implies.
        for expected in arch.expected(&config).unwrap() {
            match tensors.get(&expected.name) {
                None => assert!(expected.optional, "{name}: {} is missing", expected.name),
                Some((dims, _)) => {
                    let wanted = expected.dims.iter().map(|dim| dim.size);
                    let same =
                        wanted.zip(dims).all(|(wanted, dim)| wanted.is_none_or(|w| w == *dim));
                    assert!(same && dims.len() == expected.dims.len(), "{name}: {}", expected.name);
                }
            }
        }
    }
}

#[test]
fn what_runtimes_do_not_compute_is_refused() {
    let scaled = json!({"rope_type": "llama3", "factor": 8.0});
    for (model, key, value) in [
        ("deepseek-gqa", "norm_topk_prob", json!(true)),
        ("deepseek-gqa", "moe_layer_freq", json!(2)),
        ("deepseek-gqa", "scoring_func", json!("sigmoid")),
        ("deepseek-gqa", "routed_scaling_factor", json!(2.5)),
        ("deepseek-gqa", "rope_scaling", json!({"type": "linear", "factor": 2})),
        ("deepseek2-plain", "moe_layer_freq", json!(2)),
        ("nomic-bert-hub", "activation_function", json!("gelu")),
        ("nomic-bert-hub", "hidden_act", json!("gelu")),
        ("nomic-bert-hub", "prenorm", json!(true)),
        ("nomic-bert-hub", "head_dim", json!(24)),
        ("nomic-bert-hub", "rope_parameters", scaled),
        ("nomic-bert-moe-fourth", "hidden_act", json!("silu")),
        ("t5-fewer", "feed_forward_proj", json!("gated-silu")),
        ("t5-fewer", "relative_attention_max_distance", json!(64)),
        ("xlm-roberta-plain", "position_embedding_type", json!("relative_key")),
    ] {
        let error = keys(&changed(model, &json!({key: value}))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{model} {key}: {error}");
        let word = if key.starts_with("rope_") { "rope" } else { key };
        assert!(error.to_string().contains(word), "{model} {key}: {error}");
    }
}

/// The `transformers` library saves Nomic's BERT with other keys than its first class, and assumes
/// another base of rotary embeddings.
#[test]
fn nomic_bert_of_the_library_has_the_same_keys() {
    let old = changed("nomic-bert-hub", &json!({"rotary_emb_base": 1000}));
    let new = json!({
        "n_embd": null, "n_layer": null, "n_head": null, "n_inner": null, "n_positions": null,
        "layer_norm_epsilon": null, "activation_function": null, "rotary_emb_base": null,
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 96, "max_position_embeddings": 2048, "hidden_act": "silu",
    });
    // 8192 of the first class stand for 2048, which is the default of the library.
    assert_eq!(keys(&old).unwrap(), keys(&changed("nomic-bert-hub", &new)).unwrap());
    let mut short = new;
    short["max_position_embeddings"] = Value::Null;
    assert_eq!(keys(&old).unwrap(), keys(&changed("nomic-bert-hub", &short)).unwrap());
}
