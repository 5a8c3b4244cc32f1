//! `q1_0`: 128 weights share a scale; each is its sign.
//!
//! ```text
//! byte    0 1   2 ............ 17
//!        [ d ] [ q0 q1 ...  q15 ]   d: binary16; q[j]: signs of weights 8j to 8j + 7, lowest first
//! ```
//! Value: `d` where the bit is set, else `-d`. Definition: ggml block layout `block_q1_0` (type 41).
//! Name: `q1_0`. Limits: rows are a multiple of 128; importance is of no use.
//!
//! `d` is the mean magnitude, summed in order. Bits are set for zeros too.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::narrow::{f16_bits, f16_is_finite, f16_value};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::words::each;

/// Weights in a block.
const LEN: usize = 128;
const BYTES: usize = 18;
/// Blocks that are summed side by side, since the sum of one is a chain of additions.
const BATCH: usize = 16;
/// Weights of a block that are turned into steps at a time: what the compiler makes shuffles of.
const PIECE: usize = 8;
/// The sign bit of an `f32`.
const SIGN: u32 = 1 << 31;

/// The kernel of `q1_0`.
pub(crate) struct Q1_0;

impl RowCode for Q1_0 {
    const NAME: &'static str = "q1_0";
    const GGML_TYPE: u32 = 41;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Ignored;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        let (blocks, out) = (x.as_chunks::<LEN>().0, out.as_chunks_mut::<BYTES>().0);
        for (x, out) in blocks.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let sums = match x.first_chunk() {
                Some(x) => sums(x),
                None => sums_of_few(x),
            };
            for ((x, out), sum) in x.iter().zip(out).zip(sums) {
                let [d0, d1, packed @ ..] = out;
                [*d0, *d1] = f16_bits(sum / 128.0).to_le_bytes();
                pack(x, packed);
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for ([d0, d1, packed @ ..], out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let minus = f16_value(u16::from_le_bytes([*d0, *d1])).to_bits() ^ SIGN;
            for (value, bit) in out.iter_mut().zip(unpack(packed)) {
                *value = f32::from_bits(minus ^ (if bit == 0 { 0 } else { SIGN }));
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

/// Sums of magnitudes, in order.
#[inline(always)]
fn sums(x: &[[f32; LEN]; BATCH]) -> [f32; BATCH] {
    let mut sums = [0.0; BATCH];
    for at in 0..LEN / PIECE {
        let mut steps = [[0.0; BATCH]; PIECE];
        for i in 0..PIECE {
            for lane in 0..BATCH {
                steps[i][lane] = x[lane][at * PIECE + i];
            }
        }
        for step in &steps {
            for (sum, v) in sums.iter_mut().zip(step) {
                *sum += v.abs();
            }
        }
    }
    sums
}

/// [`sums`] of less than a batch.
#[inline(always)]
fn sums_of_few(x: &[[f32; LEN]]) -> [f32; BATCH] {
    let mut sums = [0.0; BATCH];
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = x.iter().fold(0.0, |sum, v| sum + v.abs());
    }
    sums
}

/// Eight signs to a byte.
#[inline(always)]
fn pack(x: &[f32; LEN], out: &mut [u8; LEN / 8]) {
    let mut bits = [0; LEN];
    for (bit, v) in bits.iter_mut().zip(x) {
        *bit = u8::from(*v >= 0.0);
    }
    for (out, bits) in out.iter_mut().zip(bits.as_chunks().0) {
        // Factor 2^(56 - 7i) takes bit 8i to bit 56 + i; no other product gets there, or carries.
        let gathered = u64::from_le_bytes(*bits).wrapping_mul(0x0102_0408_1020_4080);
        [.., *out] = gathered.to_le_bytes();
    }
}

/// A byte for each sign, zero for minus.
#[inline(always)]
fn unpack(packed: &[u8; LEN / 8]) -> [u8; LEN] {
    let mut bits = [0; LEN];
    for (bits, packed) in bits.as_chunks_mut().0.iter_mut().zip(packed) {
        // Of eight copies, the bit that is meant.
        *bits = (each(*packed) & 0x8040_2010_0804_0201).to_le_bytes();
    }
    bits
}

register_quant!(dispatched::<Q1_0>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_batch() {
        let x: [[f32; LEN]; BATCH] = std::array::from_fn(|i| {
            std::array::from_fn(|j| f32::from(u8::try_from(i * 7 + j).unwrap()).sqrt() - 9.0)
        });
        assert_eq!(sums(&x), sums_of_few(&x));
    }

    #[test]
    fn zeros_of_both_signs_count_as_plus() {
        let mut x = [-1.0; LEN];
        (x[0], x[9], x[127]) = (0.0, -0.0, 2.0);
        let mut packed = [0; LEN / 8];
        pack(&x, &mut packed);
        assert_eq!((packed[0], packed[1], packed[15]), (1, 2, 128));
        assert_eq!(packed.iter().map(|byte| byte.count_ones()).sum::<u32>(), 3);
        let plus = unpack(&packed).map(|bit| bit != 0);
        assert_eq!(plus, x.map(|v| v >= 0.0));
    }
}
