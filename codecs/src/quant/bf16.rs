//! `bf16`: the upper half of a single, rounded to nearest.
//!
//! ```text
//! byte    0 1
//!        [ h ]   1 sign, 8 exponent, 7 mantissa bits, little-endian
//! ```
//! Value: the `f32` whose upper 16 bits are `h`. Ties round to even and subnormals are kept (see
//! [`crate::narrow::bf16_bits`]). Definition: ggml type 30 (`BF16`), GGUF specification,
//! "ggml_type". Name: `bf16`.
//! Limits: magnitudes that round above 3.39e38 are refused; importance is of no use.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::narrow::{bf16_bits, bf16_value};
use crate::simd::dispatch::{RowCode, dispatched};

/// The kernel of `bf16`.
pub(crate) struct Bf16;

impl RowCode for Bf16 {
    const NAME: &'static str = "bf16";
    const GGML_TYPE: u32 = 30;
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
            *bytes = bf16_bits(*value).to_le_bytes();
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        for (value, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *value = bf16_value(u16::from_le_bytes(bytes));
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[low, high] if u16::from_le_bytes([low, high]) & 0x7f80 != 0x7f80)
    }
}

register_quant!(dispatched::<Bf16>());
