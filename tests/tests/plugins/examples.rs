//! What the example plugins do, in the program.

use gmat_core::GgmlType;
use gmat_core::quant::{QuantCx, QuantType};
use gmat_tests::golden_input::{Big, big_importance};
use serde_json::{Value, json};

use super::{Lab, by_hand, example, registry_with, type_of};
use crate::support::says;

const COLS: usize = 4096;

fn quantize(quant: &dyn QuantType, x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let block = quant.block();
    let mut out = vec![0; x.len() / block.elems * block.bytes];
    quant.quantize(x, &QuantCx::standard(COLS, importance), &mut out).unwrap();
    out
}

/// Weighted squared error.
fn error(quant: &dyn QuantType, x: &[f32], importance: Option<&[f32]>) -> f64 {
    let mut back = vec![0.0; x.len()];
    quant.dequantize(&quantize(quant, x, importance), &mut back).unwrap();
    let terms = x.iter().zip(&back).enumerate().map(|(at, (x, y))| {
        let weight = importance.map_or(1.0, |weights| f64::from(weights[at % COLS]));
        weight * (f64::from(*x) - f64::from(*y)).powi(2)
    });
    terms.sum()
}

#[test]
fn its_own_search_beats_that_of_ggml() {
    let (registry, _) = registry_with(&example("q4k_search"));
    let (own, standard) = (registry.quant("q4_k@search").unwrap(), registry.quant("q4_k").unwrap());
    let importance = big_importance(COLS as u64);
    for input in [Big::Gauss, Big::Student] {
        let x = input.rows(4, COLS as u64);
        for weights in [None, Some(&importance[..])] {
            let (own, standard) = (error(own, &x, weights), error(standard, &x, weights));
            assert!(own < 0.97 * standard, "{own} and {standard}, weighted: {weights:?}");
        }
    }
}

#[test]
fn a_type_of_a_plugin_makes_an_ordinary_file() {
    let lab = Lab::new();
    lab.give_example("q4k_search");
    let ran = lab.export("one.gguf", &["--type", "q4_k@search", "--jobs", "1"]).ok();
    assert!(ran.stdout.contains("q4_k@search"), "{}", ran.stdout);
    for jobs in ["2", "8"] {
        lab.export("more.gguf", &["--type", "q4_k@search", "--jobs", jobs]).ok();
        assert!(lab.read("one.gguf") == lab.read("more.gguf"), "{jobs} threads");
    }
    lab.export("more.gguf", &["--type", "Q4_K@Search"]).ok();
    let gguf = lab.gguf("one.gguf");
    assert_eq!(type_of(&gguf, "w.weight"), u32::from(GgmlType::Q4K.id()));
    let hash = blake3::hash(&lab.read("given/q4k_search.wasm")).to_hex().to_string();
    let key =
        |name: &str| gguf.meta.value(name).and_then(|value| value.as_str()).map(str::to_owned);
    assert_eq!(key("gmat.plugin.search.blake3"), Some(hash.clone()));
    assert_eq!(key("gmat.plugin.search.version").as_deref(), Some("0.1.0"));

    // The config in the manifest names the plugin, and repeats the export.
    let beside: Value = serde_json::from_slice(&lab.read("one.manifest.json")).unwrap();
    assert_eq!(beside["config"]["plugins"]["search"], json!({"blake3": hash, "version": "0.1.0"}));
    std::fs::write(lab.at().join("c.json"), beside["config"].to_string()).unwrap();
    lab.export("again.gguf", &["-c", "c.json"]).ok();
    assert!(lab.read("one.gguf") == lab.read("again.gguf"));

    // With another plugin of the name, it is refused.
    let mut other = lab.read("given/q4k_search.wasm");
    other.extend_from_slice(b"\0\x03\x01xy");
    lab.give("q4k_search.wasm", &other);
    lab.export("again.gguf", &["-c", "c.json"])
        .fails(super::FAILED, &["plugin `search`", &hash, "remove `plugins`"]);
}

#[test]
fn recipes_take_the_type_of_a_plugin_as_their_base() {
    let lab = Lab::new();
    lab.give_example("q4k_search");
    lab.export("m.gguf", &["--type", "q4_k_s@search"]).ok();
    assert_eq!(type_of(&lab.gguf("m.gguf"), "w.weight"), u32::from(GgmlType::Q4K.id()));
    let ran = lab.export("m.gguf", &["--type", "f16", "--tensor-type", "^w=q4_k@search"]).ok();
    assert!(ran.stdout.contains("w.weight [64,256] q4_k@search"), "{}", ran.stdout);
    assert!(ran.stdout.contains("v.weight [64,256] f16"), "{}", ran.stdout);
}

#[test]
fn parameters_reach_the_plugin() {
    let lab = Lab::new();
    lab.give_example("q4k_search");
    let export = |ty: Value| {
        let config = json!({"quantization": {"default_type": "f16", "rules": [{"match": "^w", "type": ty}]}});
        std::fs::write(lab.at().join("c.json"), config.to_string()).unwrap();
        lab.export("p.gguf", &["-c", "c.json"])
    };
    let with = |params: Value| export(json!({"type": "q4_k@search", "params": params}));
    let mut seen = Vec::new();
    for rounds in [1, 9] {
        with(json!({"rounds": rounds})).ok();
        seen.push(lab.gguf("p.gguf").meta.value("gmat.config_blake3").cloned());
        let data = lab.read("p.gguf");
        seen.push(None);
        std::fs::write(lab.at().join(format!("{rounds}.gguf")), data).unwrap();
    }
    let tail = |name: &str| {
        let bytes = lab.read(name);
        bytes[bytes.len() - 9216..].to_vec()
    };
    assert!(tail("1.gguf") != tail("9.gguf"), "rounds make no difference");
    with(json!({"rounds": 0})).fails(
        super::FAILED,
        &["quantization.rules[0]", "`params`", "plugin `search`", "N from 1 to 9"],
    );
    export(json!({"type": "q4_k", "params": {}})).fails(2, &["`q4_k` takes no parameters"]);
    export(json!("q4_k@nobody")).fails(super::FAILED, &["plugin `nobody`", "not there"]);
    export(json!("q5_k@search")).fails(2, &["plugin `search`", "`q4_k@search`"]);
}

#[test]
fn a_plugin_written_by_hand_agrees_with_what_is_built_in() {
    let lab = Lab::new();
    lab.give("bf16.wasm", &by_hand());
    lab.export("one.gguf", &["--type", "bf16@wat"]).ok();
    lab.export("other.gguf", &["--type", "bf16"]).ok();
    let tensors = |name: &str| {
        let bytes = lab.read(name);
        bytes[bytes.len() - 2 * 64 * 256 * 2..].to_vec()
    };
    assert!(tensors("one.gguf") == tensors("other.gguf"));
}

#[test]
fn ids_of_ones_own_must_be_allowed() {
    let lab = Lab::new();
    lab.give_example("half_rows");
    let args = ["--type", "f16", "--tensor-type", "^w=fixed8@half-rows"];
    lab.export("m.gguf", &args)
        .fails(2, &["type id 4242", "tensor `w.weight`", "--allow-custom-types"]);
    let ran = lab.export("m.gguf", &[&args[..], &["--allow-custom-types"]].concat()).ok();
    assert!(ran.stdout.contains("w.weight [64,256] fixed8@half-rows"), "{}", ran.stdout);
    let ran = lab.gmat(&["inspect", "m.gguf"]);
    says(&ran, "4242");
}
