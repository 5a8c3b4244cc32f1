//! Any bytes can be dequantized, as blocks of every type.

#![no_main]

use std::sync::LazyLock;

use gmat_core::Registry;
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::builtin(gmat_codecs::link()).expect("all codecs are linked"));

fuzz_target!(|data: &[u8]| {
    for q in REGISTRY.quants() {
        let block = q.block();
        let blocks = data.len() / block.bytes;
        let mut out = vec![0.0; blocks * block.elems];
        q.dequantize(&data[..blocks * block.bytes], &mut out).expect("whole blocks");
        // And the block that is cut off is refused.
        if blocks * block.bytes != data.len() {
            q.dequantize(data, &mut out).expect_err("not whole blocks");
        }
    }
});
