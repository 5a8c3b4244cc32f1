//! Types by name: who wins over whom, slips, and what `--explain` tells.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gmat_core::config::tensor_id;
use gmat_core::format::gguf::Gguf;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Ran, example_model, f32s, gmat, safetensors};

fn imported() -> TempDir {
    let dir = TempDir::new().unwrap();
    let model = example_model();
    gmat(dir.path(), &["import", "-q", "-m", model.to_str().unwrap(), "-o", "."]).ok();
    dir
}

/// Runs an export with that config and these options; `--no-tokenizer` does no harm.
fn export(at: &Path, config: &Value, extra: &[&str]) -> Ran {
    fs::write(at.join("config.json"), config.to_string()).unwrap();
    let args = ["export", "-m", ".", "-c", "config.json", "--no-tokenizer", "-o", "out.gguf"];
    gmat(at, &[&args[..], extra].concat())
}

/// What `--explain --json` says of every tensor, by GGUF name.
fn explained(at: &Path, config: &Value, extra: &[&str]) -> BTreeMap<String, Value> {
    let said = export(at, config, &[extra, &["--explain", "--json"]].concat()).ok();
    let all: Value = serde_json::from_str(&said.stdout).unwrap();
    let tensors = all["tensors"].as_array().unwrap().iter();
    tensors.map(|t| (t["name"].as_str().unwrap().to_owned(), t.clone())).collect()
}

fn ty_and_by<'a>(tensors: &'a BTreeMap<String, Value>, name: &str) -> (&'a str, &'a str) {
    let tensor = &tensors[name];
    (tensor["type"].as_str().unwrap(), tensor["by"].as_str().unwrap())
}

#[test]
fn command_line_then_per_tensor_then_rules_then_recipe() {
    let dir = imported();
    let at = dir.path();
    let id = |name: &str| tensor_id(name).to_string();
    let config = json!({"quantization": {
        "default_type": "q4_k_m",
        "per_tensor": {
            id("model.layers.0.self_attn.v_proj.weight"): "q5_1",
            id("model.layers.1.self_attn.v_proj.weight"): "q5_1",
        },
        "rules": [
            {"match": r"layers\.[0-3]\.self_attn\.v_proj", "type": "Q5_0"},
            {"match": "ATTN_V", "type": "q6_k"},
            {"match": "norm", "type": "q8_0"},
        ],
    }});
    let option = ["--tensor-type", r"blk\.0\.attn_[vk]=q8_0", "--tensor-type", "attn_k=q4_0"];
    let tensors = explained(at, &config, &option);
    for (name, ty, by) in [
        ("blk.0.attn_v.weight", "q8_0", "option"),
        ("blk.0.attn_k.weight", "q8_0", "option"),
        ("blk.1.attn_k.weight", "q4_0", "option"),
        ("blk.1.attn_v.weight", "q5_1", "per_tensor"),
        ("blk.2.attn_v.weight", "q5_0", "rule"),
        ("blk.4.attn_v.weight", "q6_k", "rule"),
        ("blk.0.attn_q.weight", "q4_k", "recipe"),
        ("output.weight", "q6_k", "recipe"),
        ("blk.0.attn_norm.weight", "f32", "kept"),
    ] {
        assert_eq!(ty_and_by(&tensors, name), (ty, by), "{name}");
    }
    assert_eq!(tensors["blk.2.attn_v.weight"]["source"], "model.layers.2.self_attn.v_proj.weight");
    let why = tensors["blk.2.attn_v.weight"]["why"].as_str().unwrap();
    assert!(why.contains("`quantization.rules[0]`") && why.contains("v_proj"), "{why}");
    let why = tensors["blk.0.attn_norm.weight"]["why"].as_str().unwrap();
    assert!(why.contains("one-dimensional, in spite of `quantization.rules[2]`"), "{why}");

    // What is explained is what is written.
    export(at, &config, &option).ok();
    let bytes = fs::read(at.join("out.gguf")).unwrap();
    let ids = BTreeMap::from([
        (0, "f32"),
        (2, "q4_0"),
        (6, "q5_0"),
        (7, "q5_1"),
        (8, "q8_0"),
        (12, "q4_k"),
        (14, "q6_k"),
    ]);
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.tensors.len(), tensors.len());
    for tensor in &gguf.tensors {
        assert_eq!(tensors[&tensor.name]["type"], ids[&tensor.ggml_type], "{}", tensor.name);
    }
}

#[test]
fn slips_in_rules() {
    let dir = imported();
    let at = dir.path();
    let rules = |list: Value| json!({"quantization": {"rules": list}});
    export(
        at,
        &rules(json!([{"match": "attn", "type": "q8_0"}, {"match": "atn", "type": "q8_0"}])),
        &[],
    )
    .fails(2, &["`quantization.rules[1]` (`atn`) matches no tensor", "--explain"]);
    export(at, &rules(json!([{"match": "attn", "type": "q8_1"}])), &[])
        .fails(2, &["`quantization.rules[0]` (`attn`)", "unknown quantization type `q8_1`"]);
    export(at, &json!({"expert_rules": [{"match": "experts", "type": "q8_0"}]}), &[])
        .fails(2, &["`expert_rules[0]` (`experts`) matches no tensor"]);
    let said = export(
        at,
        &rules(json!([{"match": "attn_v", "type": "q8_0"}, {"match": "attn_v", "type": "q6_k"}])),
        &[],
    )
    .ok();
    assert!(
        said.stderr.contains("`quantization.rules[1]` (`attn_v`) decides nothing"),
        "{}",
        said.stderr
    );
    let none = json!({});
    export(at, &none, &["--tensor-type", "(=q8_0"]).fails(2, &["not a valid regular expression"]);
    export(at, &none, &["--tensor-type", "attn_v"]).fails(2, &["REGEX=TYPE"]);
    export(at, &none, &["--tensor-type", "attn_v=q81"])
        .fails(2, &["`--tensor-type attn_v=q81`", "unknown quantization type"]);
    export(at, &none, &["--tensor-type", "zzz=q8_0"])
        .fails(2, &["`--tensor-type zzz=q8_0` matches no tensor"]);
    export(at, &none, &["--json"]).fails(2, &["--explain"]);
    // A key twice is an error, whichever would count.
    fs::write(at.join("twice.json"), r#"{"shard_size": 1000000, "shard_size": 2000000}"#).unwrap();
    gmat(at, &["export", "-m", ".", "-c", "twice.json"])
        .fails(2, &["`twice.json`", "key `shard_size` occurs twice"]);
    let model = example_model();
    fs::write(at.join("twice.json"), r#"{"metadata": {"num_layers": 6, "num_layers": 5}}"#)
        .unwrap();
    gmat(at, &["import", "-m", model.to_str().unwrap(), "-c", "twice.json", "-o", "x"])
        .fails(2, &["key `num_layers` occurs twice"]);
}

#[test]
fn explaining_adds_up_and_writes_nothing() {
    let dir = imported();
    let at = dir.path();
    let config = json!({"quantization": {"default_type": "q3_k_m"}, "shard_size": 1_500_000});
    let said = export(at, &config, &["--explain", "--json"]).ok();
    let all: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(fs::read_dir(at).unwrap().count(), 2, "only the store and the config are there");
    let table = export(at, &config, &["--explain"]).ok().stdout;
    assert_eq!(table.lines().count(), 58, "{table}");
    let line = table.lines().find(|line| line.contains(" blk.0.attn_q.weight ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let wanted = ["model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight", "[256,256]"];
    assert_eq!(words[..3], wanted);
    assert_eq!(words[3..], ["q3_k", "3.4375", "recipe:", "`q3_k_m`"]);
    export(at, &config, &[]).ok();
    let mut written = 0;
    for file in all["files"].as_array().unwrap() {
        let len = fs::metadata(at.join(file["name"].as_str().unwrap())).unwrap().len();
        assert_eq!(file["bytes"], len);
        written += len;
    }
    assert!(all["files"].as_array().unwrap().len() > 1);
    assert_eq!(all["bytes"], written);
    assert_eq!(all["weights"], 6_819_072);
    let tensors = all["tensors"].as_array().unwrap();
    let data: u64 = tensors.iter().map(|tensor| tensor["bytes"].as_u64().unwrap()).sum();
    assert_eq!(all["tensor_bytes"], data);
    let bits = all["bits_per_weight"].as_f64().unwrap();
    assert!((bits - 8.0 * data as f64 / 6_819_072.0).abs() < 1e-9 && bits < 5.0, "{bits}");
}

#[test]
fn experts_of_a_stack_get_one_type_by_their_rules() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let experts = |layer: u32| format!("model.layers.{layer}.mlp.experts.up_proj");
    let names: Vec<String> = (0..2).map(experts).collect();
    let tensor = |name| (name, "F32", vec![4, 8, 256], f32s(4 * 8 * 256));
    let bytes = safetensors(&[tensor(names[0].as_str()), tensor(names[1].as_str())]);
    fs::write(at.join("m.safetensors"), bytes).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 8
    });
    fs::write(at.join("config.json"), config.to_string()).unwrap();
    gmat(at, &["import", "-q", "-m", "m.safetensors", "-o", "."]).ok();
    let map: Vec<Value> = (0..2)
        .map(|layer| {
            let target = format!("blk.{layer}.ffn_up_exps.weight");
            json!({"source": tensor_id(&experts(layer)), "target": target})
        })
        .collect();
    // The rest of the model is missing, which is no concern of this test.
    let with = |rules: Value| json!({"tensor_map": map, "expert_rules": rules, "quantization": {"rules": [{"match": "exps", "type": "q5_k"}]}});
    let tensors = explained(
        at,
        &with(json!([{"match": r"layers\.0\..*experts\.\d\.up", "type": "q6_k"}])),
        &[],
    );
    assert_eq!(ty_and_by(&tensors, "blk.0.ffn_up_exps.weight"), ("q6_k", "expert_rule"));
    assert_eq!(ty_and_by(&tensors, "blk.1.ffn_up_exps.weight"), ("q5_k", "rule"));
    let split = with(
        json!([{"match": r"experts\.[01]\.", "type": "q6_k"}, {"match": r"experts\.", "type": "q4_k"}]),
    );
    export(at, &split, &[]).fails(
        2,
        &[
            "experts.0.up_proj` `q6_k`",
            "experts.2.up_proj` `q4_k`",
            "ffn_up_exps.weight`, which has one type",
        ],
    );
}
