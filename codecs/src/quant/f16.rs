//! `f16`: half precision, rounded to nearest.
//!
//! ```text
//! byte    0 1
//!        [ h ]   IEEE 754 binary16, little-endian
//! ```
//! Value: `h`. Ties round to even and subnormals are kept (see [`crate::narrow::f16_bits`]).
//! Definition: ggml type 1 (`F16`), GGUF specification, "ggml_type".
//! Name: `f16`. Limits: magnitudes that round above 65504 are refused; importance is of no use.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::narrow::{f16_bits, f16_value};
use crate::simd::dispatch::{RowCode, dispatched};

/// The kernel of `f16`.
pub(crate) struct F16;

impl RowCode for F16 {
    const NAME: &'static str = "f16";
    const GGML_TYPE: u32 = 1;
    const ELEMS: usize = 1;
    const BYTES: usize = 2;
    const NEED: Need = Need::Ignored;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        for (bytes, value) in out.as_chunks_mut().0.iter_mut().zip(x) {
            *bytes = f16_bits(*value).to_le_bytes();
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        for (value, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *value = f16_value(u16::from_le_bytes(bytes));
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[_, high] if high & 0x7c != 0x7c)
    }
}

register_quant!(dispatched::<F16>());
