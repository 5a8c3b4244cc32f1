//! Quantized checkpoints that are refused, and quantized checkpoints on the command line.

use std::fs;
use std::path::Path;

use gmat_core::format::gguf::Gguf;
use serde_json::Value;
use tempfile::TempDir;

use crate::importance::sha256;
use crate::sources::{bytes, compressed, import, open, words};
use crate::support::{Tensor, copy_files, data, gmat, hinted, safetensors, says};

const FP8: &str = r#"{"quantization_config":{"quant_method":"fp8"}}"#;
const MXFP4: &str = r#"{"quantization_config":{"quant_method":"mxfp4"}}"#;

/// A tensor of zeros.
fn zeros<'a>(name: &'a str, dtype: &'a str, dims: &[u64]) -> Tensor<'a> {
    let size = match dtype {
        "F32" | "I32" => 4,
        "BF16" => 2,
        "I64" | "F64" => 8,
        _ => 1,
    };
    let len = usize::try_from(dims.iter().product::<u64>()).unwrap() * size;
    (name, dtype, dims.to_vec(), vec![0; len])
}

fn shape(name: &str, dims: [i64; 2]) -> Tensor<'_> {
    (name, "I64", vec![2], dims.iter().flat_map(|dim| dim.to_le_bytes()).collect())
}

#[track_caller]
fn refused(tensors: &[Tensor<'_>], config: &str, parts: &[&str]) {
    let error = open(tensors, config).map(|_| ()).expect_err("it is accepted").to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn parts_that_are_missing_or_contradict_each_other() {
    let w = || zeros("x.weight", "F8_E4M3", &[300, 300]);
    let place = "tensor `x.weight` in `memory/model.safetensors`";
    refused(&[w()], FP8, &[place, "its scale is missing", "`x.weight_scale_inv`"]);
    let scale = |dims: &[u64]| zeros("x.weight_scale_inv", "F32", dims);
    refused(&[scale(&[3, 3])], FP8, &["`x.weight_scale_inv`", "not there", "expected `x.weight"]);
    for dims in [&[2, 3][..], &[3, 4], &[3], &[300, 300], &[1, 3, 3], &[300, 3]] {
        let parts = [place, "scale `x.weight_scale_inv` has shape", "[3, 3] (tiles of 128 x 128)"];
        refused(&[w(), scale(dims)], FP8, &parts);
    }
    for dtype in ["I32", "U8", "F8_E4M3"] {
        let scale = zeros("x.weight_scale_inv", dtype, &[3, 3]);
        refused(&[w(), scale], FP8, &[place, &format!("type {dtype}, expected F32 or BF16")]);
    }
    let other = zeros("x.weight_scale", "F32", &[3, 3]);
    refused(&[w(), scale(&[3, 3]), other], FP8, &[place, "two scales"]);
    let zero = zeros("x.weight_zero_point", "I8", &[3, 3]);
    refused(&[w(), scale(&[3, 3]), zero], FP8, &[place, "`x.weight_zero_point`"]);
    let vector = zeros("x.weight", "F8_E4M3", &[300]);
    refused(&[vector, scale(&[3, 3])], FP8, &["scale of a matrix"]);
    let wide = zeros("x.weight", "BF16", &[300, 300]);
    refused(&[wide, scale(&[3, 3])], FP8, &["belongs to `x.weight`, which is BF16"]);
    // Without a word in the config, one scale is enough to expect the others.
    let lone = zeros("y.weight", "F8_E4M3", &[2, 2]);
    refused(&[w(), scale(&[3, 3]), lone], "{}", &["`y.weight`", "scale is missing"]);
    refused(&[w(), scale(&[3, 3])], MXFP4, &[place, "an `fp8` checkpoint", "says `mxfp4`"]);
}

#[test]
fn four_bit_checkpoints_that_make_no_sense() {
    let blocks = |dims: &[u64]| zeros("x_blocks", "U8", dims);
    let scales = |dims: &[u64]| zeros("x_scales", "U8", dims);
    refused(&[blocks(&[4, 2, 16])], MXFP4, &["tensor `x_blocks`", "`x_scales` is missing"]);
    refused(&[scales(&[4, 2])], MXFP4, &["tensor `x_scales`", "not there"]);
    refused(&[blocks(&[4, 2, 16]), scales(&[4, 3])], MXFP4, &["`x_scales` has shape", "[4, 2]"]);
    refused(&[blocks(&[4, 2, 8]), scales(&[4, 2])], MXFP4, &["[…, rows, groups, 16]"]);
    refused(&[blocks(&[2, 16]), scales(&[2])], MXFP4, &["[…, rows, groups, 16]"]);
    let wide = zeros("x_scales", "F32", &[4, 2]);
    refused(&[blocks(&[4, 2, 16]), wide], MXFP4, &["type F32, expected U8"]);
    let whole = zeros("x", "BF16", &[4, 64]);
    let twice = [blocks(&[4, 2, 16]), scales(&[4, 2]), whole];
    refused(&twice, MXFP4, &["two tensors are, or become, `x`"]);

    let config = compressed("nvfp4-pack-quantized", r#"{"num_bits":4,"type":"float"}"#);
    let packed = || zeros("x.weight_packed", "U8", &[4, 32]);
    let scale = |dims: &[u64]| zeros("x.weight_scale", "F8_E4M3", dims);
    let global = |dims: &[u64]| zeros("x.weight_global_scale", "F32", dims);
    refused(&[packed()], &config, &["`x.weight_scale` is missing"]);
    refused(&[packed(), scale(&[4, 4])], &config, &["`x.weight_global_scale` is missing"]);
    let parts = ["`x.weight_scale` has shape [4,2]", "[4, 4] (groups of 16)"];
    refused(&[packed(), scale(&[4, 2]), global(&[1])], &config, &parts);
    let parts = ["`x.weight_global_scale` has shape [4]", "[] or [1]"];
    refused(&[packed(), scale(&[4, 4]), global(&[4])], &config, &parts);
}

#[test]
fn packed_integers_that_make_no_sense() {
    let weights = r#"{"num_bits":4,"type":"int","strategy":"group","group_size":16}"#;
    let config = compressed("pack-quantized", weights);
    let packed = |dims: &[u64]| zeros("x.weight_packed", "I32", dims);
    let scale = || zeros("x.weight_scale", "F32", &[4, 2]);
    let dims = |dims| shape("x.weight_shape", dims);
    refused(&[packed(&[4, 4]), scale()], &config, &["`x.weight_shape` is missing"]);
    for wrong in [[4, 64], [5, 32], [4, -1], [i64::MAX, i64::MAX], [0, 32]] {
        let tensors = [packed(&[4, 4]), scale(), dims(wrong)];
        refused(&tensors, &config, &["x.weight_shape"]);
    }
    // Eight bits by their shape, four by the config.
    let tensors = [packed(&[4, 8]), scale(), dims([4, 32])];
    refused(&tensors, &config, &["does not hold the weights of shape [4, 32]", "num_bits"]);
    let good = || vec![packed(&[4, 4]), scale(), dims([4, 32])];
    let with = |extra| [good(), vec![extra]].concat();
    let zero = zeros("x.weight_zero_point", "I32", &[4, 2]);
    refused(&with(zero), &config, &["`x.weight_zero_point` has shape [4,2], expected [1, 2]"]);
    let columns = zeros("x.weight_g_idx", "I32", &[31]);
    refused(&with(columns), &config, &["`x.weight_g_idx` has shape [31], expected [32]"]);
    let column = ("x.weight_g_idx", "I32", vec![32], words(&[vec![0; 31], vec![2]].concat()));
    let error = import(&with(column), &config, "raw").unwrap_err().to_string();
    assert!(error.contains("`x.weight_g_idx`") && error.contains("group `2`"), "{error}");
    let foreign = zeros("x.qweight", "I32", &[4, 4]);
    refused(&[foreign], "{}", &["tensor `x.qweight`", "GPTQ or AWQ"]);
}

#[test]
fn numbers_that_are_none() {
    let w = ("x.weight", "F8_E4M3", vec![3, 40], vec![0x38; 120]);
    let config = r#"{"quantization_config":{"quant_method":"fp8","weight_block_size":[2,32]}}"#;
    let with = |last: f32| {
        let scale = [1.0, 2.0, -3.0, last];
        [w.clone(), ("x.weight_scale_inv", "F32", vec![2, 2], bytes(&scale))]
    };
    for (last, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let error = import(&with(last), config, "B8x8").map(|_| ()).unwrap_err().to_string();
        let expected = format!("value at row 2, column 32 with its scale is `{shown}`");
        assert!(error.contains(&expected) && error.contains("tensor `x.weight`"), "{error}");
        assert!(import(&with(last), config, "raw").is_ok());
    }
    // Zero and negative scales are numbers like any other.
    for last in [0.0, -0.0, -1e-40] {
        assert!(import(&with(last), config, "B8x8").is_ok());
    }
    let nan = |codes: u8| [("x_blocks", codes), ("x_scales", 0xff)];
    let [blocks, scales] = nan(0x77);
    let tensors = [
        (blocks.0, "U8", vec![2, 1, 16], vec![blocks.1; 32]),
        (scales.0, "U8", vec![2, 1], vec![127, scales.1]),
    ];
    let error = import(&tensors, MXFP4, "B8x8").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("scale of row 1, columns 0 to 31 is `NaN`"), "{error}");
}

#[test]
fn wide_numbers_are_told() {
    let wide = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let write = |values: &[f64]| {
        let tensor = ("x.weight", "F64", vec![2, 2], wide(values));
        fs::write(at.join("m.safetensors"), safetensors(&[tensor])).unwrap();
        gmat(at, &["import", "-m", "m.safetensors", "-o", "."])
    };
    let ran = write(&[1.0, 0.1, 2.0, 3.0]).ok();
    says(&ran, "1 numbers of F64 tensors are not exact in F32");
    assert!(!write(&[1.0, 0.5, 2.0, 3.0]).ok().stderr.contains("F64"));
    write(&[1.0, 0.5, 1e300, 3.0]).fails(3, &["row 1, column 0 is `1e300`", "too large for F32"]);
}

fn types(file: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let bytes = fs::read(file).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let data = |tensor: &gmat_core::format::gguf::GgufTensor| {
        let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
        let size = if tensor.ggml_type == 0 { 4 } else { 2 };
        bytes[start..start + size * usize::try_from(tensor.elems().unwrap()).unwrap()].to_vec()
    };
    gguf.tensors.iter().map(|t| (t.name.clone(), t.ggml_type, data(t))).collect()
}

#[test]
fn an_fp8_model_becomes_what_the_converter_of_llama_cpp_makes_of_it() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    copy_files(&data("data/sources/llama-fp8"), &at.join("hf"));
    let ran = gmat(at, &["import", "-m", "hf", "-o", ".", "--block-format", "raw"]).ok();
    says(&ran, "14 tensors are `fp8` and were put together with their scales");
    gmat(at, &["export", "-q", "-m", "model.gmat", "--type", "bf16", "-o", "m.gguf"]).ok();
    let expected = fs::read(data("data/sources/llama-fp8/expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let tensors = types(&at.join("m.gguf"));
    assert_eq!(tensors.len(), expected["tensors"].as_object().unwrap().len());
    for (name, ty, data) in tensors {
        let expected = &expected["tensors"][&name];
        assert_eq!(expected["type"], if ty == 0 { "F32" } else { "BF16" }, "{name}");
        assert_eq!(expected["sha256"], sha256(&data), "{name}");
    }

    // The config that is generated speaks of weights, and is taken again.
    let ran = gmat(at, &["import", "-m", "hf", "--generate-config"]).ok();
    assert!(ran.stdout.contains("F32 (from fp8): 14"), "{}", ran.stdout);
    let text = fs::read_to_string(at.join("import_config.json")).unwrap();
    assert!(text.contains("mlp.up_proj.weight") && !text.contains("scale_inv"));
    gmat(at, &["import", "-q", "-m", "hf", "-c", "import_config.json", "-o", "again"]).ok();

    let config = fs::read_to_string(at.join("hf/config.json")).unwrap();
    let other = config.replace(r#""quant_method": "fp8""#, r#""quant_method": "awq""#);
    assert!(config != other);
    fs::write(at.join("hf/config.json"), other).unwrap();
    let ran = gmat(at, &["import", "-m", "hf", "-o", "."]);
    hinted(ran, 3, &["quantized by `awq`", "`quantization_config` in `config.json`"]);
}
