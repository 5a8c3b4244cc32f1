//! Any row is quantized or refused, by every type, with any importance and either search; and what is
//! written reads as finite numbers.
//!
//! Input: a byte that chooses the type and whether there is importance, then `f32` for the importance
//! of one block (or as many as there are) and for the row; both are repeated to fill 256 columns.

#![no_main]

use std::sync::LazyLock;

use gmat_core::Registry;
use gmat_core::quant::{Goal, Need, QuantCx, Search};
use libfuzzer_sys::fuzz_target;

const COLS: usize = 256;

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::builtin(gmat_codecs::link()).expect("all codecs are linked"));

fuzz_target!(|data: &[u8]| {
    let Some((choice, floats)) = data.split_first() else { return };
    let floats: Vec<f32> = floats.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    if floats.len() < 2 {
        return;
    }
    let quants = REGISTRY.quants();
    let q = quants[usize::from(choice / 2) % quants.len()];
    let (weights, values) = floats.split_at(floats.len() / 2);
    let row: Vec<f32> = values.iter().copied().cycle().take(COLS).collect();
    let weights: Vec<f32> = weights.iter().map(|v| v.abs()).cycle().take(COLS).collect();
    let importance = (choice % 2 == 1).then_some(&weights[..]);
    if importance.is_none() && q.importance() == Need::Required {
        return;
    }
    let mut bytes = vec![0; COLS / q.block().elems * q.block().bytes];
    let mut back = vec![f32::NAN; COLS];
    for search in [Search::Standard, Search::Trellis(Goal::USUAL)] {
        let cx = QuantCx { search, ..QuantCx::standard(COLS, importance) };
        if q.quantize(&row, &cx, &mut bytes).is_ok() {
            q.dequantize(&bytes, &mut back).expect("whole blocks");
            assert!(back.iter().all(|v| v.is_finite()), "{} {search:?}: {back:?}", q.name());
        }
    }
});
