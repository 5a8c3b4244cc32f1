//! What the program says: who is to blame, what can be done, and all of it in a form that programs
//! and terminals can take.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Ran, Tensor, f32s, finished, gmat, gmat_command, hinted, one, safetensors, says, stored,
    with_header,
};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const IO: i32 = 4;

fn export(at: &Path, extra: &[&str]) -> Ran {
    gmat(at, &[&["export", "-m", "model.gmat"], extra].concat())
}

#[test]
fn import_tells_of_an_architecture_that_export_does_not_know() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let model = safetensors(&[one("w")]);
    fs::write(at.join("m.safetensors"), model).unwrap();
    let import = |class: &str| {
        fs::write(at.join("config.json"), format!(r#"{{"architectures":{class}}}"#)).unwrap();
        gmat(at, &["import", "-m", "."]).ok()
    };
    let ran = import(r#"["NeverHeardOfModel"]"#);
    says(&ran, "Warning: ");
    says(&ran, "unknown architecture `NeverHeardOfModel`");
    says(&ran, "gmat formats");
    assert!(!ran.stderr.contains("nearest"), "{}", ran.stderr);
    says(&import(r#"["LamaForCausalLM"]"#), "nearest known is `LlamaForCausalLM`");
    // A plain text is as good as a list.
    for known in [r#"["LlamaForCausalLM"]"#, r#""LlamaForCausalLM""#] {
        assert!(!import(known).stderr.contains("architecture"));
    }
    fs::remove_file(at.join("config.json")).unwrap();
    says(&gmat(at, &["import", "-m", "."]).ok(), "does not say what architecture");
}

#[test]
fn messages_name_who_is_to_blame() {
    let dir = stored();
    let at = dir.path();
    let ran = export(at, &["--type", "q4km"]).fails(USAGE, &["`--type`", "`q4_k_m`?"]);
    assert!(!ran.stderr.contains("default_type"), "{}", ran.stderr);
    fs::write(at.join("i.json"), r#"{"block_format":"b8x8"}"#).unwrap();
    gmat(at, &["import", "-m", "hf", "-c", "i.json", "-o", "new"])
        .fails(USAGE, &["`block_format` in config `i.json`", "unknown block format `b8x8`"]);
    gmat(at, &["import", "-m", "hf", "--block-format", "b8x8", "-o", "new"])
        .fails(USAGE, &["`--block-format`", "unknown block format"]);
    fs::write(at.join("i.json"), r#"{"metadata":{"num_attention_heads":0}}"#).unwrap();
    gmat(at, &["import", "-q", "-m", "hf", "-c", "i.json", "-o", "zero"]).ok();
    gmat(at, &["export", "-m", "zero", "--type", "q4_0"])
        .fails(INPUT, &["`num_attention_heads` in `metadata` of the import config is 0"]);
    export(at, &["--type", "q4_0", "--shard-size", "1000"])
        .fails(USAGE, &["does not fit", "--shard-size", "`shard_size` of the config"]);
    let ran = export(at, &["--shard-size", "99999999999999999999999"]);
    assert!(ran.code == USAGE && ran.stderr.contains("too large"), "{}", ran.stderr);
    fs::create_dir(at.join("c")).unwrap();
    hinted(export(at, &["-c", "c"]), USAGE, &["config `c` is a folder"]);
    fs::write(at.join("hf/tokenizer.json"), "{").unwrap();
    hinted(
        gmat(at, &["import", "-m", "hf", "-o", "new"]),
        INPUT,
        &["tokenizer in `hf`", "tokenizer.json"],
    );
    fs::create_dir(at.join("void")).unwrap();
    let ran = gmat(at, &["inspect", "void"]);
    assert!(!ran.stderr.contains("--model"), "{}", ran.stderr);
}

#[test]
fn a_config_may_come_through_a_pipe() {
    let dir = stored();
    let gmat = env!("CARGO_BIN_EXE_gmat-under-test");
    for script in [
        format!(
            r#"{gmat} export -m model.gmat -c <(echo '{{"quantization":{{"default_type":"q4_0"}}}}')"#
        ),
        format!(r#"echo '{{"shard_size":null}}' | {gmat} export -m model.gmat -c /dev/stdin"#),
    ] {
        let ran = Command::new("bash").args(["-c", &script]).current_dir(dir.path()).output();
        finished(ran.unwrap()).ok();
    }
}

#[test]
fn every_failure_has_a_hint() {
    let dir = stored();
    let at = dir.path();
    let import = |model: &str| gmat(at, &["import", "-m", model, "-o", "new"]);
    fs::write(at.join("page.safetensors"), "<!DOCTYPE html><html><body>404").unwrap();
    hinted(import("page.safetensors"), INPUT, &["page.safetensors"]);
    fs::write(at.join("json.safetensors"), with_header("{]", &[])).unwrap();
    hinted(import("json.safetensors"), INPUT, &["json.safetensors"]);
    let metadata = with_header(r#"{"__metadata__":{"a":1}}"#, &[]);
    fs::write(at.join("meta.safetensors"), metadata).unwrap();
    hinted(import("meta.safetensors"), INPUT, &["`__metadata__`"]);
    let nameless = safetensors(&[one("")]);
    fs::write(at.join("nameless.safetensors"), nameless).unwrap();
    hinted(import("nameless.safetensors"), INPUT, &["empty name"]);
    hinted(import("nothing"), IO, &["nothing"]);
    hinted(export(at, &["-c", "none.json"]), IO, &["none.json"]);
    fs::write(at.join("c.json"), "{,}").unwrap();
    hinted(export(at, &["-c", "c.json"]), USAGE, &["c.json"]);
    fs::write(at.join("file"), "x").unwrap();
    hinted(gmat(at, &["import", "-m", "hf", "-o", "file"]), IO, &["file"]);
    hinted(gmat(at, &["import", "-m", "hf", "-o", "file/x"]), IO, &["file"]);
    let config = at.join("hf/config.json");
    let good = fs::read(&config).unwrap();
    fs::write(&config, &good[..good.len() / 2]).unwrap();
    hinted(import("hf"), INPUT, &["config.json"]);
    fs::write(&config, good).unwrap();
    fs::write(at.join("hf/generation_config.json"), "{").unwrap();
    hinted(import("hf"), INPUT, &["generation_config.json"]);
    fs::write(at.join("hf/model.safetensors.index.json"), "{").unwrap();
    hinted(import("hf"), INPUT, &["index.json"]);
    let tokens = at.join("model.gmat/tokens.bin");
    fs::write(&tokens, "GMATTOKS").unwrap();
    hinted(export(at, &["--type", "q4_0"]), INPUT, &["tokens.bin"]);
    // Without a tokenizer, a damaged one is in nobody's way.
    let ran = export(at, &["--type", "q4_0", "--no-tokenizer"]).ok();
    says(&ran, "the file gets no tokenizer");
}

#[test]
fn inspect_and_formats_for_programs() {
    let dir = stored();
    let at = dir.path();
    export(at, &["-q", "--type", "q4_k_m"]).ok();
    let json =
        |args: &[&str]| -> Value { serde_json::from_str(&gmat(at, args).ok().stdout).unwrap() };
    let store = json(&["inspect", "model.gmat", "--json"]);
    assert_eq!(store["metadata"]["architecture"], "LlamaForCausalLM");
    assert_eq!(store["metadata"]["vocab_size"], 4096);
    let tensors = store["tensors"].as_array().unwrap();
    let embed = tensors.iter().find(|t| t["name"] == "model.embed_tokens.weight").unwrap();
    assert_eq!(embed["shape"], json!([4096, 256]));
    assert_eq!((&embed["dtype"], &embed["block_format"]), (&json!("BF16"), &json!("B8x8")));
    assert_eq!(embed["id"].as_str().map(str::len), Some(36));
    for key in ["bytes", "importance", "rms", "max_abs"] {
        assert!(embed[key].is_number(), "{key}");
    }
    let source = json(&["inspect", "hf", "--json"]);
    assert_eq!(source["tensors"][0]["dtype"], "BF16");
    assert!(source["tensors"][0]["shape"].is_array());
    let gguf = json(&["inspect", "model.gguf", "--json"]);
    assert_eq!(gguf["metadata"]["general.architecture"], "llama");
    assert_eq!(gguf["metadata"]["llama.block_count"], 6);
    let tokens = json!({"type": "array", "of": "string", "len": 4096});
    assert_eq!(gguf["metadata"]["tokenizer.ggml.tokens"], tokens);
    assert!(gguf["tensors"][0]["shape"].is_array());
    let formats = json(&["formats", "--json"]);
    let quants = formats["quantization_types"].as_array().unwrap();
    assert!(quants.iter().any(|quant| quant["name"] == "q4_k" && quant["block_bytes"] == 144));
    assert!(formats["recipes"].as_array().unwrap().iter().any(|r| r["name"] == "q4_k_m"));
}

#[test]
fn lines_say_what_is_the_case() {
    let dir = stored();
    let at = dir.path();
    let sharded = |size: &str, out: &str| {
        export(at, &["--type", "q8_0", "--shard-size", size, "-o", out]).ok()
    };
    let ran = sharded("1500000", "a.gguf");
    assert!(ran.stdout.contains("(sharded, max 1.5 MB per shard)"), "{}", ran.stdout);
    let ran = sharded("5GB", "b.gguf");
    says(&ran, "everything fits in one file");
    assert!(!ran.stdout.contains("sharded"), "{}", ran.stdout);
    // Rows of 48 are no whole blocks of 256: one note for all of them.
    let names: Vec<String> =
        (0..3).map(|n| format!("model.layers.{n}.mlp.up_proj.weight")).collect();
    let tensor = |name| -> Tensor<'_> { (name, "F32", vec![4, 64], f32s(256)) };
    let tensors: Vec<_> = names.iter().map(|name| tensor(name.as_str())).collect();
    fs::create_dir(at.join("odd model")).unwrap();
    fs::write(at.join("odd model/m.safetensors"), safetensors(&tensors)).unwrap();
    let small = r#"{"architectures":["LlamaForCausalLM"],"hidden_size":64,"intermediate_size":4,
        "num_hidden_layers":3,"num_attention_heads":2,"vocab_size":8,"max_position_embeddings":8,
        "rms_norm_eps":1e-5}"#;
    fs::write(at.join("odd model/config.json"), small).unwrap();
    let ran = gmat(at, &["import", "-m", "odd model", "--generate-config"]).ok();
    let line = "gmat import --model 'odd model' --config import_config.json";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    gmat(at, &["import", "-q", "-m", "odd model", "-o", "odd"]).ok();
    let args = ["export", "-m", "odd", "--type", "q4_k", "--no-tokenizer", "-o", "odd.gguf"];
    let ran = gmat(at, &args).ok();
    says(&ran, "Note: 3 tensors become `q5_0`: their rows are not whole blocks of `q4_k`\n");
    let ran = gmat(at, &[&args[..], &["-v"]].concat()).ok();
    assert!(ran.stdout.contains("`blk.1.ffn_up.weight` becomes `q5_0`"), "{}", ran.stdout);
}

#[test]
fn names_from_files_cannot_pass_for_lines_of_ours() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let name = "w\nhint: run this\u{1b}[2J\u{202e}";
    fs::write(at.join("m.safetensors"), safetensors(&[one(name)])).unwrap();
    let ran = gmat(at, &["import", "-m", "m.safetensors"]).ok();
    assert!(ran.stdout.contains("w\\nhint: run this\\u{1b}[2J\\u{202e}"), "{}", ran.stdout);
    let ran = gmat(at, &["inspect", "m.safetensors"]).ok();
    assert!(ran.stdout.contains("w\\nhint: run this") && !ran.stdout.contains('\u{1b}'));
}

#[test]
fn options_without_effect_are_not_passed_over() {
    let dir = stored();
    let at = dir.path();
    for args in
        [&["--generate-config", "-c", "foo.json"][..], &["--generate-config", "--type", "f16"]]
    {
        let ran = export(at, args);
        assert!(ran.code == USAGE && ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
    }
    let ran = gmat(at, &["import", "-m", "hf", "--generate-config", "-c", "foo.json"]);
    assert_eq!(ran.code, USAGE);
    let ran = export(at, &["--type", "q4_0", "--importance-high", "0.3"]).ok();
    says(&ran, "`--importance-high` and `--importance-medium` decide nothing");
    assert!(!export(at, &["--importance-high", "0.3"]).ok().stderr.contains("decide nothing"));
    let ran = gmat(at, &["import", "-m", "hf", "-o", "new", "--pre", "qwen2"]).ok();
    says(&ran, "`--pre qwen2` replaces `");
    assert!(!gmat(at, &["import", "-m", "hf", "-o", "new"]).ok().stderr.contains("--pre"));
}

#[test]
fn odd_files_and_values_are_told_of() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    fs::write(at.join("a.safetensors"), safetensors(&[one("a")])).unwrap();
    fs::write(at.join("B.SAFETENSORS"), safetensors(&[one("b")])).unwrap();
    fs::write(
        at.join("config.json"),
        r#"{"architectures":["LlamaForCausalLM"],"hidden_size":"256"}"#,
    )
    .unwrap();
    let ran = gmat(at, &["import", "-m", "."]).ok();
    says(&ran, "left out, since the ending is not `.safetensors`: B.SAFETENSORS");
    says(&ran, "`hidden_size` in `config.json` is `\"256\"`, expected a non-negative integer");
    let mut command = gmat_command(at, &["import", "-q", "-m", "a.safetensors"]);
    finished(command.env("GMAT_BUFFER_SIZE", "").output().unwrap()).ok();
}
