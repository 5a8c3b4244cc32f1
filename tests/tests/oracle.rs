//! Whole conversions against the reference converter's: every model in `data/oracle`, imported
//! bit-exactly and exported, must have its keys, tensor names, shapes, types and data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gmat_core::format::gguf::{Array, Gguf, Value as Gv};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{data, gmat};

/// Models with an `oracle.json`.
pub(crate) fn models() -> Vec<PathBuf> {
    let mut models: Vec<PathBuf> = fs::read_dir(data("data/oracle"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("oracle.json").is_file())
        .collect();
    models.sort();
    assert!(models.len() >= 5, "{models:?}");
    models
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A parsed file and its bytes.
struct File {
    gguf: Gguf,
    bytes: Vec<u8>,
}

impl File {
    fn data(&self, name: &str, len: u64) -> &[u8] {
        let tensor = self.gguf.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let start = usize::try_from(self.gguf.data_start + tensor.offset).unwrap();
        &self.bytes[start..start + usize::try_from(len).unwrap()]
    }
}

fn export(model: &Path, types: &[&str]) -> Vec<File> {
    let dir = TempDir::new().unwrap();
    gmat(
        dir.path(),
        &["import", "-q", "-m", model.to_str().unwrap(), "-o", ".", "--block-format", "raw"],
    )
    .ok();
    types
        .iter()
        .map(|ty| {
            gmat(dir.path(), &["export", "-q", "-m", "model.gmat", "--type", ty, "-o", "m.gguf"])
                .ok();
            let bytes = fs::read(dir.path().join("m.gguf")).unwrap();
            File { gguf: Gguf::parse(&bytes).unwrap(), bytes }
        })
        .collect()
}

/// A value in the notation of `oracle.json`, in full.
fn full(value: &Gv) -> (&'static str, Value) {
    match value {
        Gv::U32(v) => ("UINT32", json!(v)),
        Gv::I32(v) => ("INT32", json!(v)),
        Gv::F32(v) => ("FLOAT32", json!(f64::from(*v))),
        Gv::Bool(v) => ("BOOL", json!(v)),
        Gv::String(v) => ("STRING", json!(std::str::from_utf8(v).unwrap())),
        Gv::Array(_) => ("ARRAY", Value::Null),
        other => panic!("unexpected value type {other:?}"),
    }
}

fn elements(array: &Array) -> (&'static str, Value) {
    match array {
        Array::String(v) => {
            ("STRING", json!(v.iter().map(|t| std::str::from_utf8(t).unwrap()).collect::<Vec<_>>()))
        }
        Array::I32(v) => ("INT32", json!(v)),
        Array::U32(v) => ("UINT32", json!(v)),
        Array::Bool(v) => ("BOOL", json!(v)),
        // Hashed as the list of their bit patterns.
        Array::F32(v) => ("FLOAT32", json!(v.iter().map(|f| f.to_bits()).collect::<Vec<_>>())),
        other => panic!("unexpected array type {other:?}"),
    }
}

/// What differs between a value and the oracle's description of it.
fn difference(key: &str, ours: &Gv, oracle: &Value) -> Option<String> {
    let (kind, value) = full(ours);
    let wrong = |what: &str| Some(format!("{key}: {what}: {ours:?} against {oracle}"));
    if kind != oracle["type"] {
        return wrong("type");
    }
    if let Gv::Array(array) = ours {
        let (kind, list) = elements(array);
        let same = match oracle.get("value") {
            Some(expected) => *expected == list,
            None => {
                oracle["length"] == list.as_array().unwrap().len()
                    && oracle["sha256"] == sha256(list.to_string().as_bytes())
            }
        };
        return if kind == oracle["elem"] && same { None } else { wrong("elements") };
    }
    if let Some(expected) = oracle.get("value") {
        return if *expected == value { None } else { wrong("value") };
    }
    let text = value.as_str().unwrap();
    let same =
        oracle["length"] == text.chars().count() && oracle["sha256"] == sha256(text.as_bytes());
    if same { None } else { wrong("text") }
}

#[test]
fn keys_and_tensors_equal_the_reference() {
    let mut wrong = Vec::new();
    for model in models() {
        let name = model.file_name().unwrap().to_str().unwrap();
        let oracle: Value =
            serde_json::from_slice(&fs::read(model.join("oracle.json")).unwrap()).unwrap();
        let second = oracle["second"]["outtype"].as_str().unwrap();
        let files = export(&model, &["f32", second]);
        wrong.extend(
            keys(&oracle, &files[0].gguf).into_iter().map(|text| format!("{name}: {text}")),
        );
        for (file, list) in files.iter().zip([&oracle["tensors"], &oracle["second"]["tensors"]]) {
            wrong.extend(tensors(list, file).into_iter().map(|text| format!("{name}: {text}")));
        }
        let file_type = files[1].gguf.meta.value("general.file_type").unwrap().as_u64();
        assert_eq!(file_type, oracle["second"]["file_type"].as_u64());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn keys(oracle: &Value, gguf: &Gguf) -> Vec<String> {
    let expected = oracle["kv"].as_object().unwrap();
    // Hyperparameters from config.json as written may lack what the class fills in.
    let plain = &oracle["with_plain_config_json"];
    let optional: BTreeSet<&str> =
        plain["kv_missing_here"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let ours: BTreeMap<&str, &Gv> =
        gguf.meta.entries().iter().map(|(key, value)| (key.as_str(), value)).collect();
    let mut wrong = Vec::new();
    for (key, value) in expected {
        match ours.get(key.as_str()) {
            Some(ours) => wrong.extend(difference(key, ours, value)),
            None if optional.contains(key.as_str()) => {}
            None => wrong.push(format!("{key} is missing")),
        }
    }
    // Ours alone: where the file comes from.
    let extra =
        ours.keys().filter(|key| !expected.contains_key(**key) && !key.starts_with("gmat."));
    wrong.extend(extra.map(|key| format!("{key} is too much")));
    wrong
}

fn tensors(expected: &Value, file: &File) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected = expected.as_array().unwrap();
    assert_eq!(file.gguf.tensors.len(), expected.len());
    for tensor in expected {
        let name = tensor["name"].as_str().unwrap();
        let Some(ours) = file.gguf.tensors.iter().find(|ours| ours.name == name) else {
            wrong.push(format!("{name} is missing"));
            continue;
        };
        let ty = [(0, "F32"), (1, "F16"), (30, "BF16"), (39, "MXFP4")]
            .iter()
            .find(|(id, _)| *id == ours.ggml_type);
        if ty.is_none_or(|(_, ty)| tensor["type"] != *ty) {
            wrong.push(format!("{name} has type {}", ours.ggml_type));
        }
        if tensor.get("shape").is_some_and(|shape| *shape != json!(ours.dims)) {
            wrong.push(format!("{name} has dimensions {:?}", ours.dims));
        }
        let data = file.data(name, tensor["nbytes"].as_u64().unwrap());
        if tensor["sha256"] != sha256(data) && !close(tensor, data) {
            wrong.push(format!("{name} has other data"));
        }
    }
    wrong
}

/// Only for computed tensors, which the oracle lists value by value.
fn close(tensor: &Value, data: &[u8]) -> bool {
    let name = tensor["name"].as_str().unwrap();
    let Some(values) = tensor["values"].as_array() else { return name == "rope_freqs.weight" };
    let (ours, _) = data.as_chunks::<4>();
    name == "rope_freqs.weight"
        && ours.len() == values.len()
        && ours.iter().zip(values).all(|(ours, value)| {
            let (ours, value) = (f64::from(f32::from_le_bytes(*ours)), value.as_f64().unwrap());
            (ours - value).abs() <= 1e-6 * value.abs()
        })
}

/// Rows of a bias move with the rows of its weight, in heads that are no power of two long, and
/// however the store cut the tensor into row groups.
#[test]
fn biases_are_rearranged_like_their_weights() {
    const HEADS: usize = 50;
    const HEAD: usize = 12;
    const HIDDEN: usize = HEADS * HEAD;
    // Wide enough that the store cuts the weight into groups which heads straddle.
    const COLS: usize = 4096;
    let rows = HIDDEN;
    let number = |row: usize| f32::from(u16::try_from(row).unwrap());
    let weight: Vec<u8> =
        (0..rows).flat_map(|row| number(row).to_le_bytes().repeat(COLS)).collect();
    let bias: Vec<u8> = (0..rows).flat_map(|row| number(row).to_le_bytes()).collect();
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let dims = |list: &[usize]| list.iter().map(|&dim| dim as u64).collect::<Vec<_>>();
    let file = crate::support::safetensors(&[
        ("model.layers.0.self_attn.q_proj.weight", "F32", dims(&[rows, COLS]), weight),
        ("model.layers.0.self_attn.q_proj.bias", "F32", dims(&[rows]), bias),
    ]);
    fs::write(at.join("m.safetensors"), file).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": COLS, "num_hidden_layers": 1,
        "intermediate_size": 8, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "head_dim": HEAD, "rms_norm_eps": 1e-5, "vocab_size": 8, "max_position_embeddings": 8,
        "attention_bias": true,
    });
    fs::write(at.join("config.json"), config.to_string()).unwrap();
    gmat(at, &["import", "-q", "-m", "m.safetensors", "-o", ".", "--block-format", "raw"]).ok();
    gmat(at, &["export", "-q", "-m", ".", "--type", "f32", "--no-tokenizer"]).ok();
    let bytes = fs::read(at.join("model.gguf")).unwrap();
    let file = File { gguf: Gguf::parse(&bytes).unwrap(), bytes };
    let values = |name: &str, count: usize| -> Vec<f32> {
        let data = file.data(name, 4 * count as u64);
        data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let weight = values("blk.0.attn_q.weight", rows * COLS);
    let bias = values("blk.0.attn_q.bias", rows);
    for (row, (values, bias)) in weight.chunks(COLS).zip(&bias).enumerate() {
        let within = row % HEAD;
        let source = row - within + within % 2 * (HEAD / 2) + within / 2;
        assert_eq!(*bias, number(source), "bias {row}");
        assert!(values.iter().all(|value| value == bias), "row {row}");
    }
}
