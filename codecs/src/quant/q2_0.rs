//! `q2_0`: 64 weights share a scale; each is a two-bit code.
//!
//! ```text
//! byte    0 1   2 ............ 17
//!        [ d ] [ q0 q1 ...  q15 ]   d: binary16; q[j]: codes of weights 4j to 4j + 3, lowest first
//! ```
//! Value: `d * (code - 1)`. Definition: ggml block layout `block_q2_0` (type 42).
//! Name: `q2_0`. Limits: rows are a multiple of 64; importance is of no use.
//!
//! `d` is the largest magnitude, so the code 3 does not occur; codes are rounded with `d` before its
//! own rounding to half precision.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::narrow::{f16_bits, f16_is_finite, read_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::trits;

/// Weights in a block.
const LEN: usize = 64;
const BYTES: usize = 18;

/// The kernel of `q2_0`.
pub(crate) struct Q2_0;

impl RowCode for Q2_0 {
    const NAME: &'static str = "q2_0";
    const GGML_TYPE: u32 = 42;
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
            let [d0, d1, packed @ ..] = out;
            let (d, inverse) = trits::scale(x);
            [*d0, *d1] = f16_bits(d).to_le_bytes();
            // Where `1 / d` overflows, C leaves the codes undefined; ggml compiled by gcc for
            // x86-64 makes them zero, and `d` is zero anyway.
            let codes = if inverse.is_finite() { trits::codes(x, inverse) } else { [0; LEN] };
            pack(&codes, packed);
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for ([d0, d1, packed @ ..], out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            trits::values(&unpack(packed), read_f16([*d0, *d1]), out);
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

/// Four codes to a byte.
#[inline(always)]
fn pack(codes: &[u8; LEN], out: &mut [u8; LEN / 4]) {
    for (out, codes) in out.iter_mut().zip(codes.as_chunks::<4>().0) {
        let codes = u32::from_le_bytes(*codes);
        [*out, ..] = (codes | codes >> 6 | codes >> 12 | codes >> 18).to_le_bytes();
    }
}

/// The inverse of [`pack`].
#[inline(always)]
fn unpack(packed: &[u8; LEN / 4]) -> [u8; LEN] {
    let mut codes = [0; LEN];
    for (codes, packed) in codes.as_chunks_mut::<4>().0.iter_mut().zip(packed) {
        let four = u32::from(*packed);
        *codes = ((four | four << 6 | four << 12 | four << 18) & 0x0303_0303).to_le_bytes();
    }
    codes
}

register_quant!(dispatched::<Q2_0>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_back() {
        let codes: [u8; LEN] = std::array::from_fn(|i| u8::try_from(i * i / 3 % 4).unwrap());
        let mut packed = [0; LEN / 4];
        pack(&codes, &mut packed);
        assert_eq!(unpack(&packed), codes);
        let mut one = [0; LEN];
        one[4 * 5 + 2] = 3;
        pack(&one, &mut packed);
        assert_eq!(packed[5], 3 << 4);
    }
}
