//! Quantized checkpoints: made here, imported, and compared with a plain reading of their formats,
//! element by element.

use gmat_core::config::{ImportConfig, ModelConfig, tensor_id};
use gmat_core::import::ImportPlan;
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::source::{Model, Pick};
use gmat_core::store::{ModelFiles, Record, Store, tensor_file};
use gmat_core::{Registry, Result};
use gmat_tests::memory::Memory;
use gmat_tests::weights::{Rng, single};

use crate::support::{Tensor, safetensors};

const FILE: &str = "model.safetensors";
const BUDGET: Budget = Budget { in_flight: 4, memory: 1 << 30 };

/// A checkpoint in memory, resolved.
pub(crate) fn open(tensors: &[Tensor<'_>], config: &str) -> Result<(Memory, Model)> {
    let files = Memory::of([(FILE, safetensors(tensors))]);
    let mut model = Model::open(&files, Pick::Folder)?;
    let config = ModelConfig::parse(config.as_bytes())?;
    model.resolve(&files, Some(&config))?;
    Ok((files, model))
}

/// The store of a checkpoint, and the bytes read for it.
pub(crate) fn import(tensors: &[Tensor<'_>], config: &str, format: &str) -> Result<Memory> {
    let (files, model) = open(tensors, config)?;
    store(&files, &model, format)
}

fn store(files: &Memory, model: &Model, format: &str) -> Result<Memory> {
    let registry = Registry::builtin(gmat_codecs::link())?;
    let config = ImportConfig { block_format: format.to_owned(), ..ImportConfig::default() };
    let plan = ImportPlan::new(model, &config, &registry)?;
    let mut out = Memory::default();
    plan.run(files, ModelFiles::default(), None, None, &mut out, BUDGET, &mut Silent)?;
    Ok(out)
}

/// Record and stored bytes of a tensor in a `raw` store.
fn stored(memory: &Memory, name: &str) -> (Record, Vec<u8>) {
    let store = Store::open(memory).unwrap();
    let id = tensor_id(name);
    let record = store.metadata.tensors[&id].clone();
    let index = store.index(id, &record).unwrap();
    let len = usize::try_from(index.groups.iter().map(|group| group.len).sum::<u64>()).unwrap();
    (record, memory.files[&tensor_file(id)][8..8 + len].to_vec())
}

/// Asserts that a tensor of a `raw` store has these values, bit by bit.
#[track_caller]
fn holds(memory: &Memory, name: &str, values: &[f32]) -> Record {
    let (record, bytes) = stored(memory, name);
    assert_eq!((record.dtype.as_str(), record.block_format.as_str()), ("F32", "raw"));
    let found: Vec<u32> = bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    assert_eq!(found.len(), values.len());
    for (at, (found, value)) in found.iter().zip(values).enumerate() {
        assert_eq!(*found, value.to_bits(), "element {at}: {} != {value}", f32::from_bits(*found));
    }
    record
}

/// OCP FP8 E4M3, from its definition.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match exponent {
        0 => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte > 127 { -magnitude } else { magnitude }
}

/// Bytes of E4M3 numbers, all but NaN.
fn fp8_codes(random: &mut Rng, count: usize) -> Vec<u8> {
    random
        .bytes(count)
        .into_iter()
        .map(|byte| if byte & 127 == 127 { byte - 1 } else { byte })
        .collect()
}

/// Scales with all bits in use.
fn scales(random: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| single(random.normal() * 0.01)).collect()
}

pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn words(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// BF16 bytes of values, and what they are then.
fn bf16(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let bits: Vec<u16> = values.iter().map(|v| (v.to_bits() >> 16).try_into().unwrap()).collect();
    let exact = bits.iter().map(|&b| f32::from_bits(u32::from(b) << 16)).collect();
    (bits.iter().flat_map(|b| b.to_le_bytes()).collect(), exact)
}

const FP8: &str = r#"{"quantization_config":{"quant_method":"fp8","weight_block_size":[100,128]}}"#;

#[test]
fn fp8_tiles_across_row_groups() {
    let mut random = Rng::new(1);
    // Row groups have 256 rows of 4096; tiles of 100 rows begin anywhere in them, and the last is
    // partial in both directions.
    let (rows, cols) = (730, 4100);
    let (tile_rows, tile_cols) = (8, 33);
    let codes = fp8_codes(&mut random, rows * cols);
    let scale = scales(&mut random, tile_rows * tile_cols);
    let tensors = [
        ("a.weight", "F8_E4M3", vec![730, 4100], codes.clone()),
        ("a.weight_scale_inv", "F32", vec![8, 33], bytes(&scale)),
        ("a.input_scale", "F32", vec![], bytes(&[2.0])),
        ("norm.weight", "F32", vec![3], bytes(&[1.0, 2.0, 3.0])),
    ];
    let (files, model) = open(&tensors, FP8).unwrap();
    let names: Vec<_> = model.tensors.iter().map(|t| t.info.name.as_str()).collect();
    assert_eq!(names, ["a.weight", "norm.weight"]);
    files.read.set(0);
    files.largest.set(0);
    let raw = store(&files, &model, "raw").unwrap();
    // Scales that two row groups share are read twice, nothing else is; and nothing whole.
    let source = (rows * cols + scale.len() * 4 + 12) as u64;
    assert!(files.read.get() <= source + 5 * 33 * 4, "{} of {source}", files.read.get());
    assert_eq!(files.largest.get(), 128 * 4100);
    let value = |row: usize, col: usize| {
        e4m3(codes[row * cols + col]) * scale[row / 100 * tile_cols + col / 128]
    };
    let values: Vec<f32> = (0..rows * cols).map(|at| value(at / cols, at % cols)).collect();
    let record = holds(&raw, "a.weight", &values);
    let made = record.made_of.clone().unwrap();
    assert_eq!(
        (made.encoding.as_str(), made.parts),
        ("fp8", vec!["a.weight".to_owned(), "a.weight_scale_inv".to_owned()])
    );
    // Every byte of both parts counts, whatever the units.
    let part = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
    let hash = blake3::hash(&[part(&codes), part(&bytes(&scale))].concat());
    assert_eq!(record.source_blake3, hash.to_hex().to_string());
    let dual = store(&files, &model, "DualRow8x4").unwrap();
    let other = Store::open(&dual).unwrap().metadata.tensors[&tensor_id("a.weight")].clone();
    assert_eq!(
        (other.source_blake3, other.block_format.as_str()),
        (record.source_blake3, "DualRow8x4")
    );
    assert_eq!((other.nonzero, other.max_abs), (record.nonzero, record.max_abs));
    assert!(stored(&raw, "norm.weight").0.made_of.is_none());
}

#[test]
fn fp8_scales_of_rows_columns_tensors_and_stacks() {
    let mut random = Rng::new(2);
    let (stack, rows, cols) = (3, 5, 8);
    let codes = fp8_codes(&mut random, stack * rows * cols);
    let scale = scales(&mut random, 64);
    // Shape of the weights and of the scales; the scale of an element.
    type Of = fn(usize, usize, usize) -> usize;
    let cases: [(&[u64], &[u64], Of); 9] = [
        (&[5, 8], &[], |_, _, _| 0),
        (&[5, 8], &[1], |_, _, _| 0),
        (&[5, 8], &[5, 1], |_, r, _| r),
        (&[5, 8], &[5], |_, r, _| r),
        (&[3, 5, 8], &[3], |e, _, _| e),
        (&[3, 5, 8], &[3, 1, 1], |e, _, _| e),
        (&[3, 5, 8], &[3, 5, 1], |e, r, _| e * 5 + r),
        (&[3, 5, 8], &[1], |_, _, _| 0),
        (&[3, 5, 8], &[3, 1, 8], |e, _, c| e * 8 + c),
    ];
    for (dims, scale_dims, of) in cases {
        let count: u64 = dims.iter().product();
        let count = usize::try_from(count).unwrap();
        let scale_count = usize::try_from(scale_dims.iter().product::<u64>()).unwrap();
        let (narrow, exact) = bf16(&scale[..scale_count]);
        for (dtype, raw, scale) in
            [("F32", bytes(&scale[..scale_count]), &scale), ("BF16", narrow, &exact)]
        {
            let tensors = [
                ("x", "F8_E4M3", dims.to_vec(), codes[..count].to_vec()),
                ("x_scale", dtype, scale_dims.to_vec(), raw),
            ];
            let config = r#"{"quantization_config":{"quant_method":"fbgemm_fp8"}}"#;
            let memory = import(&tensors, config, "raw").unwrap();
            let value = |at: usize| {
                let (e, r, c) = (at / cols / rows, at / cols % rows, at % cols);
                e4m3(codes[at]) * scale[of(e, r, c)]
            };
            let values: Vec<f32> = (0..count).map(value).collect();
            holds(&memory, "x", &values);
        }
    }
    // The same without any config, and tiles in a stack.
    let tensors = [
        ("x", "F8_E5M2", vec![3, 5, 8], vec![0x3c; 120]),
        ("x_scale_inv", "F32", vec![3, 1, 1], bytes(&[1.0, 2.0, 4.0])),
    ];
    let memory = import(&tensors, "{}", "raw").unwrap();
    let values: Vec<f32> = [1.0, 2.0, 4.0].iter().flat_map(|&v| [v; 40]).collect();
    holds(&memory, "x", &values);
    let plain = [("x.weight", "F8_E4M3", vec![2, 2], vec![0x38; 4])];
    assert_eq!(stored(&import(&plain, "{}", "raw").unwrap(), "x.weight").0.dtype, "F8_E4M3");
}

/// `compressed-tensors`, one group of integer weights.
pub(crate) fn compressed(format: &str, weights: &str) -> String {
    format!(
        r#"{{"quantization_config":{{"quant_method":"compressed-tensors","format":"{format}",
           "config_groups":{{"group_0":{{"targets":["Linear"],"weights":{weights}}}}}}}}}"#
    )
}

#[test]
fn int8_with_and_without_zero_points() {
    let mut random = Rng::new(3);
    let (rows, cols) = (6, 40);
    let codes = random.bytes(rows * cols);
    let scale = scales(&mut random, rows);
    let zeros = random.bytes(rows);
    let config = compressed("int-quantized", r#"{"num_bits":8,"type":"int","strategy":"channel"}"#);
    let signed = |byte: u8| f32::from(byte.cast_signed());
    for zero in [false, true] {
        let mut tensors = vec![
            ("x.weight", "I8", vec![6, 40], codes.clone()),
            ("x.weight_scale", "F32", vec![6, 1], bytes(&scale)),
        ];
        if zero {
            tensors.push(("x.weight_zero_point", "I8", vec![6, 1], zeros.clone()));
        }
        let value = |at: usize| {
            let shift = if zero { signed(zeros[at / cols]) } else { 0.0 };
            (signed(codes[at]) - shift) * scale[at / cols]
        };
        let values: Vec<f32> = (0..rows * cols).map(value).collect();
        holds(&import(&tensors, &config, "raw").unwrap(), "x.weight", &values);
    }
}

/// Numbers of `bits` bits in words of 32, the first in the lowest bits.
fn pack(numbers: &[u32], bits: usize) -> Vec<i32> {
    let pack = |chunk: &[u32]| {
        let word = chunk.iter().enumerate().fold(0, |word, (at, n)| word | n << (at * bits));
        word.cast_signed()
    };
    numbers.chunks(32 / bits).map(pack).collect()
}

#[test]
fn packed_integers_in_groups() {
    let mut random = Rng::new(4);
    for (bits, group, cols) in [(4usize, 16, 48), (8, 12, 36), (2, 32, 32), (4, 20, 20)] {
        let rows = 21;
        let groups = cols / group;
        let top = 1 << bits;
        let codes: Vec<u32> = (0..rows * cols).map(|_| random.bits32() % top).collect();
        let zeros: Vec<u32> = (0..rows * groups).map(|_| random.bits32() % top).collect();
        let scale = scales(&mut random, rows * groups);
        let packed: Vec<i32> = codes.chunks(cols).flat_map(|row| pack(row, bits)).collect();
        // Zero points are packed downwards: a word has those of several rows of one group.
        let per_word = 32 / bits;
        let zero = |row: usize, g: usize| zeros.get(row * groups + g).copied().unwrap_or(0);
        let packed_zeros: Vec<i32> = (0..rows.div_ceil(per_word))
            .flat_map(|line| {
                let column = move |g| (0..per_word).map(move |i| (line * per_word + i, g));
                (0..groups).map(move |g| column(g).collect::<Vec<_>>())
            })
            .map(|places| {
                let rows_in = places.into_iter().filter(|(row, _)| *row < rows);
                pack(&rows_in.map(|(row, g)| zero(row, g)).collect::<Vec<_>>(), bits)[0]
            })
            .collect();
        // Columns in another order of groups, every group as often.
        let order: Vec<i32> =
            (0..cols).map(|c| i32::try_from((c * 7 + 3) % groups).unwrap()).collect();
        let dims = [21u64, cols as u64];
        let shape: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        for (asymmetric, ordered) in [(false, false), (true, false), (true, true), (false, true)] {
            let mut tensors = vec![
                (
                    "x.weight_packed",
                    "I32",
                    vec![21, cols.div_ceil(per_word) as u64],
                    words(&packed),
                ),
                ("x.weight_scale", "F32", vec![21, groups as u64], bytes(&scale)),
                ("x.weight_shape", "I64", vec![2], shape.clone()),
            ];
            if asymmetric {
                let dims = vec![rows.div_ceil(per_word) as u64, groups as u64];
                tensors.push(("x.weight_zero_point", "I32", dims, words(&packed_zeros)));
            }
            if ordered {
                tensors.push(("x.weight_g_idx", "I32", vec![cols as u64], words(&order)));
            }
            let weights = format!(
                r#"{{"num_bits":{bits},"type":"int","strategy":"group","group_size":{group},"symmetric":{}}}"#,
                !asymmetric
            );
            let memory = import(&tensors, &compressed("pack-quantized", &weights), "raw").unwrap();
            let value = |at: usize| {
                let (row, col) = (at / cols, at % cols);
                let g = if ordered { usize::try_from(order[col]).unwrap() } else { col / group };
                let shift = if asymmetric { zero(row, g) } else { top / 2 };
                single(f64::from(codes[at]) - f64::from(shift)) * scale[row * groups + g]
            };
            let values: Vec<f32> = (0..rows * cols).map(value).collect();
            let record = holds(&memory, "x.weight", &values);
            assert_eq!(record.made_of.unwrap().encoding, "packed-int");
        }
    }
}

/// The numbers of E2M1.
const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

#[test]
fn nvfp4_of_both_kinds() {
    let mut random = Rng::new(5);
    let (rows, cols) = (7, 64);
    let codes = random.bytes(rows * cols / 2);
    let scale: Vec<u8> = fp8_codes(&mut random, rows * 4).into_iter().map(|b| b & 127).collect();
    let global = 0.0123_f32;
    let value = |at: usize, of: &dyn Fn(f32) -> f32| {
        let byte = codes[at / 2];
        let code = if at.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
        E2M1[usize::from(code)] * of(e4m3(scale[at / 16]))
    };
    let values =
        |of: &dyn Fn(f32) -> f32| (0..rows * cols).map(|at| value(at, of)).collect::<Vec<_>>();
    let config = r#"{"quantization_config":{"quant_method":"modelopt","quant_algo":"NVFP4"}}"#;
    let tensors = [
        ("x.weight", "U8", vec![7, 32], codes.clone()),
        ("x.weight_scale", "F8_E4M3", vec![7, 4], scale.clone()),
        ("x.weight_scale_2", "F32", vec![], bytes(&[global])),
        ("x.input_scale", "F32", vec![], bytes(&[1.0])),
        ("x.k_scale", "F32", vec![], bytes(&[1.0])),
    ];
    for config in [config, "{}"] {
        let memory = import(&tensors, config, "raw").unwrap();
        holds(&memory, "x.weight", &values(&|scale| scale * global));
        assert_eq!(Store::open(&memory).unwrap().metadata.total_tensors, 1);
    }
    let weights = r#"{"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16}"#;
    let config = compressed("nvfp4-pack-quantized", weights);
    let tensors = [
        ("x.weight_packed", "U8", vec![7, 32], codes.clone()),
        ("x.weight_scale", "F8_E4M3", vec![7, 4], scale.clone()),
        ("x.weight_global_scale", "F32", vec![1], bytes(&[global])),
        ("x.input_global_scale", "F32", vec![1], bytes(&[1.0])),
    ];
    let memory = import(&tensors, &config, "raw").unwrap();
    holds(&memory, "x.weight", &values(&|scale| scale / global));
}

#[test]
fn mxfp4_keeps_its_numbers() {
    let mut random = Rng::new(6);
    let codes = random.bytes(3 * 5 * 2 * 16);
    let scale: Vec<u8> = random.bytes(3 * 5 * 2).into_iter().map(|b| 100 + b % 50).collect();
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let gpt_oss = r#"{"quantization_config":{"quant_method":"mxfp4"}}"#;
    let weights = r#"{"num_bits":4,"type":"float","strategy":"group","group_size":32}"#;
    let packed = compressed("mxfp4-pack-quantized", weights);
    let cases = [
        ("x", gpt_oss, "x_blocks", "x_scales", vec![3, 5, 2, 16], vec![3, 5, 2]),
        (
            "x.weight",
            packed.as_str(),
            "x.weight_packed",
            "x.weight_scale",
            vec![15, 32],
            vec![15, 2],
        ),
    ];
    for (name, config, first, second, dims, scale_dims) in cases {
        let tensors =
            [(first, "U8", dims, codes.clone()), (second, "U8", scale_dims, scale.clone())];
        // Never decoded and encoded again, whatever the format.
        for format in ["raw", "B8x8"] {
            let (record, blocks) = stored(&import(&tensors, config, format).unwrap(), name);
            assert_eq!((record.dtype.as_str(), record.block_format.as_str()), ("mxfp4", "raw"));
            assert_eq!(record.shape.iter().product::<u64>(), 15 * 64);
            let mut values = vec![0.0; 15 * 64];
            registry.quant("mxfp4").unwrap().dequantize(&blocks, &mut values).unwrap();
            for (at, value) in values.iter().enumerate() {
                let byte = codes[at / 2];
                let code = if at.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
                let scale = 2f64.powi(i32::from(scale[at / 32]) - 127);
                assert_eq!(f64::from(*value), f64::from(E2M1[usize::from(code)]) * scale, "{at}");
            }
        }
    }
}
