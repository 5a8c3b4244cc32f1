//! `gmat inspect`: what is shown of every format, and what is refused.

use std::fs;
use std::path::Path;

use gmat_core::format::gguf::{Array, Meta, Value as Gguf};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{GgufTensor, gguf, gmat, hinted, safetensors, says, stored};

const USAGE: i32 = 2;
const INPUT: i32 = 3;

fn json(at: &Path, args: &[&str]) -> Value {
    let args = [&["inspect", "--json"], args].concat();
    serde_json::from_str(&gmat(at, &args).ok().stdout).unwrap()
}

#[track_caller]
fn lines(text: &str, wanted: &[&str]) {
    for line in wanted {
        assert!(text.lines().any(|other| other == *line), "`{line}` is no line of:\n{text}");
    }
}

#[test]
fn a_glance_says_what_the_model_is() {
    let dir = stored();
    let at = dir.path();
    gmat(at, &["export", "-q", "-m", "model.gmat", "--type", "q4_k_m"]).ok();
    let tokenizer = "  tokenizer     gpt2 (llama-bpe), 4096 tokens, 3837 merges, bos 4093, \
                     eos 4094, pad 4095, chat template";
    let sizes = "6 layers, width 256, feed-forward 768, 8 heads (4 for keys and values)";
    let source = gmat(at, &["inspect", "hf"]).ok().stdout;
    lines(
        &source,
        &[
            &format!("  architecture  LlamaForCausalLM, {sizes}"),
            "  parameters    6.82 M (6819072), 16.00 bits each",
            "  types         BF16 100.0 % (57 tensors)",
            "  context       512 tokens",
            tokenizer,
            "57 tensors, 13638144 bytes (13.64 MB)",
        ],
    );
    let store = gmat(at, &["inspect", "model.gmat"]).ok().stdout;
    lines(&store, &[tokenizer, &format!("  architecture  LlamaForCausalLM, {sizes}")]);
    assert!(store.contains("BF16 as B8x8 100.0 % (44 tensors)"), "{store}");
    let gguf = gmat(at, &["inspect", "model.gguf"]).ok().stdout;
    lines(
        &gguf,
        &[tokenizer, &format!("  architecture  llama, {sizes}"), "  file type     q4_k_m"],
    );
    assert!(gguf.contains("q4_k 77.8 % (39 tensors), q6_k 22.1 % (5 tensors)"), "{gguf}");
    // Layers that are alike share a line; those of another type have one of their own beside it.
    let at_of = |part: &str| gguf.lines().position(|line| line.contains(part)).unwrap();
    assert!(gguf.lines().nth(at_of("blk.*.attn_v")).unwrap().contains("×4   [256,128]  q4_k"));
    assert!(gguf.lines().nth(at_of("blk.*.attn_v") + 1).unwrap().contains("×2   [256,128]  q6_k"));
    assert!(!gguf.contains("blk.3."));
    let all = gmat(at, &["inspect", "model.gguf", "--all"]).ok().stdout;
    assert_eq!(all.lines().filter(|line| line.starts_with("  blk.")).count(), 54);
}

#[test]
fn filters() {
    let dir = stored();
    let at = dir.path();
    gmat(at, &["export", "-q", "-m", "model.gmat", "--type", "q8_0"]).ok();
    let shown = gmat(at, &["inspect", "model.gguf", "--tensors", r"BLK\.0\.attn_[qk]"]).ok().stdout;
    lines(
        &shown,
        &[
            "  blk.0.attn_k.weight  [256,128]  q8_0  34.82 KB",
            "  blk.0.attn_q.weight  [256,256]  q8_0  69.63 KB",
            "2 of 57 tensors, 104448 bytes (104.45 KB)",
        ],
    );
    assert!(!shown.contains("general.name"), "{shown}");
    let ids = gmat(at, &["inspect", "model.gmat", "--tensors", "lm_head"]).ok().stdout;
    let line = ids.lines().find(|line| line.contains("lm_head")).unwrap();
    assert_eq!(line.rsplit("  ").next().unwrap().len(), 36, "{line}");
    let keys = gmat(at, &["inspect", "model.gguf", "--keys", "template"]).ok().stdout;
    assert!(keys.contains("endfor") && !keys.contains("tokens, "), "{keys}");
    let short = json(at, &["model.gguf", "--tensors", "norm", "--keys", "eps"]);
    assert_eq!(short["tensors"].as_array().unwrap().len(), 13);
    assert_eq!(short["metadata"].as_object().unwrap().len(), 1);
    assert_eq!(
        (&short["parameters"], short["types"].as_array().unwrap().len()),
        (&6_819_072.into(), 2)
    );
    for args in [["--tensors", "nothing"], ["--keys", "nothing"], ["--histogram", "nothing"]] {
        hinted(gmat(at, &[&["inspect", "model.gguf"][..], &args].concat()), USAGE, &["nothing"]);
        let bad = [&["inspect", "model.gguf", args[0]][..], &["("]].concat();
        gmat(at, &bad).fails(USAGE, &[args[0], "not a valid regular expression"]);
    }
}

#[test]
fn the_documented_json() {
    let dir = stored();
    let at = dir.path();
    gmat(at, &["export", "-q", "-m", "model.gmat", "--type", "q8_0"]).ok();
    for path in ["hf", "model.gmat", "model.gguf"] {
        let shown = json(at, &[path]);
        let keys = shown.as_object().unwrap();
        let documented = [
            "format",
            "files",
            "file_bytes",
            "parameters",
            "bytes",
            "types",
            "model",
            "tokenizer",
            "metadata",
            "tensors",
            "warnings",
        ];
        assert_eq!(keys.len(), documented.len(), "{path}");
        assert!(documented.iter().all(|key| keys.contains_key(*key)), "{path}");
        assert_eq!(shown["parameters"], 6_819_072, "{path}");
        let model = &shown["model"];
        assert_eq!((&model["layers"], &model["kv_heads"]), (&json!(6), &json!(4)), "{path}");
        assert_eq!(model["experts"], Value::Null);
        assert_eq!(shown["tokenizer"]["special"], json!({"bos": 4093, "eos": 4094, "pad": 4095}));
        assert_eq!(shown["tokenizer"]["chat_templates"], json!(["default"]), "{path}");
    }
    let file = fs::metadata(at.join("model.gguf")).unwrap().len();
    let shown = json(at, &["model.gguf"]);
    assert_eq!(shown["files"], json!([{"name": "model.gguf", "bytes": file}]));
    assert_eq!(shown["file_bytes"], file);
    let sum: u64 =
        shown["tensors"].as_array().unwrap().iter().map(|t| t["bytes"].as_u64().unwrap()).sum();
    assert_eq!(shown["bytes"], sum);
}

/// Values of every kind of type: plain, integer, quantized; in a file and in a store.
#[test]
fn histograms() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let odd = [1.0, -3.0, 0.0, f32::NAN, f32::INFINITY, 1.0, 0.5, 0.25];
    let integers: Vec<u8> = [7i64, -1, 0, i64::MIN].iter().flat_map(|v| v.to_le_bytes()).collect();
    fs::write(
        at.join("m.safetensors"),
        safetensors(&[
            ("odd", "F32", vec![2, 4], bytes(&odd)),
            ("count", "I64", vec![4], integers),
            ("none", "F32", vec![0], Vec::new()),
        ]),
    )
    .unwrap();
    gmat(at, &["import", "-q", "-m", "m.safetensors", "-o", ".", "--block-format", "raw"]).ok();
    for path in ["m.safetensors", "model.gmat"] {
        let shown = json(at, &[path, "--histogram", ".", "--bins", "4"]);
        let of = |name: &str| {
            let list = shown["histograms"].as_array().unwrap();
            list.iter().find(|histogram| histogram["name"] == name).unwrap().clone()
        };
        let odd = of("odd");
        assert_eq!((&odd["values"], &odd["zeros"]), (&json!(8), &json!(1)), "{path}");
        assert_eq!((&odd["nan"], &odd["infinite"]), (&json!(1), &json!(1)), "{path}");
        assert_eq!((&odd["min"], &odd["max"]), (&json!(-3.0), &json!(1.0)), "{path}");
        assert_eq!(odd["edges"], json!([-3.0, -2.0, -1.0, 0.0, 1.0]), "{path}");
        assert_eq!(odd["counts"], json!([1, 0, 0, 5]), "{path}");
        assert_eq!(of("count")["min"], json!(i64::MIN as f64), "{path}");
        assert_eq!(of("none")["values"], 0, "{path}");
    }
    let table = gmat(at, &["inspect", "m.safetensors", "--histogram", "odd", "--bins", "2"]).ok();
    lines(
        &table.stdout,
        &[
            "odd  [2,4]  F32",
            "  8 values, min -3.000, max 1.000, mean -0.04167, rms 1.373",
            "  1 zeros (12.5 %), 1 NaN, 1 infinite",
        ],
    );
    // One block of q8_0: scale 2, then the codes -16 to 15; one of a type that nobody knows.
    let q8_0: Vec<u8> =
        [0x00, 0x40].into_iter().chain((-16i8..16).map(i8::cast_unsigned)).collect();
    let tensor = |name, dims: &[u64], ty, data: &[u8]| GgufTensor {
        name,
        dims: dims.to_vec(),
        ty,
        data: data.to_vec(),
    };
    let tensors = [tensor("q", &[32], 8, &q8_0), tensor("new", &[8], 99, &[0; 8])];
    fs::write(at.join("q.gguf"), gguf(&Meta::new(), &tensors)).unwrap();
    let shown = json(at, &["q.gguf", "--histogram", "q", "--bins", "2"]);
    let q = &shown["histograms"][0];
    assert_eq!(
        (&q["min"], &q["max"], &q["counts"]),
        (&json!(-32.0), &json!(30.0), &json!([16, 16]))
    );
    let ran = gmat(at, &["inspect", "q.gguf"]).ok();
    says(&ran, "Warning: tensor `new` is of type 99, which this program does not know");
    assert!(ran.stdout.contains("  new   [8]  type 99     ?\n"), "{}", ran.stdout);
    hinted(gmat(at, &["inspect", "q.gguf", "--histogram", "new"]), INPUT, &["type 99", "`new`"]);
}

#[test]
fn values_of_keys() {
    let dir = TempDir::new().unwrap();
    let mut meta = Meta::new();
    meta.set("general.architecture", "x");
    meta.set("x.attention.head_count", Gguf::Array(Array::U32(vec![4, 8, 6])));
    meta.set("x.expert_count", 8u32);
    meta.set("x.expert_used_count", 2u32);
    meta.set("small", 1e-5f32);
    meta.set("long", Gguf::Array(Array::I32((0..100).collect())));
    meta.set("text", "y".repeat(100));
    fs::write(dir.path().join("m.gguf"), gguf(&meta, &[])).unwrap();
    let shown = gmat(dir.path(), &["inspect", "m.gguf"]).ok().stdout;
    lines(
        &shown,
        &[
            "  architecture  x, 8 heads, 8 experts (2 per token)",
            "  tokenizer     none",
            "  x.attention.head_count  [4, 8, 6]",
            "  small                   1e-5",
            "  long                    100 × i32 [0, 1, 2, 3, 4, 5, …]",
            &format!("  text                    {}…", "y".repeat(72)),
        ],
    );
    let whole = gmat(dir.path(), &["inspect", "m.gguf", "--keys", "text"]).ok().stdout;
    assert!(whole.contains(&"y".repeat(100)), "{whole}");
}

#[test]
fn a_split_is_one_model() {
    let dir = stored();
    let at = dir.path();
    let args = ["export", "-q", "-m", "model.gmat", "--type", "q8_0", "-o"];
    gmat(at, &[&args[..], &["one.gguf"]].concat()).ok();
    gmat(at, &[&args[..], &["m.gguf", "--shard-size", "2MB"]].concat()).ok();
    let one = json(at, &["one.gguf"]);
    for number in 1..=4 {
        let many = json(at, &[&format!("m-0000{number}-of-00004.gguf")]);
        assert_eq!(many["files"].as_array().unwrap().len(), 4);
        for key in ["parameters", "bytes", "types", "model", "tokenizer"] {
            assert_eq!(many[key], one[key], "{key}");
        }
    }
    let second = fs::read(at.join("m-00002-of-00004.gguf")).unwrap();
    fs::write(at.join("renamed.gguf"), &second).unwrap();
    hinted(gmat(at, &["inspect", "renamed.gguf"]), INPUT, &["number 2 of 4", "renamed.gguf"]);
    fs::write(at.join("m-00003-of-00004.gguf"), &second).unwrap();
    hinted(gmat(at, &["inspect", "m-00001-of-00004.gguf"]), INPUT, &["m-00003-of-00004.gguf"]);
    fs::remove_file(at.join("m-00003-of-00004.gguf")).unwrap();
    let ran = gmat(at, &["inspect", "m-00001-of-00004.gguf"]).ok();
    says(&ran, "Warning: files of the split are missing: `./m-00003-of-00004.gguf`");
}

/// A sparse file of 100 GB: nothing of the data is read, or this would take a minute and 100 GB.
#[test]
fn headers_are_enough() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    const LEN: u64 = 100 << 30;
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{LEN}],"data_offsets":[0,{LEN}]}}}}"#);
    let bytes = crate::support::with_header(&header, &[]);
    fs::write(at.join("m.safetensors"), &bytes).unwrap();
    let file = fs::File::options().write(true).open(at.join("m.safetensors")).unwrap();
    file.set_len(bytes.len() as u64 + LEN).unwrap();
    let shown = json(at, &["m.safetensors"]);
    assert_eq!(shown["parameters"], LEN);
    let tensor = GgufTensor { name: "w", dims: vec![LEN / 34 * 32], ty: 8, data: Vec::new() };
    let header = gguf(&Meta::new(), &[tensor]);
    fs::write(at.join("m.gguf"), &header).unwrap();
    let file = fs::File::options().write(true).open(at.join("m.gguf")).unwrap();
    file.set_len(header.len() as u64 + LEN).unwrap();
    assert_eq!(json(at, &["m.gguf"])["bytes"], LEN / 34 * 34);
}

#[test]
fn what_lies_beside_the_weights_does_not_hide_them() {
    let dir = stored();
    let at = dir.path();
    fs::write(at.join("hf/tokenizer.json"), "{").unwrap();
    let ran = gmat(at, &["inspect", "hf"]).ok();
    says(&ran, "tokenizer.json");
    assert!(ran.stdout.contains("tokenizer     none") && ran.stdout.contains("57 tensors"));
    fs::write(at.join("hf/config.json"), "[]").unwrap();
    says(&gmat(at, &["inspect", "hf"]).ok(), "config.json");
    fs::write(at.join("model.gmat/tokens.bin"), "x").unwrap();
    says(&gmat(at, &["inspect", "model.gmat"]).ok(), "tokens.bin");
}
