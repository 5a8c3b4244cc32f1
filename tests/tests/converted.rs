//! Architectures against what the reference converter made of models whose weights a formula gives:
//! each file in `data/arch` has a config, the shapes of the checkpoint, and the keys and tensor hashes
//! of the converter's file.

use std::collections::BTreeMap;
use std::fs;

use gmat_core::Registry;
use gmat_core::arch::choose;
use gmat_core::config::ModelConfig;
use gmat_core::format::gguf::{Array, Meta, Value as Gv};
use serde_json::{Value, json};

use crate::arch::{check_tensors, exported};
use crate::support::{data, safetensors};

/// Values of a tensor by its name: 16 bits of a product, from -0.5 to 0.5.
fn weights(name: &str, dims: &[u64]) -> Vec<u8> {
    let seed: u64 = name.bytes().map(u64::from).sum::<u64>() * 40_503;
    let values = (0..dims.iter().product::<u64>()).map(|index| {
        let bits = ((index * 2_654_435_761 + seed) % (1 << 32)) >> 16;
        f32::from(u16::try_from(bits).unwrap()) / 65_536.0 - 0.5
    });
    values.flat_map(f32::to_le_bytes).collect()
}

fn described(value: &Gv) -> Value {
    match value {
        Gv::U32(v) => json!({"type": "UINT32", "value": v}),
        Gv::F32(v) => json!({"type": "FLOAT32", "value": f64::from(*v)}),
        Gv::Bool(v) => json!({"type": "BOOL", "value": v}),
        Gv::String(v) => json!({"type": "STRING", "value": std::str::from_utf8(v).unwrap()}),
        Gv::Array(Array::Bool(v)) => json!({"type": "ARRAY", "elem": "BOOL", "value": v}),
        Gv::Array(Array::I32(v)) => json!({"type": "ARRAY", "elem": "INT32", "value": v}),
        other => panic!("{other:?}"),
    }
}

#[test]
fn models_by_formula_are_converted_as_by_the_reference() {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let mut files: Vec<_> =
        fs::read_dir(data("data/arch")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let config = ModelConfig::from_map(record["config"].as_object().unwrap().clone());
        let arch = choose(registry.archs(), &config).unwrap();
        assert_eq!(record["arch"], arch.name(), "{name}");

        let mut meta = Meta::new();
        arch.metadata(&config, &mut meta).unwrap();
        let ours: BTreeMap<&str, Value> =
            meta.entries().iter().map(|(key, value)| (key.as_str(), described(value))).collect();
        let theirs: BTreeMap<&str, Value> = record["kv"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        assert_eq!(ours, theirs, "{name}");

        let source: Vec<(&str, &str, Vec<u64>, Vec<u8>)> = record["source"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, dims)| {
                let dims: Vec<u64> = serde_json::from_value(dims.clone()).unwrap();
                let bytes = weights(name, &dims);
                (name.as_str(), "F32", dims, bytes)
            })
            .collect();
        let tensors = exported(arch, &config, &safetensors(&source));
        check_tensors(name, &tensors, &record);
        // What runtimes look for is there, in the shape that the config implies.
        for expected in arch.expected(&config).unwrap() {
            match tensors.get(&expected.name) {
                None => assert!(expected.optional, "{name}: {} is missing", expected.name),
                Some((dims, _)) => {
                    let wanted = expected.dims.iter().map(|dim| dim.size);
                    let same =
                        wanted.zip(dims).all(|(wanted, dim)| wanted.is_none_or(|w| w == *dim));
                    assert!(same && dims.len() == expected.dims.len(), "{name}: {}", expected.name);
                }
            }
        }
    }
}
