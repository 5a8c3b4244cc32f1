//! `q2_k`: super-blocks of 256 weights; groups of 16 share a four-bit scale and minimum, and each
//! weight has a two-bit code.
//!
//! ```text
//! byte    0 ...... 15   16 ..... 79   80 81   82 83
//!        [ s0 ... s15 ] [ q0 ... q63 ] [ d ] [ dmin ]   d, dmin: binary16
//!        s[j]: scale (low) and minimum (high) of group j
//!        q[32 h + l]: codes of weights 128 h + l, + 32, + 64, + 96, lowest bits first
//! ```
//! Value: `d * scale[i / 16] * code[i] - dmin * min[i / 16]`.
//! Definition: ggml block layout `block_q2_K` (type 10).
//! Name: `q2_k`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Without importance, errors are magnitudes, and that of a weight `x` counts `|x|`; with it, they
//! are squares and count `importance * sqrt(s + x^2)`, `s` the mean square of the super-block.

use gmat_core::quant::{Goal, Need};
use gmat_core::register_quant;

use crate::affine_k::{self, AffineK, Block};
use crate::lockstep::{Steps, magnitudes};
use crate::narrow::f16_is_finite;
use crate::search::affine::{Spec, divisions, fine_divisions};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, bytes_at, pack_twos, unpack_twos};
use crate::trellis;

const BYTES: usize = 84;

/// The kernel of `q2_k`.
pub(crate) struct Q2K;

impl AffineK<16, 16, BYTES> for Q2K {
    const LEVELS: u8 = 15;
    const LIMITS: (u8, u8) = (u8::MAX, u8::MAX);
    const PLAIN: Spec =
        Spec { top: 3, divisions: &divisions::<16>(3.0, -0.5, 0.1), absolute: true };
    const WEIGHTED: Spec = Spec { top: 3, divisions: &fine_divisions(3.0), absolute: false };
    const SPREAD: f32 = 1.0;

    #[inline(always)]
    fn plain_weights<const N: usize>(x: &Steps<N, 16>) -> Steps<N, 16> {
        magnitudes(x)
    }

    #[inline(always)]
    fn stored(scales: &[u8; 16], mins: &[u8; 16]) -> ([u8; 16], [u8; 16]) {
        let packed: [u8; 16] = std::array::from_fn(|j| scales[j] | mins[j] << 4);
        (packed.map(|level| level & 15), packed.map(|level| level >> 4))
    }

    #[inline(always)]
    fn write(block: &Block<16>, out: &mut [u8; BYTES]) {
        for ((out, scale), min) in out.iter_mut().zip(&block.scales).zip(&block.mins) {
            *out = scale | min << 4;
        }
        pack_twos(&block.codes, &mut out[16..80]);
        out[80..82].copy_from_slice(&block.d);
        out[82..].copy_from_slice(&block.dmin);
    }

    #[inline(always)]
    fn read(block: &[u8; BYTES]) -> Block<16> {
        let levels = bytes_at::<16>(block, 0);
        Block {
            d: bytes_at(block, 80),
            dmin: bytes_at(block, 82),
            scales: levels.map(|level| level & 15),
            mins: levels.map(|level| level >> 4),
            codes: unpack_twos(&block[16..80]),
        }
    }
}

impl RowCode for Q2K {
    const NAME: &'static str = "q2_k";
    const GGML_TYPE: u32 = 10;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Optional;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        affine_k::quantize::<Self, N16, 16, 16, BYTES>(x, importance, out);
    }

    #[inline(always)]
    fn improve<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        goal: Goal,
        out: &mut [u8],
    ) {
        trellis::affine::improve::<Self, N16, 16, 16, BYTES>(x, importance, goal, out);
    }

    fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        trellis::affine::weigh::<Self, 16, 16, BYTES>(x, importance, out);
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        affine_k::dequantize::<Self, 16, 16, BYTES>(bytes, out);
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[.., d0, d1, m0, m1] if f16_is_finite([d0, d1]) & f16_is_finite([m0, m1]))
    }
}

register_quant!(dispatched::<Q2K>());
