//! Any bytes are decoded or refused, by every block format of the store.
//!
//! Input: element type, rows, columns (two bytes), then what is to be decoded.

#![no_main]

use std::sync::LazyLock;

use gmat_core::block::GroupShape;
use gmat_core::{DType, Registry};
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::builtin(gmat_codecs::link()).expect("all codecs are linked"));

fuzz_target!(|data: &[u8]| {
    let &[dtype, rows, low, high, ref bytes @ ..] = data else { return };
    let shape = GroupShape {
        dtype: DType::PLAIN[usize::from(dtype) % DType::PLAIN.len()],
        rows: usize::from(rows % 9),
        cols: usize::from(u16::from_le_bytes([low, high]) % 1025),
    };
    for format in REGISTRY.blocks() {
        let mut out = vec![0.0; shape.rows * shape.cols];
        // An error is as good as a result; a panic is not.
        let _ = format.decode(bytes, shape, &mut out);
        let _ = format.restore(bytes, shape, &mut Vec::new());
    }
});
