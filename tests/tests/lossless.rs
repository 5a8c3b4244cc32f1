//! `lossless`: what it takes, its exact bytes, and that a store in it exports what a raw store does.

#![cfg(test)]

use std::fs;

use gmat_core::block::{BlockFormat, GroupShape};
use gmat_core::{DType, Registry};
use gmat_tests::weights::{Rng, Rows, single, trained};
use tempfile::TempDir;

use crate::support::{copy_files, example_model, gmat};

fn lossless() -> &'static dyn BlockFormat {
    Registry::builtin(gmat_codecs::link()).unwrap().block("lossless").unwrap()
}

/// Bits per element, after making sure that the bytes come back.
fn bits(all: &[Rows]) -> f64 {
    let (mut bytes, mut elems) = (0, 0);
    for rows in all {
        let mut encoded = Vec::new();
        lossless().encode(rows.input(), &mut encoded).unwrap();
        let mut restored = Vec::new();
        lossless().restore(&encoded, rows.shape, &mut restored).unwrap();
        assert!(restored == rows.bytes, "{}", rows.name);
        bytes += encoded.len();
        elems += rows.shape.rows * rows.shape.cols;
    }
    bytes as f64 * 8.0 / elems as f64
}

/// The same rows in another type, each element made from the bytes it had.
fn converted(all: &[Rows], dtype: DType, mut one: impl FnMut(&[u8], f32) -> Vec<u8>) -> Vec<Rows> {
    let of = |rows: &Rows| {
        let elements = rows.bytes.chunks(2).zip(&rows.values);
        let bytes = elements.flat_map(|(bytes, value)| one(bytes, *value)).collect();
        Rows::from_bytes(&rows.name, GroupShape { dtype, ..rows.shape }, bytes).unwrap()
    };
    all.iter().map(of).collect()
}

#[test]
fn trained_weights_take_the_bits_that_are_promised() {
    let matrices: Vec<Rows> =
        trained().unwrap().into_iter().filter(|rows| rows.shape.rows > 1).collect();
    let mut rng = Rng::new(1);
    let short = bits(&matrices);
    assert!(short > 10.0 && short <= 10.75, "BF16: {short}");
    let wide = converted(&matrices, DType::F32, |bytes, _| [&[0, 0], bytes].concat());
    let wide = bits(&wide);
    assert!(wide <= short + 0.01, "F32 that is BF16: {wide}");
    let full = converted(&matrices, DType::F32, |bytes, _| [&rng.bytes(2)[..2], bytes].concat());
    let full = bits(&full);
    assert!(full <= 26.75, "F32: {full}");
    let half = bits(&converted(&matrices, DType::F16, |_, value| {
        let noisy = f64::from(value) * (1.0 + rng.uniform() / 128.0);
        half_bits(single(noisy)).to_le_bytes().to_vec()
    }));
    assert!(half <= 13.7, "F16: {half}");
}

/// The bits of a half-precision number near a small normal one (the fraction is cut).
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 255).saturating_sub(112);
    let magnitude = if exponent == 0 { 0 } else { exponent << 10 | bits >> 13 & 0x3ff };
    u16::try_from(bits >> 31 << 15 | magnitude).unwrap()
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    // 1, -1.5, 2, 1 as BF16: exponents 127, 127, 128, 127.
    let bytes: Vec<u8> =
        [0x3f80u16, 0xbfc0, 0x4000, 0x3f80].iter().flat_map(|b| b.to_le_bytes()).collect();
    let shape = GroupShape { dtype: DType::Bf16, rows: 1, cols: 4 };
    let rows = Rows::from_bytes("four", shape, bytes.clone()).unwrap();
    let mut encoded = Vec::new();
    lossless().encode(rows.input(), &mut encoded).unwrap();
    assert_eq!(encoded, [1, 0, 0x81, 0, 0, 1, 127, 127, 128, 127]);
    // The exponents in a Huffman code: 127 is 0, 128 is 1; a stream of a bit each.
    let mut coded = vec![1, 0, 0x81, 0, 0, 2, 127, 128, 0x11];
    coded.extend([1, 0, 0, 0].repeat(4));
    coded.extend([0, 0, 1, 0]);
    let mut restored = Vec::new();
    lossless().restore(&coded, shape, &mut restored).unwrap();
    assert_eq!(restored, bytes);
    // One bit more than there are symbols; a code that is not complete; a kind that there is not.
    for (at, byte) in [(28, 1), (8, 0x12), (8, 0x10), (6, 126), (0, 3), (9, 2)] {
        let mut bad = coded.clone();
        bad[at] ^= byte;
        bad[at] = if at == 28 { 0x80 } else { bad[at] };
        assert!(lossless().restore(&bad, shape, &mut Vec::new()).is_err(), "byte {at}");
    }
}

#[test]
fn constant_planes_take_two_bytes() {
    let zeros = Rows::f32("zeros", 1000, vec![0.0; 1_000_000]);
    let mut encoded = Vec::new();
    lossless().encode(zeros.input(), &mut encoded).unwrap();
    assert_eq!(encoded, [0; 8]);
}

#[test]
fn exports_are_those_of_a_raw_store() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    copy_files(&example_model(), &at.join("hf"));
    for format in ["raw", "lossless"] {
        let said = gmat(at, &["import", "-m", "hf", "-o", format, "--block-format", format]).ok();
        assert!(said.stdout.contains(&format!(" as {format}")), "{}", said.stdout);
        for ty in ["f32", "bf16", "q4_k_m"] {
            let output = format!("{ty}.{format}.gguf");
            gmat(at, &["export", "-q", "-m", format, "--type", ty, "-o", &output]).ok();
        }
    }
    for ty in ["f32", "bf16", "q4_k_m"] {
        let of = |format: &str| fs::read(at.join(format!("{ty}.{format}.gguf"))).unwrap();
        assert!(of("raw") == of("lossless"), "{ty}");
    }
    // The same way once more: a GGUF file is taken in and given out bit by bit.
    for format in ["raw", "lossless"] {
        let store = format!("again-{format}");
        gmat(at, &["import", "-q", "-m", "bf16.raw.gguf", "-o", &store, "--block-format", format])
            .ok();
        let output = format!("again.{format}.gguf");
        gmat(at, &["export", "-q", "-m", &store, "-o", &output]).ok();
    }
    let of = |format: &str| fs::read(at.join(format!("again.{format}.gguf"))).unwrap();
    assert!(of("raw") == of("lossless"));
}
