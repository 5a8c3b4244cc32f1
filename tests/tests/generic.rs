//! Models of an architecture that nobody described: the file for other tools.

use std::fs;

use gmat_core::format::gguf::Gguf;
use tempfile::TempDir;

use crate::support::{f32s, gmat, hinted, safetensors, says};

const INPUT: i32 = 3;

#[test]
fn source_names_and_the_whole_config() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let long = format!("{}.weight", "x".repeat(60));
    let model = safetensors(&[
        ("encoder.0.w.weight", "F32", vec![4, 32], f32s(128)),
        ("conv.weight", "F32", vec![2, 2, 2, 2, 32], f32s(512)),
        (&long, "F32", vec![32], f32s(32)),
    ]);
    fs::write(at.join("m.safetensors"), model).unwrap();
    let config = r#"{"architectures":["NeverHeardOfModel"],"width":32,"deep":{"er":[1],"x":"y"}}"#;
    fs::write(at.join("config.json"), config).unwrap();
    let ran = gmat(at, &["import", "-m", "."]).ok();
    says(&ran, "--arch generic");
    let export = |arch: &[&str]| {
        let args = ["export", "-m", "output/model.gmat", "--type", "q8_0", "-o", "m.gguf"];
        gmat(at, &[&args, arch].concat())
    };
    hinted(
        export(&["--no-tokenizer"]),
        INPUT,
        &["unknown architecture `NeverHeardOfModel`", "--arch generic"],
    );
    let ran = export(&["--arch", "generic"]).ok();
    says(&ran, "no runtime");
    let gguf = Gguf::parse(&fs::read(at.join("m.gguf")).unwrap()).unwrap();
    let text =
        |key: &str| gguf.meta.value(key).and_then(|value| value.as_str()).unwrap().to_owned();
    assert_eq!(text("general.architecture"), "generic");
    assert_eq!(text("generic.source_architecture"), "NeverHeardOfModel");
    assert_eq!(text("generic.config.deep.x"), "y");
    let whole: serde_json::Value = serde_json::from_str(&text("generic.config")).unwrap();
    assert_eq!(whole, serde_json::from_str::<serde_json::Value>(config).unwrap());
    let shapes: Vec<(&str, &[u64])> =
        gguf.tensors.iter().map(|t| (t.name.as_str(), t.dims.as_slice())).collect();
    assert!(shapes.contains(&("conv.weight", &[32, 2, 2, 4])), "{shapes:?}");
    assert!(shapes.iter().any(|(name, _)| name.len() == 63 && name.ends_with("xxx.weight")));
    assert!(shapes.contains(&("encoder.0.w.weight", &[32, 4])), "{shapes:?}");
}
