//! Bad input is normal input: every case ends in an error that names what is wrong and where, with
//! the documented exit code, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gmat_tests::synth::Llama;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Tensor, copy_files, example_model, f32s, finished, gmat, gmat_command, safetensors, tree,
    with_header,
};

const INPUT: i32 = 3;
const USAGE: i32 = 2;
const IO: i32 = 4;

/// Runs an import of these bytes as `m.safetensors`.
fn import_bytes(bytes: &[u8], extra: &[&str]) -> (TempDir, crate::support::Ran) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("m.safetensors"), bytes).unwrap();
    let mut args = vec!["import", "-m", "m.safetensors", "-o", "out"];
    args.extend_from_slice(extra);
    let ran = gmat(dir.path(), &args);
    (dir, ran)
}

#[track_caller]
fn nothing_left(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let (dir, ran) = import_bytes(bytes, &[]);
    let mut all = vec!["m.safetensors"];
    all.extend_from_slice(parts);
    ran.fails(INPUT, &all);
    nothing_left(&dir.path().join("out"));
}

fn one(name: &str) -> Tensor<'_> {
    (name, "F32", vec![4, 8], f32s(32))
}

#[test]
fn broken_safetensors_headers() {
    let good = safetensors(&[one("w")]);
    import_bytes(&good, &[]).1.ok();
    for cut in [0, 4, 7, 8, 20, good.len() - 129, good.len() - 1] {
        refused(&good[..cut], &["truncated"]);
    }
    refused(&[&good[..], b"more"].concat(), &["4 bytes after the last tensor"]);
    refused(&u64::MAX.to_le_bytes(), &["header length"]);
    refused(&with_header("{", &[]), &["not a valid SafeTensors header"]);
    refused(&with_header("\u{1}", &[]), &["not a valid SafeTensors header"]);
    refused(&with_header(&"[".repeat(100_000), &[]), &["not a valid SafeTensors header"]);
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        with_header(
            &format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#),
            &[0; 64],
        )
    };
    refused(&entry("F61", "[16]", "[0,64]"), &["`w`", "unknown dtype `F61`"]);
    refused(&entry("F32", "[15]", "[0,64]"), &["`w`", "needs 60 bytes"]);
    refused(&entry("F32", "[16]", "[64,0]"), &["`w`"]);
    refused(&entry("F32", "[16]", "[4,68]"), &["`w`", "gap"]);
    refused(&entry("F32", "[-16]", "[0,64]"), &["`w`"]);
    refused(&entry("F32", "[18446744073709551615,18446744073709551615]", "[0,64]"), &["`w`"]);
    let twice = r#"{"w":{"dtype":"U8","shape":[32],"data_offsets":[0,32]},"w":{"dtype":"U8","shape":[32],"data_offsets":[32,64]}}"#;
    refused(&with_header(twice, &[0; 64]), &["`w`", "twice"]);
    let overlap = r#"{"a":{"dtype":"U8","shape":[40],"data_offsets":[0,40]},"b":{"dtype":"U8","shape":[40],"data_offsets":[24,64]}}"#;
    refused(&with_header(overlap, &[0; 64]), &["`b`", "overlaps"]);
    // The same file cut at every 37th byte.
    for cut in (0..good.len()).step_by(37) {
        let (_, ran) = import_bytes(&good[..cut], &[]);
        ran.fails(INPUT, &["m.safetensors"]);
    }
}

#[test]
fn tensors_in_two_shards() {
    let dir = TempDir::new().unwrap();
    for name in ["a", "b"] {
        fs::write(
            dir.path().join(format!("{name}.safetensors")),
            safetensors(&[one("same.weight")]),
        )
        .unwrap();
    }
    gmat(dir.path(), &["import", "-m", "."])
        .fails(INPUT, &["same.weight", "a.safetensors", "b.safetensors"]);
    let index = r#"{"weight_map":{"same.weight":"a.safetensors","lost.weight":"a.safetensors"}}"#;
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    gmat(dir.path(), &["import", "-m", "."]).fails(INPUT, &["lost.weight", "a.safetensors"]);
    let index = r#"{"weight_map":{"same.weight":"../../etc/passwd"}}"#;
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    gmat(dir.path(), &["import", "-m", "."]).fails(INPUT, &["../../etc/passwd"]);
    fs::write(dir.path().join("model.safetensors.index.json"), "{").unwrap();
    gmat(dir.path(), &["import", "-m", "."]).fails(INPUT, &["model.safetensors.index.json"]);
    nothing_left(&dir.path().join("output"));
}

#[test]
fn the_same_weights_in_two_forms() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    fs::write(at.join("model.safetensors"), safetensors(&[one("usual")])).unwrap();
    fs::write(at.join("consolidated.safetensors"), safetensors(&[one("other.form")])).unwrap();
    let said = gmat(at, &["import", "-m", "."]).ok();
    assert!(said.stderr.contains("consolidated.safetensors"), "{}", said.stderr);
    let metadata = fs::read_to_string(at.join("output/model.gmat/metadata.json")).unwrap();
    assert!(metadata.contains("usual") && !metadata.contains("other.form"));
    gmat(at, &["import", "-m", "consolidated.safetensors", "-o", "other"]).ok();
    fs::remove_file(at.join("model.safetensors")).unwrap();
    gmat(at, &["import", "-m", ".", "-o", "alone"]).ok();
    assert!(
        tree(&at.join("other/model.gmat/tensors")) == tree(&at.join("alone/model.gmat/tensors"))
    );
}

#[test]
fn missing_and_wrong_inputs() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    gmat(at, &["import", "-m", "nothing.safetensors"]).fails(IO, &["nothing.safetensors"]);
    gmat(at, &["import", "-m", "."]).fails(IO, &["no `.safetensors` file"]);
    fs::write(at.join("m.bin"), "x").unwrap();
    gmat(at, &["import", "-m", "m.bin"]).fails(INPUT, &["m.bin", "not a SafeTensors file"]);
    gmat(at, &["export", "-m", "nothing"]).fails(IO, &["no store here"]);
    fs::write(at.join("m.safetensors"), safetensors(&[one("w")])).unwrap();
    gmat(at, &["import", "-m", "m.safetensors", "-c", "none.json"]).fails(IO, &["none.json"]);
    assert_eq!(gmat(at, &["import"]).code, USAGE);
    assert_eq!(gmat(at, &["frobnicate"]).code, USAGE);
    assert_eq!(gmat(at, &["import", "-m", "m.safetensors", "--jobs", "1000000"]).code, USAGE);
    gmat(at, &["import", "-m", "m.safetensors", "-c", "/dev/zero"]).fails(USAGE, &["/dev/zero"]);
    assert_eq!(gmat(at, &["import", "-m", "m.safetensors", "--memory", "lots"]).code, USAGE);
    gmat(at, &["import", "-m", "m.safetensors", "--memory", "100"]).fails(USAGE, &["--memory"]);
    let mut command = gmat_command(at, &["import", "-m", "m.safetensors"]);
    finished(command.env("GMAT_BUFFER_SIZE", "none").output().unwrap())
        .fails(USAGE, &["GMAT_BUFFER_SIZE"]);
}

#[test]
fn values_that_are_not_numbers() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut data = f32s(32);
        data[4 * 21..4 * 22].copy_from_slice(&value.to_le_bytes());
        let bytes = safetensors(&[("w.weight", "F32", vec![4, 8], data)]);
        let (dir, ran) = import_bytes(&bytes, &[]);
        ran.fails(INPUT, &["w.weight", "row 2, column 5", &format!("`{shown}`")]);
        nothing_left(&dir.path().join("out"));
        // `raw` keeps whatever is there.
        import_bytes(&bytes, &["--block-format", "raw"]).1.ok();
    }
}

#[test]
fn unknown_names_get_the_nearest_known() {
    let good = safetensors(&[one("w")]);
    import_bytes(&good, &["--block-format", "b8x8"])
        .1
        .fails(USAGE, &["unknown block format `b8x8`", "`B8x8`?"]);
    let (dir, at) = stored(&[]);
    let at = at.as_path();
    gmat(at, &["export", "-m", "model.gmat", "--type", "q4km"])
        .fails(USAGE, &["unknown quantization type `q4km`", "`q4_k_m`?"]);
    gmat(at, &["export", "-m", "model.gmat", "--arch", "lama"])
        .fails(USAGE, &["`lama`", "`llama`?"]);
    let id = "0b7f8a52-6c0e-5a3e-9a53-3c1f0f5d9a11";
    let config = |text: &str| {
        fs::write(at.join("c.json"), text).unwrap();
        gmat(at, &["export", "-m", "model.gmat", "-c", "c.json"])
    };
    config(&format!(r#"{{"quantization":{{"per_tensor":{{"{id}":"q8_0"}}}}}}"#))
        .fails(USAGE, &[id, "not in the store"]);
    config(r#"{"quantization":{"per_tensor":{"xyz":"q8_0"}}}"#)
        .fails(USAGE, &["`xyz`", "not a UUID"]);
    config(&format!(r#"{{"tensor_map":[{{"source":"{id}","target":"x"}}]}}"#)).fails(USAGE, &[id]);
    config(r#"{"quantization":{"default_typ":"q8_0"}}"#)
        .fails(USAGE, &["c.json", "`default_type`?"]);
    config(r#"{"special_token_keys":{"boss":"x"}}"#).fails(USAGE, &["boss"]);
    config("{").fails(USAGE, &["c.json", "not valid JSON"]);
    config(r#"{"shard_size":100}"#).fails(USAGE, &["does not fit", "`shard_size`"]);
    drop(dir);
}

/// The example model imported to `model.gmat`.
fn stored(extra: &[&str]) -> (TempDir, std::path::PathBuf) {
    let dir = TempDir::new().unwrap();
    copy_files(&example_model(), &dir.path().join("hf"));
    let mut args = vec!["import", "-q", "-m", "hf", "-o", "."];
    args.extend_from_slice(extra);
    gmat(dir.path(), &args).ok();
    let path = dir.path().to_owned();
    (dir, path)
}

#[test]
fn damaged_stores() {
    let (_dir, at) = stored(&[]);
    let metadata = at.join("model.gmat/metadata.json");
    let text = fs::read_to_string(&metadata).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let id = json["tensor_name_map"]["model.embed_tokens.weight"].as_str().unwrap();
    let tensor = at.join(format!("model.gmat/tensors/{id}.gmat"));
    let bytes = fs::read(&tensor).unwrap();
    let export = || gmat(&at, &["export", "-m", "model.gmat", "--type", "q4_0"]);

    for at_byte in [
        0,
        4,
        8,
        1000,
        bytes.len() / 2,
        bytes.len() - 300,
        bytes.len() - 60,
        bytes.len() - 20,
        bytes.len() - 1,
    ] {
        let mut broken = bytes.clone();
        broken[at_byte] ^= 0x10;
        fs::write(&tensor, broken).unwrap();
        export().fails(INPUT, &[id]);
    }
    for cut in [0, 5, 71, 1000, bytes.len() - 1] {
        fs::write(&tensor, &bytes[..cut]).unwrap();
        export().fails(INPUT, &[id, "truncated"]);
    }
    // The file of another tensor under this name.
    let other = json["tensor_name_map"]["lm_head.weight"].as_str().unwrap();
    fs::copy(at.join(format!("model.gmat/tensors/{other}.gmat")), &tensor).unwrap();
    export().fails(INPUT, &[id, "not the one"]);
    fs::remove_file(&tensor).unwrap();
    export().fails(IO, &["missing tensor", id]);
    let said = gmat(&at, &["export", "-m", "model.gmat", "--generate-config"]).ok();
    assert!(
        said.stderr.contains("Warning: missing tensor: ") && said.stderr.contains(id),
        "{}",
        said.stderr
    );
    fs::remove_file(at.join("export_config.json")).unwrap();
    fs::write(&tensor, &bytes).unwrap();

    for (from, to) in [("B8x8", "B8x4"), ("BF16", "BF61"), (": 57", ": 58")] {
        fs::write(&metadata, text.replacen(from, to, 1)).unwrap();
        export().fails(INPUT, &["failed to parse metadata.json"]);
    }
    fs::write(&metadata, &text[..text.len() / 2]).unwrap();
    export().fails(INPUT, &["metadata.json"]);
    fs::write(&metadata, text.replacen("\"format_version\": 3", "\"format_version\": 4", 1))
        .unwrap();
    export().fails(INPUT, &["newer"]);
    fs::write(&metadata, &text).unwrap();

    let tokens = at.join("model.gmat/tokens.bin");
    let mut broken = fs::read(&tokens).unwrap();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(&tokens, &broken).unwrap();
    export().fails(INPUT, &["tokens.bin"]);
    fs::remove_file(&tokens).unwrap();
    export().fails(INPUT, &["no tokenizer", "--no-tokenizer"]);
    gmat(&at, &["export", "-m", "model.gmat", "--type", "q4_0", "--no-tokenizer"]).ok();
    assert!(!at.join("model.gguf.partial").exists());
}

#[test]
fn unknown_architecture() {
    let dir = TempDir::new().unwrap();
    copy_files(&example_model(), &dir.path().join("hf"));
    let config = dir.path().join("hf/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("LlamaForCausalLM", "LamaForCausalLM")).unwrap();
    gmat(dir.path(), &["import", "-q", "-m", "hf", "-o", "."]).ok();
    gmat(dir.path(), &["export", "-m", "model.gmat", "--type", "q8_0"])
        .fails(INPUT, &["unknown architecture `LamaForCausalLM`", "LlamaForCausalLM", "--arch"]);
    gmat(dir.path(), &["export", "-m", "model.gmat", "--type", "q8_0", "--arch", "llama"]).ok();
    // No config at all: the import works, the export says what it needs.
    fs::remove_file(&config).unwrap();
    gmat(dir.path(), &["import", "-q", "-m", "hf", "-o", "."]).ok();
    gmat(dir.path(), &["export", "-m", "model.gmat", "--type", "q8_0"])
        .fails(INPUT, &["architecture", "--arch"]);
}

#[test]
fn output_that_cannot_be_written() {
    let (_dir, at) = stored(&[]);
    fs::write(at.join("file"), "x").unwrap();
    gmat(&at, &["import", "-m", "hf", "-o", "file/below"]).fails(IO, &["file/below"]);
    gmat(&at, &["export", "-m", "model.gmat", "--type", "q4_0", "-o", "file/x.gguf"])
        .fails(IO, &["file"]);
    fs::create_dir(at.join("folder.gguf")).unwrap();
    gmat(&at, &["export", "-m", "model.gmat", "--type", "q4_0", "-o", "folder.gguf"])
        .fails(USAGE, &["folder.gguf"]);
}

/// Weights that mean something only with their scales must not pass for plain ones.
#[test]
fn packed_checkpoints_are_refused() {
    let dir = TempDir::new().unwrap();
    copy_files(&example_model(), &dir.path().join("hf"));
    let config = dir.path().join("hf/config.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    json["quantization_config"] =
        serde_json::json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    fs::write(&config, json.to_string()).unwrap();
    gmat(dir.path(), &["import", "-m", "hf"]).fails(INPUT, &["`fp8`", "no tensor"]);
    json["quantization_config"] = serde_json::json!({"quant_method": "gptq", "bits": 4});
    fs::write(&config, json.to_string()).unwrap();
    gmat(dir.path(), &["import", "-m", "hf"]).fails(INPUT, &["`gptq`", "not supported"]);
    nothing_left(&dir.path().join("output"));
}

#[test]
fn outputs_that_would_destroy_something() {
    let (_dir, at) = stored(&[]);
    let export =
        |out: &str| gmat(&at, &["export", "-m", "model.gmat", "--type", "q4_0", "-o", out]);
    export("model.gmat/metadata.json").fails(USAGE, &["inside the store"]);
    export("new/").fails(USAGE, &["not a file name"]);
    assert!(Command::new("mkfifo").arg(at.join("pipe.gguf")).status().unwrap().success());
    export("pipe.gguf").fails(USAGE, &["not a file"]);
    gmat(&at, &["export", "-m", "model.gmat"]).ok();
    // A link to a store stays a link.
    std::os::unix::fs::symlink("model.gmat", at.join("link.gmat")).unwrap();
    gmat(&at, &["import", "-q", "-m", "hf", "-o", "link.gmat", "--block-format", "raw"]).ok();
    assert!(at.join("link.gmat").is_symlink());
    let metadata = fs::read_to_string(at.join("model.gmat/metadata.json")).unwrap();
    assert!(metadata.contains("\"block_format\": \"raw\""));
}

/// Two runs with one output: the second is refused, the first is not disturbed.
#[test]
fn two_runs_with_one_output() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    Llama::of_size(300_000_000, 20_000_000).write(&at.join("hf")).unwrap();
    let twice = |args: &[&str], begun: &Path| {
        let first =
            gmat_command(at, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !begun.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        gmat(at, args).fails(IO, &["another run of gmat"]);
        finished(first.wait_with_output().unwrap()).ok();
    };
    twice(&["import", "-q", "-m", "hf", "-o", "out"], &at.join("out/model.gmat.lock.partial"));
    twice(
        &["export", "-q", "-m", "out", "--type", "q4_k", "--no-tokenizer", "-o", "m.gguf"],
        &at.join("m.gguf.partial"),
    );
    let names: Vec<_> =
        fs::read_dir(at.join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["model.gmat"]);
    // What a killed run left is in nobody's way.
    for leftover in ["out/model.gmat.partial", "out/model.gmat.old.partial"] {
        fs::create_dir(at.join(leftover)).unwrap();
        fs::write(at.join(leftover).join("x"), "x").unwrap();
    }
    fs::write(at.join("out/model.gmat.lock.partial"), "").unwrap();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "out"]).ok();
    let names: Vec<_> =
        fs::read_dir(at.join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["model.gmat"]);
}

#[test]
fn printing_that_fails_is_an_error() {
    let (_dir, at) = stored(&[]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = gmat_command(&at, &["inspect", "model.gmat"]);
    let ran = finished(
        command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap(),
    );
    ran.fails(IO, &["standard output"]);
}

/// GGUF headers that lie about their size are refused without reading or allocating what they say.
#[test]
fn inspecting_hostile_gguf() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let sparse = |name: &str, start: &[u8]| {
        fs::write(at.join(name), start).unwrap();
        let file = fs::OpenOptions::new().write(true).open(at.join(name)).unwrap();
        file.set_len(6 << 30).unwrap();
    };
    sparse("magic.gguf", b"GGML");
    gmat(at, &["inspect", "magic.gguf"]).fails(INPUT, &["magic"]);
    // One key: a byte array of 2^62 elements.
    let mut header = b"GGUF\x03\0\0\0".to_vec();
    for number in [0u64, 1, 1] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.push(b'k');
    header.extend_from_slice(&9u32.to_le_bytes());
    header.extend_from_slice(&0u32.to_le_bytes());
    header.extend_from_slice(&(1u64 << 62).to_le_bytes());
    sparse("array.gguf", &header);
    gmat(at, &["inspect", "array.gguf"]).fails(INPUT, &["beyond the end"]);
    fs::write(at.join("cut.gguf"), &header[..30]).unwrap();
    gmat(at, &["inspect", "cut.gguf"]).fails(INPUT, &["cut off"]);
}
