//! `f32`: single precision, unchanged.
//!
//! ```text
//! byte    0 1 2 3
//!        [ value ]   IEEE 754 binary32, little-endian
//! ```
//! Value: itself. Definition: ggml type 0 (`F32`), GGUF specification, "ggml_type".
//! Name: `f32`. Limits: none; importance is of no use.

use gmat_core::quant::{Need, RowKernel, RowWise};
use gmat_core::register_quant;

/// The kernel of `f32`.
pub(crate) struct F32;

impl RowKernel for F32 {
    const NAME: &'static str = "f32";
    const GGML_TYPE: u32 = 0;
    const ELEMS: usize = 1;
    const BYTES: usize = 4;
    const NEED: Need = Need::Ignored;

    fn quantize_row(x: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
        for (bytes, value) in out.as_chunks_mut().0.iter_mut().zip(x) {
            *bytes = value.to_le_bytes();
        }
    }

    fn dequantize_blocks(bytes: &[u8], out: &mut [f32]) {
        for (value, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_le_bytes(bytes);
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        // Input is finite and stays what it is.
        debug_assert_eq!(block.len(), Self::BYTES);
        true
    }
}

register_quant!(RowWise::<F32>::new());
