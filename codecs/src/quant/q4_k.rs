//! `q4_k`: super-blocks of 256 weights; groups of 32 share a six-bit scale and minimum, and each
//! weight has a four-bit code.
//!
//! ```text
//! byte    0 1   2 3      4 ... 15        16 ...... 143
//!        [ d ] [ dmin ] [ scales, mins ] [ q0 ... q127 ]   d, dmin: binary16
//!        scales, mins: see `superblock::pack_sixes`
//!        q[32 k + l]: code of weight 64 k + l (low), of weight 64 k + 32 + l (high)
//! ```
//! Value: `d * scale[i / 32] * code[i] - dmin * min[i / 32]`.
//! Definition: ggml block layout `block_q4_K` (type 12).
//! Name: `q4_k`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Without importance, the error of a weight `x` counts `|x| + sqrt(m)`, `m` the mean square of its
//! group; with it, `importance * sqrt(2 s + x^2)`, `s` the mean square of the super-block.

use gmat_core::quant::{Goal, Need};
use gmat_core::register_quant;

use crate::affine_k::{self, AffineK, Block};
use crate::lockstep::{Steps, above_deviation};
use crate::narrow::f16_is_finite;
use crate::search::affine::{Spec, divisions, fine_divisions};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, bytes_at, pack_nibbles, pack_sixes, unpack_nibbles, unpack_sixes};
use crate::trellis;

const BYTES: usize = 144;

/// The kernel of `q4_k`.
pub(crate) struct Q4K;

impl AffineK<32, 8, BYTES> for Q4K {
    const LEVELS: u8 = 63;
    const LIMITS: (u8, u8) = (63, u8::MAX);
    const PLAIN: Spec =
        Spec { top: 15, divisions: &divisions::<21>(15.0, -1.0, 0.1), absolute: false };
    const WEIGHTED: Spec = Spec { top: 15, divisions: &fine_divisions(15.0), absolute: false };
    const SPREAD: f32 = 2.0;

    #[inline(always)]
    fn plain_weights<const N: usize>(x: &Steps<N, 32>) -> Steps<N, 32> {
        above_deviation(x)
    }

    #[inline(always)]
    fn stored(scales: &[u8; 8], mins: &[u8; 8]) -> ([u8; 8], [u8; 8]) {
        unpack_sixes(&pack_sixes(scales, mins))
    }

    #[inline(always)]
    fn write(block: &Block<8>, out: &mut [u8; BYTES]) {
        out[..2].copy_from_slice(&block.d);
        out[2..4].copy_from_slice(&block.dmin);
        out[4..16].copy_from_slice(&pack_sixes(&block.scales, &block.mins));
        pack_nibbles(&block.codes, &mut out[16..]);
    }

    #[inline(always)]
    fn read(block: &[u8; BYTES]) -> Block<8> {
        let (scales, mins) = unpack_sixes(&bytes_at(block, 4));
        let codes = unpack_nibbles(&block[16..]);
        Block { d: bytes_at(block, 0), dmin: bytes_at(block, 2), scales, mins, codes }
    }
}

impl RowCode for Q4K {
    const NAME: &'static str = "q4_k";
    const GGML_TYPE: u32 = 12;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Optional;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        affine_k::quantize::<Self, N32, 32, 8, BYTES>(x, importance, out);
    }

    #[inline(always)]
    fn improve<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        goal: Goal,
        out: &mut [u8],
    ) {
        trellis::affine::improve::<Self, N32, 32, 8, BYTES>(x, importance, goal, out);
    }

    fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        trellis::affine::weigh::<Self, 32, 8, BYTES>(x, importance, out);
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        affine_k::dequantize::<Self, 32, 8, BYTES>(bytes, out);
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, m0, m1, ..] if f16_is_finite([d0, d1]) & f16_is_finite([m0, m1]))
    }
}

register_quant!(dispatched::<Q4K>());
