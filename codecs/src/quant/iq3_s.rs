//! `iq3_s`: super-blocks of 256 weights; groups of 32 share a four-bit scale, and four weights are
//! one of 512 points of a grid and four signs.
//!
//! ```text
//! byte    0 1   2 ..... 65    66 .... 73    74 .... 105   106 ... 109
//!        [ d ] [ p0 - p63 ]  [ h0 - h7 ]   [ m0 - m31 ]  [ s0 - s3 ]   d: binary16
//!        p[k]: bits 0-7 of the point of weights 4 k to 4 k + 3
//!        h[j]: bits 8 of points 8 j to 8 j + 7, lowest bit first
//!        m[k]: signs of weights 8 k to 8 k + 7, first weight lowest, set = minus
//!        s[k]: scales of groups 2 k (low), 2 k + 1 (high)
//! ```
//! Value: `d * (2 * scale + 1) * (2 * digit + 1)`, with the sign, for the digits of the
//! [point](crate::grid::points).
//! Definition: ggml block layout `block_iq3_s` (type 21).
//! Name: `iq3_s`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Scales and points come from [`crate::grid::fit`]. The error of a weight `x` counts `x^2`, or with
//! importance `importance * sqrt(s + x^2)`, `s` twice the mean square of the super-block. The
//! largest scale becomes 31, and `d` is stored 3.3 % larger.
//!
//! The format's reference leaves no room for groups of zeros in `p` and `m` (though it does in `h`
//! and `s`): what follows moves up. This file does the same, or its bytes would be others.

use std::sync::OnceLock;

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::grid::fit::Refit;
use crate::grid::near::Near;
use crate::grid::points::{IQ3_S, Points, stand_for};
use crate::grid::scheme::{Scheme, levels_of, search, trials};
use crate::grid::signs::signed;
use crate::lockstep::{Steps, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large};

const BYTES: usize = 110;
/// Weights in a group.
const GROUP: usize = 32;

/// What points stand for.
static VALUES: Points<4, 512> = stand_for(&IQ3_S, &[1, 3, 5, 7, 9, 11, 13, 15]);

/// The kernel of `iq3_s`.
pub(crate) struct Iq3S;

impl Scheme<4, 8> for Iq3S {
    const TRIALS: &'static [f32] = &trials::<19>(15.0, 0.2);
    // Only zeros.
    const NEGLIGIBLE: f32 = f32::from_bits(1);
    const SPREAD: f32 = 2.0;
    const EVEN: bool = false;
    const REFIT: Refit = Refit::AllIfAnyOff;

    fn near() -> &'static Near<4, 8> {
        static NEAR: OnceLock<Near<4, 8>> = OnceLock::new();
        NEAR.get_or_init(|| Near::new(&IQ3_S, 3))
    }

    #[inline(always)]
    fn weigh<const N: usize, const K: usize>(x: &Steps<N, K>, _: &[f32; N]) -> Steps<N, K> {
        squares(x)
    }
}

impl RowCode for Iq3S {
    const NAME: &'static str = "iq3_s";
    const GGML_TYPE: u32 = 21;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Optional;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        let out = out.as_chunks_mut::<BYTES>().0;
        let mut importance = importance.map(|importance| importance.chunks(TILE * LEN));
        for (x, out) in x.chunks(TILE * LEN).zip(out.chunks_mut(TILE)) {
            let importance = importance.as_mut().and_then(Iterator::next);
            let found = search::<Self, N32, 32, GROUP, 4, 8, 8>(x, importance);
            for (index, (x, out)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
                // If all scales are zero, points and signs are stored all the same.
                let levels = levels_of::<8>(&found.scales[index], 31.0, 15);
                let (d, levels) = levels.unwrap_or_default();
                out[..2].copy_from_slice(&store_f16(refuse_large(x, d * 1.033)).0);
                out[2..106].fill(0);
                let (points, signs) = (&found.indexes[index], &found.signs[index]);
                let groups = points.as_chunks::<8>().0.iter().zip(signs.as_chunks::<4>().0);
                let mut place = 0;
                for (group, (points, signs)) in groups.enumerate() {
                    for (k, point) in points.iter().enumerate() {
                        let [low, high] = point.to_le_bytes();
                        out[66 + group] |= high << k;
                        out[2 + place * 8 + k] = low;
                    }
                    out[74 + place * 4..][..4].copy_from_slice(signs);
                    place += usize::from(x.as_chunks::<GROUP>().0[group].iter().any(|v| *v != 0.0));
                }
                for (out, [low, high]) in out[106..].iter_mut().zip(levels.as_chunks().0) {
                    *out = low | high << 4;
                }
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(bytes_at(block, 0));
            for (k, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let high = (block[66 + k / 8] >> (k % 8)) & 1;
                let point = u16::from_le_bytes([block[2 + k], high]);
                let level = (block[106 + k / 16] >> (k / 8 % 2 * 4)) & 15;
                let scale = d * (1.0 + 2.0 * f32::from(level));
                signed(&VALUES[usize::from(point)], block[74 + k / 2] >> (k % 2 * 4), scale, out);
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

register_quant!(dispatched::<Iq3S>());
