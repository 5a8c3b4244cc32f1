//! `gmat compare`: any two models, tensor by tensor.

use std::fs;

use serde_json::{Value, json};

use crate::support::{f32s, gmat, hinted, safetensors, stored};

const INPUT: i32 = 3;

#[test]
fn models_of_all_kinds() {
    let dir = stored();
    let at = dir.path();
    let compare = |a: &str, b: &str| -> Value {
        let ran = gmat(at, &["compare", a, b, "--json"]).ok();
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let error = |found: &Value| found["total"]["relative_rmse"].as_f64().unwrap();
    let pairs = |found: &Value| found["pairs"].as_array().unwrap().len();
    let export = |out: &str, args: &[&str]| {
        gmat(at, &[&["export", "-q", "-m", "model.gmat", "-o", out], args].concat()).ok();
    };
    gmat(at, &["import", "-q", "-m", "hf", "-o", "raw.gmat", "--block-format", "raw"]).ok();

    // The store's own error is that of its block format; vectors are kept as they are.
    let found = compare("hf", "model.gmat");
    let total = pairs(&found);
    assert!((0.0005..0.002).contains(&error(&found)), "{found:#}");
    assert!(found["pairs"].as_array().unwrap().iter().any(|pair| pair["same"] == true));
    assert_eq!(found["only_a"].as_array().unwrap().len(), 0);
    let found = compare("hf", "raw.gmat");
    assert_eq!((error(&found), pairs(&found)), (0.0, total));
    assert!(found["pairs"].as_array().unwrap().iter().all(|pair| pair["same"] == true));

    // A GGUF file has other names and permuted rows: the figures are those of the export's report.
    export("q4.gguf", &["--type", "q4_0", "--report", "report.json"]);
    let found = compare("model.gmat", "q4.gguf");
    let report: Value = serde_json::from_slice(&fs::read(at.join("report.json")).unwrap()).unwrap();
    assert_eq!(pairs(&found), report["tensors"].as_array().unwrap().len());
    for (pair, tensor) in
        found["pairs"].as_array().unwrap().iter().zip(report["tensors"].as_array().unwrap())
    {
        assert_eq!(pair["b"]["name"], tensor["name"]);
        // Sums of the same numbers, in another order.
        let figure = |object: &Value| object["relative_rmse"].as_f64().unwrap();
        let (found, expected) = (figure(pair), figure(tensor));
        assert!((found - expected).abs() <= 1e-9 * expected, "{pair:#}");
        assert_eq!(pair["b"]["type"], tensor["type"]);
    }
    let back = compare("q4.gguf", "model.gmat");
    assert!((error(&back) / error(&found) - 1.0).abs() < 0.02, "{back:#}");

    // Two GGUF files; one that was imported, and the store of it.
    export("q8.gguf", &["--type", "q8_0", "--shard-size", "3MB"]);
    let mut names =
        fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let split = names.find(|name| name.starts_with("q8-00001-of-")).unwrap();
    let found = compare(&split, "q4.gguf");
    assert_eq!(pairs(&found), pairs(&back));
    gmat(at, &["import", "-q", "-m", "q4.gguf", "-o", "q4.gmat"]).ok();
    assert_eq!(error(&compare("q4.gguf", "q4.gmat")), 0.0);

    let table = gmat(at, &["compare", "model.gmat", "q4.gguf", "--html", "c.html"]).ok().stdout;
    for part in ["token_embd.weight = model.embed_tokens.weight", "q4_0", "in both"] {
        assert!(table.contains(part), "{table}");
    }
    assert!(fs::read_to_string(at.join("c.html")).unwrap().contains("<svg"));

    // A checkpoint is what the store would be that a `raw` import makes of it.
    for pair in [["hf", "q4.gguf"], ["q4.gguf", "hf"]] {
        let (found, of_store) = (compare(pair[0], pair[1]), {
            let store = |path: &str| path.replace("hf", "raw.gmat");
            compare(&store(pair[0]), &store(pair[1]))
        });
        assert_eq!(found["pairs"], of_store["pairs"]);
        assert_eq!(found["total"], of_store["total"]);
        let side = if pair[0] == "hf" { "a" } else { "b" };
        assert_eq!(found[side]["format"], "SafeTensors");
        for key in ["only_a", "only_b", "other_shape"] {
            assert_eq!(found[key], json!([]), "{key}");
        }
    }
    let other = safetensors(&[("x", "F32", vec![8, 8], f32s(64))]);
    fs::create_dir(at.join("other")).unwrap();
    fs::write(at.join("other/model.safetensors"), other).unwrap();
    hinted(gmat(at, &["compare", "other", "q4.gguf"]), INPUT, &["architecture"]);
    hinted(gmat(at, &["compare", "other", "hf"]), INPUT, &["no tensor"]);
}
