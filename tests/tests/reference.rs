//! Exports compared with what `llama-quantize` wrote, tensor data byte by byte: every file type,
//! without importance and with matrices of both forms, for a dense model and one with experts.

use std::fs;
use std::path::Path;

use gmat_core::Registry;
use gmat_core::config::tensor_id;
use gmat_core::format::gguf::{Gguf, GgufTensor};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::importance::{data_in_reference_order, sha256};
use crate::support::{Ran, Tensor, data, gmat, safetensors};

/// What a tensor is called in a checkpoint. The experts are stacked already, under a name that no
/// architecture knows.
fn source_name(name: &str) -> String {
    let known = [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
    ];
    if let Some((_, source)) = known.iter().find(|(target, _)| *target == name) {
        return (*source).to_owned();
    }
    let modules = [
        ("attn_q.", "self_attn.q_proj."),
        ("attn_k.", "self_attn.k_proj."),
        ("attn_v.", "self_attn.v_proj."),
        ("attn_output.", "self_attn.o_proj."),
        ("attn_norm.", "input_layernorm."),
        ("ffn_norm.", "post_attention_layernorm."),
        ("ffn_gate.", "mlp.gate_proj."),
        ("ffn_up.", "mlp.up_proj."),
        ("ffn_down.", "mlp.down_proj."),
        ("ffn_gate_inp.", "moe.router."),
        ("ffn_gate_exps.", "moe.experts.gate."),
        ("ffn_up_exps.", "moe.experts.up."),
        ("ffn_down_exps.", "moe.experts.down."),
    ];
    let rest = name.strip_prefix("blk.").unwrap();
    let (layer, module) = rest.split_once('.').unwrap();
    let (from, to) = modules.iter().find(|(from, _)| module.starts_with(from)).unwrap();
    format!("model.layers.{layer}.{}", module.replace(from, to))
}

/// The rows of a projection in the order of checkpoints: each head has its even rows first.
fn halves_apart(bytes: &[u8], row: usize, heads: u64) -> Vec<u8> {
    let rows: Vec<&[u8]> = bytes.chunks(row).collect();
    let head = rows.len() / usize::try_from(heads).unwrap();
    let mut out = Vec::new();
    for rows in rows.chunks(head) {
        out.extend(rows.iter().step_by(2).chain(rows.iter().skip(1).step_by(2)).copied().flatten());
    }
    out
}

/// A folder with the store of a model made of a GGUF file, and an export config that names all of
/// its tensors.
fn stored(model: &str) -> TempDir {
    let bytes = fs::read(data("data/quantize").join(model)).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let dir = TempDir::new().unwrap();
    let number = |key: &str| gguf.meta.value(&format!("llama.{key}")).unwrap().as_u64().unwrap();
    let (heads, kv_heads) = (number("attention.head_count"), number("attention.head_count_kv"));
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": number("vocab_size"),
        "tie_word_embeddings": !gguf.tensors.iter().any(|tensor| tensor.name == "output.weight"),
    });
    let folder = dir.path().join("hf");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let names: Vec<String> = gguf.tensors.iter().map(|tensor| source_name(&tensor.name)).collect();
    let tensor = |(tensor, name): (&GgufTensor, &'_ String)| {
        let (dtype, size) = if tensor.ggml_type == 0 { ("F32", 4) } else { ("BF16", 2) };
        let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
        let len = usize::try_from(tensor.elems().unwrap()).unwrap() * size;
        let bytes = &bytes[start..start + len];
        let row = usize::try_from(tensor.dims[0]).unwrap() * size;
        let bytes = match name.rsplit('.').nth(1) {
            Some("q_proj") => halves_apart(bytes, row, heads),
            Some("k_proj") => halves_apart(bytes, row, kv_heads),
            _ => bytes.to_vec(),
        };
        (dtype, tensor.dims.iter().rev().copied().collect::<Vec<u64>>(), bytes)
    };
    let tensors: Vec<Tensor<'_>> = gguf
        .tensors
        .iter()
        .zip(&names)
        .map(|pair| {
            let (dtype, shape, bytes) = tensor(pair);
            (pair.1.as_str(), dtype, shape, bytes)
        })
        .collect();
    fs::write(folder.join("model.safetensors"), safetensors(&tensors)).unwrap();
    for file in ["llama.imatrix.gguf", "llama.imatrix.dat", "moe.imatrix.gguf", "moe.imatrix.dat"] {
        fs::copy(data("data/quantize").join(file), dir.path().join(file)).unwrap();
    }
    let map: Vec<Value> = gguf
        .tensors
        .iter()
        .zip(&names)
        .map(|(tensor, name)| json!({"source": tensor_id(name), "target": tensor.name}))
        .collect();
    let config = json!({"quantization": {"scale_optimization": "standard"}, "tensor_map": map});
    fs::write(dir.path().join("map.json"), config.to_string()).unwrap();
    gmat(dir.path(), &["import", "-q", "-m", "hf", "-o", ".", "--block-format", "raw"]).ok();
    dir
}

fn export(at: &Path, ty: &str, extra: &[&str]) -> Ran {
    let mut args = vec![
        "export",
        "-m",
        ".",
        "-c",
        "map.json",
        "--type",
        ty,
        "--no-tokenizer",
        "-o",
        "out.gguf",
    ];
    args.extend_from_slice(extra);
    gmat(at, &args)
}

/// The hash of the tensor data of the file last written.
fn data_hash(at: &Path) -> String {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let len = |ty, elems| registry.quant_by_id(ty).unwrap().block().len_of(elems).unwrap();
    sha256(&data_in_reference_order(&fs::read(at.join("out.gguf")).unwrap(), len))
}

fn expected_runs() -> Value {
    serde_json::from_slice(&fs::read(data("data/quantize/expected.json")).unwrap()).unwrap()
}

/// Runs everything of one model; returns how many runs were compared, failures included.
fn compare(model: &str) -> usize {
    let dir = stored(model);
    let at = dir.path();
    let expected = expected_runs();
    let mut compared = 0;
    for run in expected["runs"].as_array().unwrap() {
        if run["model"] != model {
            continue;
        }
        let ty = run["type"].as_str().unwrap();
        let mut extra = Vec::new();
        if let Some(imatrix) = run["imatrix"].as_str() {
            // Both forms hold the same numbers to the bit, which is tested by itself; the slowest
            // types are not run twice.
            if imatrix.ends_with(".dat") && ["iq1", "iq2", "iq3"].iter().any(|t| ty.starts_with(t))
            {
                continue;
            }
            extra = vec!["--imatrix", imatrix];
        }
        // That the model has experts is known to the reference only; it shows in one decision.
        let low = ["iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m"].contains(&ty);
        if low && model == "moe.gguf" {
            extra.extend(["--tensor-type", "attn_v=q4_k"]);
        }
        let ran = export(at, ty, &extra);
        if ran.stderr.contains("is not implemented yet") {
            continue;
        }
        compared += 1;
        if run["error"].is_string() {
            assert!(ran.code == 2 || ran.code == 3, "{run}\n{}", ran.stderr);
            let needs = run["error"].as_str().unwrap().contains("imatrix");
            assert_eq!(needs, ran.stderr.contains("needs importance"), "{run}\n{}", ran.stderr);
            continue;
        }
        let ran = ran.ok();
        assert_eq!(data_hash(at), run["data_sha256"], "{run}\n{}", ran.stderr);
    }
    compared
}

#[test]
fn a_dense_model_in_every_type() {
    let compared = compare("llama.gguf");
    assert!(compared >= 60, "only {compared} runs");
}

#[test]
fn a_model_with_experts_in_every_type() {
    let compared = compare("moe.gguf");
    assert!(compared >= 60, "only {compared} runs");
}

/// The run of `llama-quantize` with overrides; options for embedding and head are rules here.
#[test]
fn overrides_of_single_tensors() {
    let dir = stored("llama.gguf");
    let rules =
        ["attn_v=q8_0", r"blk\.1\.ffn_down=Q5_K", "^output\\.weight$=q8_0", "TOKEN_EMBD=q4_0"];
    let extra: Vec<&str> = rules.iter().flat_map(|rule| ["--tensor-type", rule]).collect();
    export(dir.path(), "q4_k_m", &extra).ok();
    let expected = "6ad86b4c84b0296662461209f3a3e74d2b12bceb583116c4796f75de13fb3697";
    assert_eq!(data_hash(dir.path()), expected);
}

#[test]
fn provenance_and_messages() {
    let dir = stored("llama.gguf");
    let at = dir.path();
    let keys = |at: &Path| -> Vec<(String, gmat_core::format::gguf::Value)> {
        let gguf = Gguf::parse(&fs::read(at.join("out.gguf")).unwrap()).unwrap();
        let own = |(key, _): &&(String, _)| key.starts_with("quantize.");
        gguf.meta.entries().iter().filter(own).cloned().collect()
    };
    export(at, "q4_k_m", &[]).ok();
    assert_eq!(keys(at), []);
    let said = export(at, "q4_k_m", &["--imatrix", "./llama.imatrix.gguf"]).ok();
    let note =
        "without importance, all columns alike, 2 tensors: `token_embd.weight`, `output.weight`";
    assert!(said.stderr.contains(note), "{}", said.stderr);
    let wanted: Vec<(String, gmat_core::format::gguf::Value)> = vec![
        ("quantize.imatrix.file".to_owned(), "./llama.imatrix.gguf".into()),
        ("quantize.imatrix.dataset".to_owned(), "corpus.txt".into()),
        ("quantize.imatrix.entries_count".to_owned(), 14u32.into()),
        ("quantize.imatrix.chunks_count".to_owned(), 8u32.into()),
    ];
    assert_eq!(keys(at), wanted);
    let with_option = data_hash(at);

    // In the config, the file is looked for beside the config.
    fs::create_dir(at.join("profiles")).unwrap();
    fs::copy(at.join("llama.imatrix.dat"), at.join("profiles/m.dat")).unwrap();
    let mut config: Value =
        serde_json::from_slice(&fs::read(at.join("map.json")).unwrap()).unwrap();
    config["imatrix"] = json!("m.dat");
    fs::write(at.join("profiles/p.json"), config.to_string()).unwrap();
    let args = ["export", "-m", ".", "-c", "profiles/p.json", "--no-tokenizer", "-o", "out.gguf"];
    gmat(at, &args).ok();
    assert_eq!(data_hash(at), with_option);
    assert_eq!(keys(at)[0].1, "m.dat".into());
    let missing = [&args[..], &["--imatrix", "absent.dat"]].concat();
    gmat(at, &missing).fails(4, &["importance matrix `./absent.dat`", "no such file"]);
    let model = [&args[..], &["--imatrix", "out.gguf"]].concat();
    gmat(at, &model).fails(3, &["no importance matrix", "llama-imatrix"]);
}

#[test]
fn sizes_that_differ_are_named() {
    let dir = stored("moe.gguf");
    let at = dir.path();
    let mut bytes = fs::read(at.join("moe.imatrix.dat")).unwrap();
    let name = b"blk.0.ffn_gate_exps.weight";
    let found = bytes.windows(name.len()).position(|window| window == name).unwrap();
    // One value less, by cutting the last out of the entry.
    let values = found + name.len() + 4;
    bytes[values..values + 4].copy_from_slice(&1023i32.to_le_bytes());
    bytes.drain(values + 4..values + 8);
    fs::write(at.join("short.dat"), &bytes).unwrap();
    export(at, "q4_k_m", &["--imatrix", "short.dat"]).fails(
        3,
        &["`short.dat` has 1023 values for tensor `blk.0.ffn_gate_exps.weight`", "4 x 256 columns"],
    );
    // A matrix with one entry of eight values.
    let only = |name: &str| -> Vec<u8> {
        let mut out = 1i32.to_le_bytes().to_vec();
        out.extend(i32::try_from(name.len()).unwrap().to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(1i32.to_le_bytes());
        out.extend(8i32.to_le_bytes());
        out.extend([1.0f32; 8].iter().flat_map(|value| value.to_le_bytes()));
        out
    };
    fs::write(at.join("one.dat"), only("other.weight")).unwrap();
    let said = export(at, "q4_k_m", &["--imatrix", "one.dat"]).ok();
    assert!(said.stderr.contains("none of the 1 entries of `one.dat`"), "{}", said.stderr);
    // Embeddings are never collected by the tool; a wrong size there is told and passed over.
    fs::write(at.join("one.dat"), only("token_embd.weight")).unwrap();
    let said = export(at, "q4_k_m", &["--imatrix", "one.dat"]).ok();
    assert!(
        said.stderr.contains("8 values for `token_embd.weight`, which has 256 columns"),
        "{}",
        said.stderr
    );
    // Negative importance is found when the tensor is quantized, and named.
    let mut negative = fs::read(at.join("moe.imatrix.dat")).unwrap();
    negative[values + 4..values + 8].copy_from_slice(&(-1.0f32).to_le_bytes());
    fs::write(at.join("negative.dat"), &negative).unwrap();
    export(at, "q4_k_m", &["--imatrix", "negative.dat"])
        .fails(3, &["blk.0.ffn_gate_exps.weight", "value 0 is `-0.125`", "negative.dat"]);
    assert!(!at.join("out.gguf.partial").exists());
}

#[test]
fn low_bit_types_want_importance() {
    let dir = stored("llama.gguf");
    let at = dir.path();
    let parts = [
        "tensor `blk.0.attn_k.weight` as `q2_k` needs importance",
        "--imatrix",
        "--allow-unweighted",
    ];
    export(at, "q2_k_s", &[]).fails(2, &parts);
    let said = export(at, "q2_k_s", &["--allow-unweighted"]).ok();
    assert!(said.stderr.contains("quantized without importance"), "{}", said.stderr);
    // Without weights, a type that can do without is quantized as it always is.
    let unweighted = data_hash(at);
    let rules = ["--tensor-type", r"ffn_down=q4_k", "--tensor-type", "blk.*weight=q2_k"];
    let said = export(at, "q2_k", &rules).ok();
    assert!(!said.stderr.contains("without importance"), "{}", said.stderr);
    assert_ne!(unweighted, data_hash(at));
}
