//! Whole runs of the program on the example model.

use std::fs;
use std::path::Path;

use gmat_core::format::gguf::Gguf;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{copy_files, example_model, gmat, gmat_command, tree};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A folder with the example model in `hf-model`, imported with these extra arguments.
fn imported(extra: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_files(&example_model(), &dir.path().join("hf-model"));
    let mut args = vec!["import", "-m", "hf-model/tiny_llm.safetensors", "-o", "."];
    args.extend_from_slice(extra);
    gmat(dir.path(), &args).ok();
    dir
}

#[test]
fn the_documented_workflow() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    copy_files(&example_model(), &at.join("hf-model"));
    let said =
        gmat(at, &["import", "--model", "hf-model/tiny_llm.safetensors", "--generate-config"]).ok();
    for line in [
        "Found 1 safetensors file(s)",
        "Processed 1/1 files (57 tensors)...",
        "=== Tensor Statistics ===",
        "Total tensors: 57",
        "Total elements: 6819072 (6.82 M)",
        "  1D tensors: 13",
        "  2D tensors: 44",
        "  3D tensors: 0",
        "  4D+ tensors: 0",
        "  Min elements: 256",
        "  BF16: 57",
        "=== Generated import_config.json ===",
        "Architecture: LlamaForCausalLM",
        "  gmat import --model hf-model/tiny_llm.safetensors --config import_config.json",
    ] {
        assert!(said.stdout.contains(line), "`{line}` is not in:\n{}", said.stdout);
    }
    let config = json(&at.join("import_config.json"));
    assert_eq!(config["source_format"], "safetensors");
    assert_eq!(config["block_format"], "B8x8");
    assert_eq!(config["tensor_map"].as_array().unwrap().len(), 57);
    assert_eq!(config["metadata"]["architecture"], "LlamaForCausalLM");
    assert_eq!(config["metadata"]["vocab_size"], 4096);
    assert_eq!(config["metadata"]["num_layers"], 6);

    gmat(
        at,
        &[
            "import",
            "--model",
            "hf-model/tiny_llm.safetensors",
            "--config",
            "import_config.json",
            "-o",
            ".",
        ],
    )
    .ok();
    let metadata = json(&at.join("model.gmat/metadata.json"));
    assert_eq!(metadata["total_tensors"], 57);
    assert_eq!(metadata["config"], config, "the effective config is the generated one");
    for (name, id) in metadata["tensor_name_map"].as_object().unwrap() {
        let id = id.as_str().unwrap();
        assert!(at.join(format!("model.gmat/tensors/{id}.gmat")).is_file(), "{name}");
    }
    assert!(at.join("model.gmat/tokens.bin").is_file());

    let said = gmat(at, &["export", "--model", "model.gmat", "--generate-config"]).ok();
    for line in [
        "Analyzing 57 tensors...",
        "=== Export Tensor Statistics ===",
        "Total tensors: 57",
        "Quantization types:",
        "Generated export_config.json (57 tensors)",
    ] {
        assert!(said.stdout.contains(line), "`{line}` is not in:\n{}", said.stdout);
    }
    let said = gmat(
        at,
        &["export", "--model", "model.gmat", "--config", "export_config.json", "-o", "m-q4.gguf"],
    )
    .ok();
    assert!(said.stdout.contains("Exporting to GGUF: m-q4.gguf"), "{}", said.stdout);
    assert!(said.stdout.contains("[1/57] token_embd.weight [4096,256]"), "{}", said.stdout);
    let len = fs::metadata(at.join("m-q4.gguf")).unwrap().len();
    assert!(
        said.stdout.contains(&format!("Done! 57 tensors, {len} bytes total")),
        "{}",
        said.stdout
    );
    let bytes = fs::read(at.join("m-q4.gguf")).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.meta.value("general.architecture").unwrap().as_str(), Some("llama"));
    assert_eq!(gguf.tensors.len(), 57);
    assert!(!at.join("m-q4.gguf.partial").exists());
}

#[test]
fn the_example_profiles() {
    let dir = imported(&[]);
    let at = dir.path();
    let mut sizes = Vec::new();
    for profile in ["economy", "balanced", "premium"] {
        let config = example_model().join(format!("../export/export-{profile}.json"));
        let out = format!("export/gguf/tiny_llm-{profile}.gguf");
        let args =
            ["export", "--model", "model.gmat", "--config", config.to_str().unwrap(), "-o", &out];
        gmat(at, &args).ok();
        sizes.push(fs::metadata(at.join(out)).unwrap().len());
    }
    assert!(sizes.is_sorted(), "{sizes:?}");
}

#[test]
fn same_bytes_for_any_number_of_threads_and_any_run() {
    let one = imported(&["--jobs", "1"]);
    let base = tree(&one.path().join("model.gmat"));
    for extra in [&["--jobs", "2"][..], &["--jobs", "8"], &[]] {
        let other = imported(extra);
        assert!(base == tree(&other.path().join("model.gmat")), "{extra:?}");
    }
    let export = |jobs: &str, buffer: &str| {
        let out = format!("{jobs}-{buffer}.gguf");
        let args = ["export", "-m", "model.gmat", "--type", "q4_k_m", "-o", &out, "--jobs", jobs];
        let mut command = gmat_command(one.path(), &args);
        command.env("GMAT_BUFFER_SIZE", buffer);
        crate::support::finished(command.output().unwrap()).ok();
        fs::read(one.path().join(out)).unwrap()
    };
    let first = export("1", "1");
    for (jobs, buffer) in [("1", "7"), ("2", "1"), ("2", "4"), ("8", "32")] {
        assert!(first == export(jobs, buffer), "{jobs} threads, {buffer} units");
    }
}

#[test]
fn shards_keep_their_cap_and_hold_what_the_whole_holds() {
    let dir = imported(&["--block-format", "raw"]);
    let at = dir.path();
    gmat(at, &["export", "-m", "model.gmat", "--type", "q8_0", "-o", "whole.gguf"]).ok();
    let said = gmat(
        at,
        &["export", "-m", "model.gmat", "--type", "q8_0", "-o", "m.gguf", "--shard-size", "2MB"],
    )
    .ok();
    let whole = fs::read(at.join("whole.gguf")).unwrap();
    let parsed = Gguf::parse(&whole).unwrap();
    let mut parts: Vec<_> =
        tree(at).into_iter().filter(|(p, _)| p.to_string_lossy().starts_with("m-0")).collect();
    parts.sort();
    let count = parts.len();
    assert!(count > 3, "{count}");
    assert!(said.stdout.contains("(sharded, max 2 MB per shard): m.gguf"), "{}", said.stdout);
    assert!(
        said.stdout.contains(&format!("Done! {count} shards, 57 tensors, ")),
        "{}",
        said.stdout
    );
    let mut tensors = Vec::new();
    for (number, (path, bytes)) in parts.iter().enumerate() {
        assert_eq!(path.to_str(), Some(format!("m-{:05}-of-{count:05}.gguf", number + 1).as_str()));
        assert!(bytes.len() <= 2_000_000, "{path:?} has {}", bytes.len());
        let part = Gguf::parse(bytes).unwrap();
        assert_eq!(part.meta.value("split.no").unwrap().as_u64(), Some(number as u64));
        assert_eq!(part.meta.value("split.count").unwrap().as_u64(), Some(count as u64));
        assert_eq!(part.meta.value("split.tensors.count").unwrap().as_u64(), Some(57));
        assert_eq!(
            part.meta.entries().len(),
            if number == 0 { parsed.meta.entries().len() + 3 } else { 3 }
        );
        for tensor in part.tensors {
            let start = usize::try_from(part.data_start + tensor.offset).unwrap();
            tensors.push((tensor, bytes[start..].to_vec()));
        }
    }
    assert_eq!(tensors.len(), parsed.tensors.len());
    for ((tensor, data), other) in tensors.iter().zip(&parsed.tensors) {
        assert_eq!(
            (&tensor.name, &tensor.dims, tensor.ggml_type),
            (&other.name, &other.dims, other.ggml_type)
        );
        let start = usize::try_from(parsed.data_start + other.offset).unwrap();
        let elems = usize::try_from(other.elems().unwrap()).unwrap();
        let len = if other.ggml_type == 0 { elems * 4 } else { elems / 32 * 34 };
        assert!(data[..len] == whole[start..start + len], "{}", tensor.name);
    }
}

#[test]
fn excluded_tensors_stay_out() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    copy_files(&example_model(), at);
    gmat(at, &["import", "-m", "tiny_llm.safetensors", "--generate-config"]).ok();
    let mut config = json(&at.join("import_config.json"));
    for entry in config["tensor_map"].as_array_mut().unwrap() {
        if entry["source"] == "lm_head.weight" {
            entry["include"] = Value::Bool(false);
        }
    }
    fs::write(at.join("import_config.json"), config.to_string()).unwrap();
    // A changed config is not lost by generating it again.
    gmat(at, &["import", "-m", "tiny_llm.safetensors", "--generate-config"])
        .fails(2, &["not overwritten", "--force"]);
    let said = gmat(at, &["import", "-m", "tiny_llm.safetensors", "-c", "import_config.json"]).ok();
    assert!(said.stderr.contains("1 tensor is left out"), "{}", said.stderr);
    let metadata = json(&at.join("output/model.gmat/metadata.json"));
    assert_eq!(metadata["total_tensors"], 56);
    assert!(metadata["tensor_name_map"].get("lm_head.weight").is_none());
    gmat(at, &["export", "-m", "output", "--type", "f16"]).ok();
    let gguf = Gguf::parse(&fs::read(at.join("model.gguf")).unwrap()).unwrap();
    assert!(!gguf.tensors.iter().any(|tensor| tensor.name == "output.weight"));
    gmat(at, &["import", "-m", "tiny_llm.safetensors", "--generate-config", "--force"]).ok();
}

#[test]
fn a_store_is_replaced_as_a_whole_and_nothing_else_is() {
    let dir = imported(&[]);
    let at = dir.path();
    gmat(at, &["import", "-m", "hf-model", "-o", ".", "--block-format", "B16x4"]).ok();
    let metadata = json(&at.join("model.gmat/metadata.json"));
    assert_eq!(metadata["config"]["block_format"], "B16x4");
    let names: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    fs::create_dir_all(at.join("mine/model.gmat")).unwrap();
    fs::write(at.join("mine/model.gmat/diary.txt"), "dear diary").unwrap();
    gmat(at, &["import", "-m", "hf-model", "-o", "mine"]).fails(2, &["is not a store"]);
    assert!(at.join("mine/model.gmat/diary.txt").exists());
    // A folder that is called like a store is the store.
    gmat(at, &["import", "--input", "hf-model", "--output", "other.gmat"]).ok();
    assert!(at.join("other.gmat/metadata.json").exists());
}

#[test]
fn shards_with_and_without_index_equal_the_single_file() {
    use safetensors::SafeTensors;
    use safetensors::tensor::{TensorView, serialize};
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    copy_files(&example_model(), &at.join("one/model"));
    copy_files(&example_model(), &at.join("many/model"));
    let bytes = fs::read(at.join("many/model/tiny_llm.safetensors")).unwrap();
    fs::remove_file(at.join("many/model/tiny_llm.safetensors")).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = all.names();
    names.sort_unstable();
    let mut weight_map = serde_json::Map::new();
    for (number, part) in names.chunks(20).enumerate() {
        let file = format!("model-{:05}-of-00003.safetensors", number + 1);
        let views: Vec<(&str, TensorView<'_>)> =
            part.iter().map(|name| (*name, all.tensor(name).unwrap())).collect();
        fs::write(at.join("many/model").join(&file), serialize(views, None).unwrap()).unwrap();
        for name in part {
            weight_map.insert((*name).to_owned(), Value::from(file.clone()));
        }
    }
    gmat(at, &["import", "-m", "one/model", "-o", "one"]).ok();
    gmat(at, &["export", "-m", "one", "--type", "q6_k", "-o", "one.gguf"]).ok();
    for index in [false, true] {
        if index {
            let text = serde_json::json!({"metadata": {}, "weight_map": weight_map}).to_string();
            fs::write(at.join("many/model/model.safetensors.index.json"), text).unwrap();
        }
        gmat(at, &["import", "-m", "many/model", "-o", "many"]).ok();
        gmat(at, &["export", "-m", "many", "--type", "q6_k", "-o", "many.gguf"]).ok();
        assert!(fs::read(at.join("one.gguf")).unwrap() == fs::read(at.join("many.gguf")).unwrap());
    }
    let said =
        gmat(at, &["import", "-m", "many/model/model-00002-of-00003.safetensors", "-o", "part"])
            .ok();
    assert!(said.stderr.contains("shard 2 of 3"), "{}", said.stderr);
    // The index itself means the whole model.
    gmat(at, &["import", "-m", "many/model/model.safetensors.index.json", "-o", "many"]).ok();

    fs::remove_file(at.join("many/model/model-00002-of-00003.safetensors")).unwrap();
    gmat(at, &["import", "-m", "many/model", "-o", "many"])
        .fails(3, &["model-00002-of-00003", "missing"]);
    fs::remove_file(at.join("many/model/model.safetensors.index.json")).unwrap();
    gmat(at, &["import", "-m", "many/model", "-o", "many"])
        .fails(3, &["model-00002-of-00003", "missing"]);
}

#[test]
fn progress_and_quiet() {
    let dir = imported(&[]);
    let at = dir.path();
    let quiet = gmat(at, &["export", "-q", "-m", "model.gmat", "--type", "q4_0"]).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let events =
        gmat(at, &["export", "--progress", "json", "-m", "model.gmat", "--type", "q4_0"]).ok();
    let json: Vec<Value> =
        events.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // Standard error is nothing but JSON then, notes included.
    assert_eq!(json.len(), events.stderr.lines().count(), "{}", events.stderr);
    let start = json.iter().find(|event| event["event"] == "start").unwrap();
    assert_eq!(json.iter().filter(|event| event["event"] == "tensor").count(), 57);
    assert_eq!(json.last().unwrap()["done"], start["bytes"]);
    let none =
        gmat(at, &["export", "--progress", "none", "-m", "model.gmat", "--type", "q4_0"]).ok();
    assert!(!none.stdout.contains("[1/57]") && none.stdout.contains("Done!"));
}

#[test]
fn inspect_and_formats_and_help() {
    let dir = imported(&[]);
    let at = dir.path();
    gmat(at, &["export", "-m", "model.gmat", "--type", "q4_k_m"]).ok();
    for path in ["hf-model", "hf-model/tiny_llm.safetensors", "model.gmat", "model.gguf"] {
        let table = gmat(at, &["inspect", path]).ok();
        assert!(table.stdout.contains("57 tensors"), "{}", table.stdout);
        let json: Value =
            serde_json::from_str(&gmat(at, &["inspect", path, "--json"]).ok().stdout).unwrap();
        assert_eq!(json["tensors"].as_array().unwrap().len(), 57);
    }
    let formats = gmat(at, &["formats"]).ok().stdout;
    for name in ["B8x8", "DualRow16x4", "raw", "q4_k", "iq4_xs", "q4_k_m", "llama", "qwen3"] {
        assert!(formats.contains(name), "{name} is not in:\n{formats}");
    }
    for command in ["import", "export", "inspect"] {
        assert!(gmat(at, &[command, "--help"]).ok().stdout.contains("Examples:"));
    }
}
