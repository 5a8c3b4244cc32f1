//! GGUF as a source: what is kept to the byte, what is quantized anew, and what is refused.

use std::fs;
use std::path::Path;

use gmat_core::GgmlType;
use gmat_core::format::gguf::{Array, Gguf, Meta, Value as Key};
use gmat_tests::weights::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{GgufTensor, example_model, f32s, gguf, gmat, hinted, says, stored};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const IO: i32 = 4;

/// Keys and tensors of a file, as far as they are not of gmat's own.
type Parts = (Vec<(String, Key)>, Vec<(String, Vec<u64>, u32, Vec<u8>)>);

fn parts(path: &Path) -> Parts {
    let bytes = fs::read(path).unwrap();
    let file = Gguf::parse(&bytes).unwrap();
    let lens = file.lens(bytes.len() as u64).unwrap();
    let keys = file.meta.entries().iter().filter(|(key, _)| !key.starts_with("gmat."));
    let tensors = file.tensors.iter().zip(lens).map(|(tensor, len)| {
        let start = usize::try_from(file.data_start + tensor.offset).unwrap();
        let end = start + usize::try_from(len.unwrap()).unwrap();
        (tensor.name.clone(), tensor.dims.clone(), tensor.ggml_type, bytes[start..end].to_vec())
    });
    (keys.cloned().collect(), tensors.collect())
}

/// Everything behind the header.
fn data(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let start = usize::try_from(Gguf::parse(&bytes).unwrap().data_start).unwrap();
    bytes[start..].to_vec()
}

fn import(at: &Path, model: &str, extra: &[&str]) {
    let args = ["import", "-q", "-m", model, "-o", "."];
    gmat(at, &[&args, extra].concat()).ok();
}

fn export(at: &Path, out: &str, extra: &[&str]) -> crate::support::Ran {
    gmat(at, &[&["export", "-m", "model.gmat", "-o", out], extra].concat())
}

/// A value of every kind.
fn keys() -> Meta {
    let mut meta = Meta::new();
    meta.set("general.architecture", "some-arch");
    meta.set("general.file_type", 1u32);
    meta.set("zero", Key::U8(0));
    meta.set("i8", Key::I8(-1));
    meta.set("u16", Key::U16(2));
    meta.set("i16", Key::I16(-2));
    meta.set("i32", -3);
    meta.set("f32", f32::from_bits(0x7fc0_0001));
    meta.set("u64", 1u64 << 60);
    meta.set("i64", Key::I64(i64::MIN));
    meta.set("f64", Key::F64(0.1));
    meta.set("bool", true);
    meta.set("not text", Key::String(vec![0xff, 0, 0x80]));
    meta.set("texts", Key::Array(Array::String(vec![vec![0xfe], Vec::new(), b"x".to_vec()])));
    meta.set("none", Key::Array(Array::F64(Vec::new())));
    meta.set("flags", Key::Array(Array::Bool(vec![true, false])));
    meta.set("wide", Key::Array(Array::I64(vec![i64::MIN, 1])));
    meta
}

/// Any bytes as blocks of every type, in shapes of every kind.
fn every_type() -> Vec<(String, Vec<u64>, u32, Vec<u8>)> {
    let mut random = Rng::new(5);
    let mut out = Vec::new();
    for ty in GgmlType::ALL {
        let elems = ty.block().elems as u64;
        for dims in [vec![3 * elems], vec![2 * elems, 5], vec![elems, 3, 4], vec![elems, 0]] {
            let len = ty.block().len_of(dims.iter().product()).unwrap();
            let bytes = (0..len).map(|_| random.bits().to_le_bytes()[0]).collect();
            // Not in the order of the alphabet.
            out.push((format!("z{}.{}", 9 - dims.len(), ty.name()), dims, ty.id().into(), bytes));
        }
        out.pop();
    }
    out.push(("a scalar".to_owned(), Vec::new(), 0, vec![1, 2, 3, 4]));
    out.push(("nothing".to_owned(), vec![32, 0], 8, Vec::new()));
    out
}

#[test]
fn every_type_and_key_comes_back_to_the_byte() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let tensors = every_type();
    let tensors: Vec<GgufTensor<'_>> = tensors
        .iter()
        .map(|(name, dims, ty, data)| GgufTensor {
            name,
            dims: dims.clone(),
            ty: *ty,
            data: data.clone(),
        })
        .collect();
    let meta = keys();
    fs::write(at.join("in.gguf"), gguf(&meta, &tensors)).unwrap();
    import(at, "in.gguf", &[]);
    let said = export(at, "out.gguf", &[]).ok();
    says(&said, "every tensor stays what it is");
    assert!(!said.stderr.contains("Warning"), "{}", said.stderr);
    // NaN is not equal to itself.
    let (before, after) = (parts(&at.join("in.gguf")), parts(&at.join("out.gguf")));
    assert_eq!(format!("{:?}", before.0), format!("{:?}", after.0));
    assert!(before.1 == after.1);
    assert!(data(&at.join("in.gguf")) == data(&at.join("out.gguf")), "places of tensors");
    // Twice is the same file.
    fs::remove_dir_all(at.join("model.gmat")).unwrap();
    import(at, "out.gguf", &["--jobs", "1"]);
    export(at, "again.gguf", &["--jobs", "3", "--type", "keep"]).ok();
    let (one, two) = (parts(&at.join("out.gguf")), parts(&at.join("again.gguf")));
    assert!(format!("{:?}", one.0) == format!("{:?}", two.0) && one.1 == two.1);
    let names =
        |entries: &[(String, Key)]| entries.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>();
    let file = Gguf::parse(&fs::read(at.join("again.gguf")).unwrap()).unwrap();
    let own = ["gmat.version", "gmat.source_blake3", "gmat.config_blake3"];
    assert_eq!(
        names(file.meta.entries()),
        [names(meta.entries()), own.map(str::to_owned).to_vec()].concat()
    );
}

#[test]
fn another_alignment_is_kept() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let mut meta = keys();
    meta.set("general.alignment", 128u32);
    let tensor = |name, count| GgufTensor { name, dims: vec![count], ty: 0, data: f32s(count) };
    let header = gmat_core::format::gguf::Header {
        meta: meta.clone(),
        tensors: ["a", "b"]
            .map(|name| gmat_core::format::gguf::TensorEntry {
                name: name.to_owned(),
                dims: vec![5],
                ggml_type: 0,
                len: 20,
            })
            .to_vec(),
    };
    let mut bytes = header.to_bytes().unwrap();
    assert!(bytes.len().is_multiple_of(128));
    for tensor in [tensor("a", 5), tensor("b", 5)] {
        bytes.extend_from_slice(&tensor.data);
        bytes.resize(bytes.len().next_multiple_of(128), 0);
    }
    fs::write(at.join("in.gguf"), &bytes).unwrap();
    import(at, "in.gguf", &[]);
    export(at, "out.gguf", &[]).ok();
    let out = fs::read(at.join("out.gguf")).unwrap();
    let file = Gguf::parse(&out).unwrap();
    assert_eq!((file.alignment, file.data_start % 128, file.tensors[1].offset), (128, 0, 128));
    assert!(parts(&at.join("in.gguf")).1 == parts(&at.join("out.gguf")).1);
    assert_eq!(data(&at.join("in.gguf")), data(&at.join("out.gguf")));
}

/// From the same weights, it must not matter which way they came.
#[test]
fn requantizing_gives_what_the_original_gives() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let hf = example_model();
    import(at, hf.to_str().unwrap(), &["--block-format", "raw"]);
    // The search takes long and is beside the point.
    let standard = ["--scale-optimization", "standard"];
    for (out, ty) in [("bf16", "bf16"), ("direct", "q4_k_m"), ("q8", "q8_0")] {
        export(at, &format!("{out}.gguf"), &[&["-q", "--type", ty][..], &standard].concat()).ok();
    }
    import(at, "bf16.gguf", &[]);
    let args = [&["--type", "q4_k_m"][..], &standard].concat();
    let said = export(at, "through.gguf", &args).ok();
    assert!(!said.stderr.contains("Warning"), "{}", said.stderr);
    let (direct, through) = (parts(&at.join("direct.gguf")), parts(&at.join("through.gguf")));
    assert!(direct.1 == through.1);
    assert_eq!(direct.0, through.0);
    // What is of the wanted type already is not touched, and vectors stay what they are.
    import(at, "q8.gguf", &[]);
    export(at, "same.gguf", &["-q", "--type", "q8_0"]).ok();
    assert!(parts(&at.join("q8.gguf")) == parts(&at.join("same.gguf")));
    let said = export(at, "mixed.gguf", &["--type", "keep", "--tensor-type", "attn_v=q4_0"]).ok();
    assert!(!said.stderr.contains("Warning"), "{}", said.stderr);
    let (before, after) = (parts(&at.join("q8.gguf")).1, parts(&at.join("mixed.gguf")).1);
    for (before, after) in before.iter().zip(&after) {
        match before.0.contains("attn_v") {
            true => assert_eq!((&before.0, after.2), (&after.0, 2)),
            false => assert!(before == after, "{}", before.0),
        }
    }
    // From less than 8 bits to anything else, quality is lost twice.
    import(at, "direct.gguf", &[]);
    let said = export(at, "worse.gguf", &[&["--type", "q8_0"][..], &standard].concat()).ok();
    says(
        &said,
        "Warning: tensors that are quantized already are quantized again (39 of `q4_k`, 5 of `q6_k`)",
    );
    let said = export(at, "kept.gguf", &["--report", "report.json"]).ok();
    assert!(!said.stderr.contains("Warning"), "{}", said.stderr);
    assert!(parts(&at.join("direct.gguf")) == parts(&at.join("kept.gguf")));
    let report: Value = serde_json::from_slice(&fs::read(at.join("report.json")).unwrap()).unwrap();
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 57);
    assert!(tensors.iter().all(|tensor| tensor["relative_rmse"] == 0.0), "{}", tensors[0]);
}

#[test]
fn explained_and_configured() {
    let dir = stored();
    let at = dir.path();
    export(at, "m.gguf", &["-q", "--type", "q4_k_m"]).ok();
    import(at, "m.gguf", &[]);
    let plan = |extra: &[&str]| -> Value {
        let args = [&["--explain", "--json"], extra].concat();
        serde_json::from_str(&export(at, "x.gguf", &args).ok().stdout).unwrap()
    };
    let all = plan(&[])["tensors"].as_array().unwrap().clone();
    assert!(all.iter().all(|tensor| tensor["by"] == "stored"));
    let types = |plan: &Value| -> Vec<Value> {
        plan["tensors"].as_array().unwrap().iter().map(|tensor| tensor["type"].clone()).collect()
    };
    gmat(at, &["export", "-q", "-m", "model.gmat", "--generate-config"]).ok();
    let config: Value =
        serde_json::from_slice(&fs::read(at.join("export_config.json")).unwrap()).unwrap();
    assert_eq!(config["quantization"]["default_type"], "keep");
    assert_eq!(config["quantization"]["per_tensor"], json!({}));
    assert_eq!(config["tensor_map"].as_array().unwrap().len(), 57);
    assert_eq!(types(&plan(&["-c", "export_config.json"])), types(&plan(&["--type", "keep"])));
    fs::remove_file(at.join("export_config.json")).unwrap();
    let smaller = plan(&["--target-bpw", "3.5"]);
    assert!(smaller["bits_per_weight"].as_f64().unwrap() < 3.5, "{}", smaller["bits_per_weight"]);
    hinted(
        export(at, "x.gguf", &["--arch", "llama"]),
        USAGE,
        &["architecture is fixed", "`llama`"],
    );
    says(&export(at, "x.gguf", &["--no-tokenizer"]).ok(), "`--no-tokenizer` has no effect");
    export(at, "x.gguf", &["--type", "keeep"]).fails(USAGE, &["did you mean `keep`?"]);
    // A tensor may get another name, and others be left out.
    let one = &config["tensor_map"][0];
    let map = json!([{"source": one["source"], "target": "renamed.weight"}]);
    let config = json!({"quantization": {"default_type": "keep"}, "tensor_map": map});
    fs::write(at.join("c.json"), config.to_string()).unwrap();
    export(at, "y.gguf", &["-q", "-c", "c.json"]).ok();
    let tensors = parts(&at.join("y.gguf")).1;
    assert_eq!((tensors.len(), tensors[0].0.as_str()), (1, "renamed.weight"));
}

/// Recipes look at layers, heads and experts: from keys, as from a config.
#[test]
fn recipes_go_by_keys() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let types = |experts: u32| {
        let mut meta = Meta::new();
        meta.set("general.architecture", "llama");
        meta.set("llama.block_count", 1u32);
        meta.set("llama.attention.head_count", Key::Array(Array::I32(vec![4])));
        meta.set("llama.expert_count", experts);
        let tensor = |name, dims: &[u64]| GgufTensor {
            name,
            dims: dims.to_vec(),
            ty: 0,
            data: f32s(dims.iter().product()),
        };
        let tensors = [
            tensor("blk.0.attn_v.weight", &[256, 4]),
            tensor("blk.0.ffn_gate_inp.weight", &[256, 8]),
            tensor("blk.0.ffn_up_exps.weight", &[256, 2, 8]),
        ];
        fs::write(at.join("in.gguf"), gguf(&meta, &tensors)).unwrap();
        import(at, "in.gguf", &[]);
        export(at, "out.gguf", &["-q", "--type", "q4_k_m"]).ok();
        parts(&at.join("out.gguf")).1.iter().map(|tensor| tensor.2).collect::<Vec<_>>()
    };
    assert_eq!(types(0), [14, 0, 12]);
    assert_eq!(types(8), [8, 0, 12]);
}

#[test]
fn a_chosen_block_format_is_for_plain_numbers() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let half: Vec<u8> = (0..64u16).flat_map(|n| (0x3000 + 17 * n).to_le_bytes()).collect();
    let tensor =
        |name, ty, data: &[u8]| GgufTensor { name, dims: vec![32, 2], ty, data: data.to_vec() };
    let q8_0: Vec<u8> = [1u8; 68].to_vec();
    let tensors = [tensor("half", 1, &half), tensor("quantized", 8, &q8_0)];
    fs::write(at.join("in.gguf"), gguf(&keys(), &tensors)).unwrap();
    import(at, "in.gguf", &["--block-format", "B8x8"]);
    let shown: Value =
        serde_json::from_str(&gmat(at, &["inspect", "model.gmat", "--json"]).ok().stdout).unwrap();
    let formats: Vec<&Value> =
        shown["tensors"].as_array().unwrap().iter().map(|t| &t["block_format"]).collect();
    assert_eq!(formats, ["B8x8", "raw"]);
    assert_eq!(shown["metadata"]["i16"], -2);
    export(at, "out.gguf", &[]).ok();
    let (before, after) = (parts(&at.join("in.gguf")).1, parts(&at.join("out.gguf")).1);
    assert_eq!((after[0].2, before[0].3.len()), (1, after[0].3.len()));
    assert!(before[1] == after[1]);
}

#[test]
fn types_of_other_sources_are_kept_on_request() {
    let dir = stored();
    let at = dir.path();
    export(at, "kept.gguf", &["-q", "--type", "keep"]).ok();
    let kept = parts(&at.join("kept.gguf"));
    // BF16, but for norms, which runtimes want as F32.
    assert!(kept.1.iter().all(|tensor| tensor.2 == if tensor.1.len() == 1 { 0 } else { 30 }));
    let file_type = kept.0.iter().find(|(key, _)| key == "general.file_type").unwrap();
    assert_eq!(file_type.1, Key::U32(32));
}

#[test]
fn splits() {
    let dir = stored();
    let at = dir.path();
    export(at, "whole.gguf", &["-q", "--type", "q8_0"]).ok();
    export(at, "m.gguf", &["-q", "--type", "q8_0", "--shard-size", "2MB"]).ok();
    let whole = parts(&at.join("whole.gguf"));
    for number in [1, 3] {
        import(at, &format!("m-0000{number}-of-00004.gguf"), &[]);
        export(at, "joined.gguf", &["-q"]).ok();
        assert!(whole == parts(&at.join("joined.gguf")));
    }
    export(at, "n.gguf", &["-q", "--shard-size", "2MB"]).ok();
    for number in 1..=4 {
        let part = |stem: &str| parts(&at.join(format!("{stem}-0000{number}-of-00004.gguf")));
        assert!(part("m") == part("n"), "{number}");
    }
    // The files alone in a folder are a model; two models are not.
    let folder = at.join("split");
    fs::create_dir(&folder).unwrap();
    for number in 1..=4 {
        let name = format!("m-0000{number}-of-00004.gguf");
        fs::rename(at.join(&name), folder.join(&name)).unwrap();
    }
    import(at, "split", &[]);
    fs::copy(at.join("whole.gguf"), folder.join("whole.gguf")).unwrap();
    hinted(gmat(at, &["import", "-m", "split", "-o", "x"]), USAGE, &["2 GGUF models"]);
    fs::remove_file(folder.join("m-00002-of-00004.gguf")).unwrap();
    let refused = |parts: &[&str]| {
        let args = ["import", "-m", "split/m-00001-of-00004.gguf", "-o", "x"];
        hinted(gmat(at, &args), INPUT, parts);
        assert!(!at.join("x/model.gmat").exists());
    };
    refused(&["missing", "m-00002-of-00004.gguf"]);
    // Of another model: other tensors, or another number of files.
    fs::copy(folder.join("m-00003-of-00004.gguf"), folder.join("m-00002-of-00004.gguf")).unwrap();
    refused(&["m-00002-of-00004.gguf", "number 3 of 4"]);
    fs::copy(at.join("whole.gguf"), folder.join("m-00002-of-00004.gguf")).unwrap();
    refused(&["m-00002-of-00004.gguf", "`split.count` is 1"]);
    let mut other = Meta::new();
    for (key, value) in [("split.no", 1u16), ("split.count", 4)] {
        other.set(key, value);
    }
    fs::write(folder.join("m-00002-of-00004.gguf"), gguf(&other, &[])).unwrap();
    refused(&["`split.tensors.count` says 57"]);
    let first = parts(&folder.join("m-00001-of-00004.gguf")).1.remove(0);
    let twice = GgufTensor { name: &first.0, dims: first.1.clone(), ty: first.2, data: first.3 };
    fs::write(folder.join("m-00002-of-00004.gguf"), gguf(&other, &[twice])).unwrap();
    refused(&[&first.0, "in both"]);
}

#[test]
fn damaged_stores_of_gguf() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let tensor = GgufTensor { name: "w", dims: vec![32], ty: 8, data: vec![1; 34] };
    fs::write(at.join("in.gguf"), gguf(&keys(), &[tensor])).unwrap();
    import(at, "in.gguf", &[]);
    // The store is a store: it may be replaced.
    import(at, "in.gguf", &[]);
    let file = at.join("model.gmat/source.gguf");
    let good = fs::read(&file).unwrap();
    for at_byte in [30, good.len() - 1] {
        let mut bad = good.clone();
        bad[at_byte] ^= 1;
        fs::write(&file, bad).unwrap();
        hinted(export(at, "x.gguf", &[]), INPUT, &["source.gguf", "checksum"]);
        says(&gmat(at, &["inspect", "model.gmat"]).ok(), "source.gguf");
    }
    fs::remove_file(&file).unwrap();
    hinted(export(at, "x.gguf", &[]), IO, &["source.gguf"]);
    fs::write(&file, good).unwrap();
    let index =
        fs::read_dir(at.join("model.gmat/tensors")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&index).unwrap();
    bytes[10] ^= 1;
    fs::write(&index, bytes).unwrap();
    export(at, "x.gguf", &[]).fails(INPUT, &["tensor `w`", "row group 0 at byte 8 is damaged"]);
    assert!(!at.join("x.gguf").exists());
}

/// A header by hand: version, counts, then what is given.
fn header(version: u32, tensors: u64, keys: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&tensors.to_le_bytes());
    out.extend_from_slice(&keys.to_le_bytes());
    out.extend(rest.concat());
    out
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A line of the tensor table.
fn line(name: &str, dims: &[u64], ty: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend_from_slice(&u32::try_from(dims.len()).unwrap().to_le_bytes());
    dims.iter().for_each(|dim| out.extend_from_slice(&dim.to_le_bytes()));
    out.extend_from_slice(&ty.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out
}

#[test]
fn hostile_files() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let number = |value: u32| value.to_le_bytes().to_vec();
    let key = |name: &str, value: u32| [text(name), number(4), number(value)].concat();
    let array = |of: u32, count: u64| {
        [text("a"), number(9), number(of), count.to_le_bytes().to_vec()].concat()
    };
    let zeros = vec![0; 4096];
    let table = |lines: &[Vec<u8>]| header(3, lines.len() as u64, 0, &[&lines.concat(), &zeros]);
    let keyed = |keys: &[Vec<u8>]| header(3, 0, keys.len() as u64, &[&keys.concat(), &zeros]);
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        ("empty", Vec::new(), &["cut off"]),
        ("page", b"<!DOCTYPE html>".to_vec(), &["magic bytes at byte 0"]),
        ("first version", header(1, 0, 0, &[]), &["version 1"]),
        ("later version", header(4, 0, 0, &[]), &["version 4 at byte 4"]),
        ("big-endian", header(3u32.swap_bytes(), 0, 0, &[]), &["big-endian"]),
        ("tensors", header(3, 1 << 63, 0, &[]), &["9223372036854775808 tensors", "byte 8"]),
        ("keys", header(3, 0, u64::MAX, &[]), &["keys", "byte 16"]),
        ("key twice", keyed(&[key("k", 1), key("k", 2)]), &["key `k`", "twice"]),
        ("nested", keyed(&[array(9, 1)]), &["array of arrays", "byte 37"]),
        ("numbers", keyed(&[array(0, 1 << 63)]), &["9223372036854775808", "beyond the end"]),
        ("texts", keyed(&[array(8, 1 << 62)]), &["beyond the end"]),
        ("kind", keyed(&[[text("k"), number(13)].concat()]), &["unknown value type 13"]),
        (
            "not text",
            keyed(&[[vec![1, 0, 0, 0, 0, 0, 0, 0, 0xff], number(4), number(0)].concat()]),
            &["not UTF-8"],
        ),
        ("alignment 0", keyed(&[key("general.alignment", 0)]), &["general.alignment", "`0`"]),
        ("alignment 3", keyed(&[key("general.alignment", 3)]), &["power of two"]),
        (
            "tensor twice",
            table(&[line("t", &[1], 0, 0), line("t", &[1], 0, 32)]),
            &["`t`", "twice"],
        ),
        (
            "overlap",
            table(&[line("a", &[16], 0, 0), line("b", &[1], 0, 32)]),
            &["`b`", "overlaps `a`"],
        ),
        ("misplaced", table(&[line("a", &[1], 0, 4)]), &["`a`", "not a multiple of 32"]),
        ("outside", table(&[line("a", &[4096], 0, 0)]), &["`a`", "truncated"]),
        ("far outside", table(&[line("a", &[1], 0, u64::MAX - 31)]), &["`a`", "truncated"]),
        ("too many", table(&[line("a", &[1 << 40, 1 << 40], 0, 0)]), &["`a`", "too many elements"]),
        (
            "part of a block",
            table(&[line("a", &[100, 2], 12, 0)]),
            &["`a`", "not whole blocks of 256"],
        ),
        ("type", table(&[line("a", &[1], 99, 0)]), &["`a`", "type 99"]),
        ("removed type", table(&[line("a", &[1], 4, 0)]), &["`a`", "type 4"]),
        ("rank", table(&[line("a", &[1; 9], 0, 0)]), &["`a`", "9 dimensions"]),
        ("no tensors", table(&[]), &["no tensors"]),
        ("count", keyed(&[key("split.count", 3)]), &["not", "by its name"]),
    ];
    for (what, bytes, parts) in cases {
        fs::write(at.join("m.gguf"), bytes).unwrap();
        let ran = gmat(at, &["import", "-m", "m.gguf", "-o", "out"]);
        assert_eq!(ran.code, INPUT, "{what}: {}", ran.stderr);
        ran.fails(INPUT, parts);
        assert!(!at.join("out/model.gmat").exists(), "{what}");
    }
    // An array of a huge number of empty texts, in a file that is nearly all hole: neither time nor
    // memory is spent on it.
    fs::write(at.join("m.gguf"), header(3, 0, 1, &[&array(8, 1 << 24)])).unwrap();
    let file = fs::File::options().write(true).open(at.join("m.gguf")).unwrap();
    file.set_len(1 << 40).unwrap();
    gmat(at, &["import", "-m", "m.gguf", "-o", "out"]).fails(INPUT, &["array of 16777216 texts"]);
    // Headers that are all there, with a version that has the same layout.
    let tensor = header(2, 1, 0, &[&line("a", &[1], 0, 0), &zeros]);
    fs::write(at.join("m.gguf"), tensor).unwrap();
    import(at, "m.gguf", &[]);
}
