//! `tq2_0`: 256 weights share a scale; each is minus one, zero or one times it, in two bits.
//!
//! ```text
//! byte    0 ........... 63   64 65
//!        [ q0 q1 ...  q63 ]  [ d ]   d: binary16
//! ```
//! Codes lie in the bytes as [`crate::superblock::pack_twos`] says. Value: `d * (code - 1)`.
//! Definition: ggml block layout `block_tq2_0` (type 35).
//! Name: `tq2_0`. Limits: rows are a multiple of 256; importance is of no use.
//!
//! `d` is the largest magnitude; codes are rounded with `d` before its own rounding to half
//! precision.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::narrow::{f16_bits, f16_is_finite, read_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, pack_twos, unpack_twos};
use crate::trits;

const BYTES: usize = 66;
/// Bytes of codes.
const CODES: usize = LEN / 4;

/// The kernel of `tq2_0`.
pub(crate) struct Tq2_0;

impl RowCode for Tq2_0 {
    const NAME: &'static str = "tq2_0";
    const GGML_TYPE: u32 = 35;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Ignored;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        for (x, out) in x.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0) {
            let [packed @ .., d0, d1] = out;
            let (d, inverse) = trits::scale(x);
            [*d0, *d1] = f16_bits(d).to_le_bytes();
            // ggml makes an overflow of `1 / d` zeros, as the C library rounds what comes of it.
            let inverse = if inverse.is_finite() { inverse } else { 0.0 };
            pack_twos(&trits::codes(x, inverse), packed);
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for ([packed @ .., d0, d1], out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let packed: &[u8; CODES] = packed;
            trits::values(&unpack_twos(packed), read_f16([*d0, *d1]), out);
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[.., d0, d1] if f16_is_finite([d0, d1]))
    }
}

register_quant!(dispatched::<Tq2_0>());
