//! Any bytes are read as rows that differ from a base, or refused; and any rows come back from their
//! difference to any base.
//!
//! Input: element type, rows, columns (two bytes), then the base, then what is to be decoded.

#![no_main]

use std::sync::LazyLock;

use gmat_core::block::{EncodeInput, GroupShape};
use gmat_core::{DType, Registry, convert};
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::builtin(gmat_codecs::link()).expect("all codecs are linked"));

fuzz_target!(|data: &[u8]| {
    let &[dtype, rows, low, high, ref bytes @ ..] = data else { return };
    let floats = [DType::F64, DType::F32, DType::F16, DType::Bf16, DType::F8E4m3, DType::F8E5m2];
    let dtype = floats[usize::from(dtype) % floats.len()];
    let (rows, cols) = (usize::from(rows % 9), usize::from(u16::from_le_bytes([low, high]) % 1025));
    let shape = GroupShape { dtype, rows, cols };
    let len = shape.byte_len().expect("few rows");
    let Some((base, rest)) = bytes.split_at_checked(len) else { return };
    for format in REGISTRY.blocks().iter().filter(|format| format.takes_base()) {
        let mut out = Vec::new();
        match format.restore_against(rest, base, shape, &mut out) {
            Ok(()) => assert_eq!(out.len(), len),
            Err(_) => assert!(out.is_empty()),
        }
        let Some(source) = rest.get(..len) else { continue };
        let mut values = vec![0.0; rows * cols];
        convert::to_f32(dtype, source, &mut values).expect("as many as there are");
        let input = EncodeInput { values: &values, bytes: source, dtype, rows, cols };
        let mut encoded = Vec::new();
        format.encode_against(input, base, &mut encoded).expect("any rows have a difference");
        out.clear();
        format.restore_against(&encoded, base, shape, &mut out).expect("what was written is read");
        assert!(out == source);
    }
});
