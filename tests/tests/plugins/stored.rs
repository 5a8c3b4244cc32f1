//! Block formats of plugins: stores that need them.

use serde_json::Value;

use super::{FAILED, Lab};

#[test]
fn a_store_in_a_format_of_a_plugin_needs_it() {
    let lab = Lab::new();
    lab.give_example("half_rows");
    let with = ["--plugin-dir", "given"];
    let import = ["import", "-m", "hf", "-o", "packed.gmat", "--block-format", "Rows12@half-rows"];
    for jobs in ["1", "4"] {
        lab.gmat(&[&import[..], &with, &["--jobs", jobs]].concat()).ok();
        std::fs::rename(lab.at().join("packed.gmat"), lab.at().join(format!("{jobs}.gmat")))
            .unwrap();
    }
    assert_eq!(
        crate::support::tree(&lab.at().join("1.gmat")),
        crate::support::tree(&lab.at().join("4.gmat"))
    );
    let hash = blake3::hash(&lab.read("given/half_rows.wasm")).to_hex().to_string();
    let metadata: Value = serde_json::from_slice(&lab.read("1.gmat/metadata.json")).unwrap();
    assert_eq!(metadata["plugins"]["half-rows"]["blake3"], hash);

    let export = ["export", "-m", "1.gmat", "--arch", "generic", "--type", "f32", "-o", "m.gguf"];
    // Whatever has to read values says what it lacks; what does not, works without.
    let needed = ["the store needs plugin `half-rows`", "`0.1.0`", &hash, "--plugin-dir"];
    lab.gmat(&export).fails(FAILED, &needed);
    for args in [
        &["inspect", "1.gmat", "--histogram", "^w"][..],
        &["compare", "1.gmat", "model.gmat"],
        &["convert", "--input", "1.gmat", "--output", "numpy"],
        &["import", "-m", "hf", "-o", "2.gmat", "--base", "1.gmat", "--block-format", "raw"],
        &["verify", "1.gmat", "--source", "hf"],
    ] {
        lab.gmat(args).fails(FAILED, &needed);
    }
    lab.gmat(&["inspect", "1.gmat"]).ok();
    lab.gmat(&["inspect", "1.gmat", "--histogram", "^x"]).ok();
    lab.gmat(&["verify", "1.gmat"]).ok();
    lab.gmat(&[&export[..], &with].concat()).ok();
    let gguf = lab.gguf("m.gguf");
    let named = gguf.meta.value("gmat.plugin.half-rows.blake3").and_then(|value| value.as_str());
    assert_eq!(named, Some(hash.as_str()));

    // Twelve bits are close, and not exact.
    let values = |bytes: &[u8]| -> Vec<f32> {
        let (all, _) = bytes.as_chunks();
        all.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    // The last tensor is the vector, and the one before holds the same values as all.
    let (source, file) = (crate::support::f32s(64 * 256), lab.read("m.gguf"));
    let end = file.len() - 256 * 4;
    let (packed, exact) = (values(&file[end - source.len()..end]), values(&source));
    let most = packed.iter().zip(&exact).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    let unit = exact.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 2047.0;
    assert!(most > 0.0 && most < 0.51 * unit, "{most}, codes are {unit} apart");

    // Another plugin of that name may be a better one: it is used, and told.
    let mut other = lab.read("given/half_rows.wasm");
    other.extend_from_slice(b"\0\x03\x01xy");
    lab.give("half_rows.wasm", &other);
    let ran = lab.gmat(&[&export[..], &with].concat()).ok();
    crate::support::says(&ran, &format!("(BLAKE3 {hash})"));
}
