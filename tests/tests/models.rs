//! Models that are incomplete, contradict their config, or were edited on import.

use std::fs;
use std::path::Path;

use gmat_core::format::gguf::{Gguf, Value as Gv};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Ran, copy_files, example_model, gmat};

const USAGE: i32 = 2;
const INPUT: i32 = 3;

fn change(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// The example model in `hf` with its `config.json` and its generated import config changed.
fn changed(config: impl FnOnce(&mut Value), import: impl FnOnce(&mut Value)) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_files(&example_model(), &dir.path().join("hf"));
    change(&dir.path().join("hf/config.json"), config);
    gmat(dir.path(), &["import", "-q", "-m", "hf", "--generate-config"]).ok();
    change(&dir.path().join("import_config.json"), import);
    dir
}

fn import(dir: &TempDir) -> Ran {
    gmat(dir.path(), &["import", "-q", "-m", "hf", "-c", "import_config.json", "-o", "."])
}

fn export(dir: &TempDir) -> Ran {
    import(dir).ok();
    gmat(dir.path(), &["export", "-m", "model.gmat", "--type", "q8_0"])
}

/// Leaves out the tensors whose names end in one of these.
fn without(import: &mut Value, ends: &[&str]) {
    for entry in import["tensor_map"].as_array_mut().unwrap() {
        let source = entry["source"].as_str().unwrap();
        if ends.iter().any(|end| source.ends_with(end)) {
            entry["include"] = Value::Bool(false);
        }
    }
}

fn value(dir: &TempDir, key: &str) -> Option<Gv> {
    let gguf = Gguf::parse(&fs::read(dir.path().join("model.gguf")).unwrap()).unwrap();
    gguf.meta.value(key).cloned()
}

fn unchanged(_: &mut Value) {}

#[test]
fn a_whole_model_has_no_warnings() {
    let said = export(&changed(unchanged, unchanged)).ok();
    assert!(!said.stderr.contains("Warning"), "{}", said.stderr);
}

#[test]
fn missing_tensors_are_warned_of() {
    let said = export(&changed(unchanged, |c| without(c, &["layers.2.mlp.up_proj.weight"]))).ok();
    let line = "Warning: 1 tensor that llama.cpp needs is missing: `blk.2.ffn_up.weight`\n";
    assert!(said.stderr.contains(line), "{}", said.stderr);
    assert_eq!(said.stderr.matches("Warning").count(), 1, "{}", said.stderr);

    let ends = ["mlp.up_proj.weight", "q_proj.weight"];
    let said = export(&changed(unchanged, |c| without(c, &ends))).ok();
    let start = "Warning: 12 tensors that llama.cpp needs are missing: `blk.0.attn_q.weight`, ";
    assert!(said.stderr.contains(start), "{}", said.stderr);
    assert!(said.stderr.contains(" and 4 more\n"), "{}", said.stderr);
}

#[test]
fn layers_may_be_left_out_on_purpose() {
    let layer = |c: &mut Value| {
        for entry in c["tensor_map"].as_array_mut().unwrap() {
            let inside = entry["source"].as_str().unwrap().contains(".layers.5.");
            entry["include"] = Value::Bool(!inside);
        }
    };
    let said = export(&changed(unchanged, layer)).ok();
    assert!(said.stderr.contains("Warning: 9 tensors that llama.cpp needs"), "{}", said.stderr);
}

#[test]
fn a_missing_output_is_tied_aloud() {
    let line =
        "`output.weight` is missing although `tie_word_embeddings` in `config.json` is false";
    let head = |c: &mut Value| without(c, &["lm_head.weight"]);
    let said = export(&changed(unchanged, head)).ok();
    assert!(said.stderr.contains(&format!("Warning: {line}")), "{}", said.stderr);
    assert!(!said.stderr.contains("missing:"), "{}", said.stderr);
    let said = export(&changed(|c| c["tie_word_embeddings"] = json!(true), head)).ok();
    assert!(!said.stderr.contains("Warning"), "{}", said.stderr);
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    for (name, value, shape, implied) in [
        ("hidden_size", 320, "[4096,256]", "[4096,320]"),
        ("intermediate_size", 704, "[768,256]", "[704,256]"),
        ("vocab_size", 4097, "[4096,256]", "[4097,256]"),
        ("num_attention_heads", 4, "[256,256]", "[128,256]"),
        ("num_key_value_heads", 2, "[128,256]", "[64,256]"),
        ("head_dim", 64, "[256,256]", "[512,256]"),
    ] {
        let said = format!("has shape {shape}, but `config.json` implies {implied}");
        let hint = format!("`{name}`");
        export(&changed(|c| c[name] = json!(value), unchanged)).fails(INPUT, &[&said, &hint]);
        // The same slip in the import config.
        export(&changed(unchanged, |c| c["metadata"][name] = json!(value)))
            .fails(INPUT, &[&said, &hint]);
    }
}

#[test]
fn a_config_with_other_layers_is_refused() {
    export(&changed(|c| c["num_hidden_layers"] = json!(7), unchanged))
        .fails(INPUT, &["implies 7 layers", "the first 6 only", "num_hidden_layers"]);
    export(&changed(|c| c["num_hidden_layers"] = json!(5), unchanged))
        .fails(INPUT, &["is in layer 5", "`num_hidden_layers` in `config.json` is 5"]);
}

#[test]
fn an_unknown_vocabulary_size_is_no_contradiction_in_shapes() {
    let removed = |c: &mut Value| {
        c.as_object_mut().unwrap().remove("vocab_size");
    };
    let ran = export(&changed(removed, unchanged));
    assert!(!ran.stderr.contains("has shape"), "{}", ran.stderr);
    // The architecture writes the number, so the user has to say it; the import config will do.
    ran.fails(INPUT, &["vocab_size"]);
    export(&changed(removed, |c| c["metadata"]["vocab_size"] = json!(4096))).ok();
}

#[test]
fn edited_metadata_arrives() {
    let dir = changed(unchanged, |c| {
        c["metadata"]["max_position_embeddings"] = json!(777);
        c["metadata"]["rope_theta"] = json!(50_000);
        c["metadata"]["note"] = json!("mine");
    });
    export(&dir).ok();
    assert_eq!(value(&dir, "llama.context_length"), Some(Gv::U32(777)));
    assert_eq!(value(&dir, "llama.rope.freq_base"), Some(Gv::F32(50_000.0)));
    assert_eq!(value(&dir, "llama.block_count"), Some(Gv::U32(6)));

    // A block that says less than the config takes nothing away.
    let dir = changed(unchanged, |c| c["metadata"] = json!({"max_position_embeddings": null}));
    export(&dir).ok();
    assert_eq!(value(&dir, "llama.context_length"), Some(Gv::U32(512)));
}

#[test]
fn an_unedited_block_changes_no_byte() {
    let with = changed(unchanged, unchanged);
    let without =
        changed(unchanged, |c| c["metadata"] = json!({"architecture": "LlamaForCausalLM"}));
    export(&with).ok();
    export(&without).ok();
    let file = |dir: &TempDir| fs::read(dir.path().join("model.gguf")).unwrap();
    assert!(file(&with) == file(&without));
}

#[test]
fn metadata_of_the_wrong_kind_is_refused_on_import() {
    for (name, bad) in [
        ("num_layers", json!(-6)),
        ("hidden_size", json!("256")),
        ("rope_theta", json!([1])),
        ("tie_word_embeddings", json!("no")),
        ("architecture", json!("")),
    ] {
        let dir = changed(unchanged, |c| c["metadata"][name] = bad.clone());
        let said = format!("`metadata.{name}` is `{bad}`, expected ");
        import(&dir).fails(USAGE, &["import_config.json", &said]);
        assert!(!dir.path().join("model.gmat").exists());
    }
}
