//! Quantization types against ggml's own results.
//!
//! `tests/golden/quant/manifest.json` says how the data was made (version, compiler, flags) and
//! describes every file. Types are found by registration: a new one without golden data fails.

use std::fs;
use std::path::{Path, PathBuf};

use gmat_codecs::narrow::{bf16_bits, f16_bits};
use gmat_core::Registry;
use gmat_core::quant::{Need, QuantCx, QuantType};
use gmat_tests::golden_input::{Big, big_importance, importance_a, wild, wild_importance};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Types that are copies, without golden data.
const PLAIN: [&str; 1] = ["f32"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/quant")
}

fn manifest() -> Value {
    let text = fs::read(folder().join("manifest.json")).expect("manifest.json is there");
    serde_json::from_slice(&text).expect("manifest.json is JSON")
}

fn floats(file: &str) -> Vec<f32> {
    let bytes = fs::read(folder().join(file)).expect("golden input is there");
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn registry() -> Registry {
    Registry::builtin(gmat_codecs::link()).expect("all codecs are linked")
}

fn quantize(q: &dyn QuantType, x: &[f32], cols: usize, importance: Option<&[f32]>) -> Vec<u8> {
    let len = q.block().len_of(x.len() as u64).expect("whole blocks");
    let mut out = vec![0xaa; usize::try_from(len).expect("fits in memory")];
    q.quantize(x, &QuantCx::standard(cols, importance), &mut out).expect("golden input is fine");
    out
}

/// Golden types by name in our spelling, with the type that is registered for them.
fn golden_types<'a>(
    manifest: &'a Value,
    registry: &Registry,
) -> Vec<(&'static dyn QuantType, &'a Value)> {
    let entries = manifest["types"].as_array().expect("types are a list");
    let mut found = Vec::new();
    for q in registry.quants() {
        let of_name = |entry: &&Value| {
            entry["ggml_name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(q.name()))
        };
        if let Some(entry) = entries.iter().find(of_name) {
            found.push((*q, entry));
        } else {
            assert!(PLAIN.contains(&q.name()), "`{}` has no golden data", q.name());
        }
    }
    assert!(!found.is_empty(), "no type is registered");
    found
}

#[test]
fn sizes_and_ids_are_those_of_ggml() {
    let manifest = manifest();
    for (q, entry) in golden_types(&manifest, &registry()) {
        assert_eq!(Some(u64::from(q.ggml_type())), entry["ggml_type_id"].as_u64(), "{}", q.name());
        assert_eq!(Some(q.block().elems as u64), entry["block_size"].as_u64(), "{}", q.name());
        assert_eq!(Some(q.block().bytes as u64), entry["type_size"].as_u64(), "{}", q.name());
        let need = match (&entry["requires_importance"], &entry["ignores_importance"]) {
            (Value::Bool(true), _) => Need::Required,
            (_, Value::Bool(true)) => Need::Ignored,
            _ => Need::Optional,
        };
        assert_eq!(q.importance(), need, "{}", q.name());
    }
}

#[test]
fn quantized_bytes_are_those_of_ggml() {
    let manifest = manifest();
    let input = floats("input.f32.bin");
    let cols = usize::try_from(manifest["shape"][1].as_u64().expect("columns")).expect("fits");
    let vectors = [
        ("quantized_none", None),
        ("quantized_importance_a", Some(floats("importance_a.f32.bin"))),
        ("quantized_importance_b", Some(floats("importance_b.f32.bin"))),
    ];
    let mut failures = Vec::new();
    for (q, entry) in golden_types(&manifest, &registry()) {
        let mut compared = 0;
        for (key, importance) in &vectors {
            let Some(file) = entry[*key].as_str() else { continue };
            let expected = fs::read(folder().join(file)).expect("golden result is there");
            let found = quantize(q, &input, cols, importance.as_deref());
            assert_eq!(found.len(), expected.len(), "{} {key}", q.name());
            let row_len = found.len() / (input.len() / cols);
            let rows = found.chunks(row_len).zip(expected.chunks(row_len)).enumerate();
            let bad: Vec<usize> = rows.filter(|(_, (a, b))| a != b).map(|(row, _)| row).collect();
            if !bad.is_empty() {
                failures.push(format!("{} {key}: rows {bad:?} differ", q.name()));
            }
            compared += 1;
        }
        assert!(compared > 0, "nothing to compare for `{}`", q.name());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn importance_is_ignored_where_ggml_ignores_it() {
    let manifest = manifest();
    let input = floats("input.f32.bin");
    let importance = floats("importance_a.f32.bin");
    for (q, _) in golden_types(&manifest, &registry()) {
        if q.importance() == Need::Ignored {
            let with = quantize(q, &input, importance.len(), Some(&importance));
            assert_eq!(with, quantize(q, &input, importance.len(), None), "{}", q.name());
        }
    }
}

#[test]
fn dequantized_bits_are_those_of_ggml() {
    let manifest = manifest();
    let elems = floats("input.f32.bin").len();
    let vectors = [
        ("quantized_none", "dequantized_sha256"),
        ("quantized_importance_a", "dequantized_importance_a_sha256"),
        ("quantized_importance_b", "dequantized_importance_b_sha256"),
    ];
    for (q, entry) in golden_types(&manifest, &registry()) {
        let mut compared = 0;
        for (file, hash) in vectors {
            // Types that need importance have the hash of their first vector without a suffix.
            let hash = match entry["dequantized_from"].as_str() {
                Some(from) if file.ends_with(from) => "dequantized_sha256",
                _ => hash,
            };
            let (Some(file), Some(hash)) = (entry[file].as_str(), entry[hash].as_str()) else {
                continue;
            };
            let bytes = fs::read(folder().join(file)).expect("golden result is there");
            let mut out = vec![0.0; elems];
            q.dequantize(&bytes, &mut out).expect("sizes fit");
            assert_eq!(sha256(&le_bytes(&out)), hash, "{} {file}", q.name());
            compared += 1;
        }
        assert!(compared > 0, "nothing to compare for `{}`", q.name());
    }
}

/// Quantizes one input with all types, and compares hashes.
fn check_hashes(
    types: &[(&'static dyn QuantType, &Value)],
    set: &Value,
    input: &[f32],
    importance: &[f32],
) {
    assert_eq!(sha256(&le_bytes(input)), set["input_sha256"], "the generator of the input");
    for &(q, entry) in types {
        let ggml_name = entry["ggml_name"].as_str().expect("types have names");
        let mut compared = 0;
        for (key, with) in [("none", None), ("importance", Some(importance))] {
            if let Some(hash) = set[key][ggml_name].as_str() {
                let found = sha256(&quantize(q, input, importance.len(), with));
                assert_eq!(found, hash, "{} {} {key}", q.name(), set["input"]);
                compared += 1;
            }
        }
        assert!(compared > 0, "nothing to compare for `{}` in {}", q.name(), set["input"]);
    }
}

#[test]
fn big_inputs_give_the_same_hashes() {
    let manifest = manifest();
    let types = golden_types(&manifest, &registry());
    let big = &manifest["big"];
    for set in big["sets"].as_array().expect("sets are a list") {
        let name = set["input"].as_str().expect("sets have names");
        let (rows, cols) =
            (set["rows"].as_u64().expect("rows"), set["cols"].as_u64().expect("cols"));
        let input = Big::from_name(name).expect("the set is known").rows(rows, cols);
        let importance = big_importance(cols);
        assert_eq!(sha256(&le_bytes(&importance)), big["importance_sha256"], "the generator");
        check_hashes(&types, set, &input, &importance);
    }
}

#[test]
fn wild_input_gives_the_same_hashes() {
    let manifest = manifest();
    let types = golden_types(&manifest, &registry());
    let text = fs::read(folder().join("wild.json")).expect("wild.json is there");
    let set: Value = serde_json::from_slice(&text).expect("wild.json is JSON");
    let (rows, cols) = (set["rows"].as_u64().expect("rows"), set["cols"].as_u64().expect("cols"));
    let importance = wild_importance(cols);
    assert_eq!(sha256(&le_bytes(&importance)), set["importance_sha256"], "the generator");
    check_hashes(&types, &set, &wild(rows, cols), &importance);
}

#[test]
fn negative_scales_of_q4_k_spill_as_in_ggml() {
    let q4_k = registry().quant("q4_k").expect("q4_k is registered");
    let cases = fs::read(folder().join("negative_scale.q4_k.bin")).expect("the file is there");
    assert_eq!(cases.len() % (8 * 256 + 144), 0);
    for case in cases.chunks(8 * 256 + 144) {
        let (floats, expected) = case.split_at(8 * 256);
        let floats: Vec<f32> =
            floats.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let (x, importance) = floats.split_at(256);
        assert_eq!(quantize(q4_k, x, 256, Some(importance)), expected);
    }
}

#[test]
fn stored_importance_is_what_the_generator_makes() {
    assert_eq!(importance_a(1024), floats("importance_a.f32.bin"));
}

#[test]
fn special_values_round_like_ggml() {
    let special = &manifest()["special_conversion"];
    let patterns = (0..=u16::MAX).flat_map(|high| {
        [0x0000u32, 0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits(u32::from(high) << 16 | low))
    });
    let patterns: Vec<f32> = patterns.collect();
    for (key, rounded) in [("f16_sha256", f16_bits as fn(f32) -> u16), ("bf16_sha256", bf16_bits)] {
        let bytes: Vec<u8> = patterns.iter().flat_map(|v| rounded(*v).to_le_bytes()).collect();
        assert_eq!(sha256(&bytes), special[key], "{key}");
    }
}
