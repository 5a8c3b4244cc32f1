//! `iq2_s`: super-blocks of 256 weights; groups of 16 share a four-bit scale, and eight weights are
//! one of 1024 points of a grid and eight signs.
//!
//! ```text
//! byte    0 1   2 ..... 33    34 ..... 65    66 .... 73    74 .... 81
//!        [ d ] [ p0 - p31 ]  [ m0 - m31 ]  [ h0 - h7 ]   [ s0 - s7 ]   d: binary16
//!        p[k]: bits 0-7 of the point of weights 8 k to 8 k + 7
//!        m[k]: their signs, first weight lowest, set = minus
//!        h[j]: bits 8-9 of points 4 j to 4 j + 3, lowest bits first
//!        s[k]: scales of groups 2 k (low), 2 k + 1 (high)
//! ```
//! Value: `d * (scale + 1/2) / 4 * m`, with the sign, where `m` is 8, 25 or 43 as the digit of the
//! [point](crate::grid::points) is 0, 1 or 2.
//! Definition: ggml block layout `block_iq2_s` (type 22).
//! Name: `iq2_s`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Scales and points come from [`crate::grid::fit`]. With `s` twice the mean square of the
//! super-block, the error of a weight `x` counts `x^2 + s / 4`, or with importance
//! `importance * sqrt(s + x^2)`. The largest scale becomes 31 halves, and `d` is stored 1.25 %
//! smaller.

use std::sync::OnceLock;

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::grid::fit::Refit;
use crate::grid::near::Near;
use crate::grid::points::{IQ2_S, Points, stand_for};
use crate::grid::scheme::{Scheme, levels_of, search, trials};
use crate::grid::signs::signed;
use crate::lockstep::{Steps, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large};

const BYTES: usize = 82;
/// Weights in a group.
const GROUP: usize = 16;

/// What points stand for.
static VALUES: Points<8, 1024> = stand_for(&IQ2_S, &[8, 25, 43]);

/// The kernel of `iq2_s`.
pub(crate) struct Iq2S;

impl Scheme<8, 3> for Iq2S {
    const TRIALS: &'static [f32] = &trials::<19>(5.0, 0.1);
    const NEGLIGIBLE: f32 = 1e-8;
    const SPREAD: f32 = 2.0;
    const EVEN: bool = false;
    const REFIT: Refit = Refit::Off;

    fn near() -> &'static Near<8, 3> {
        static NEAR: OnceLock<Near<8, 3>> = OnceLock::new();
        NEAR.get_or_init(|| Near::new(&IQ2_S, 1))
    }

    #[inline(always)]
    fn weigh<const N: usize, const K: usize>(x: &Steps<N, K>, spread: &[f32; N]) -> Steps<N, K> {
        let mut weights = squares(x);
        for weights in &mut weights {
            for lane in 0..N {
                weights[lane] += 0.25 * spread[lane];
            }
        }
        weights
    }
}

impl RowCode for Iq2S {
    const NAME: &'static str = "iq2_s";
    const GGML_TYPE: u32 = 22;
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
            let found = search::<Self, N16, 32, GROUP, 8, 3, 4>(x, importance);
            for (index, (x, out)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
                // If all scales are zero, points and signs are stored all the same.
                let levels = levels_of::<16>(&found.scales[index], 31.0, 15);
                let (d, levels) = levels.unwrap_or_default();
                out[..2].copy_from_slice(&store_f16(refuse_large(x, d * 0.9875)).0);
                out[66..74].fill(0);
                for (k, point) in found.indexes[index].iter().take(32).enumerate() {
                    let [low, high] = point.to_le_bytes();
                    out[2 + k] = low;
                    out[66 + k / 4] |= high << (k % 4 * 2);
                }
                out[34..66].copy_from_slice(&found.signs[index]);
                for (out, [low, high]) in out[74..].iter_mut().zip(levels.as_chunks().0) {
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
            for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let high = (block[66 + k / 4] >> (k % 4 * 2)) & 3;
                let point = u16::from_le_bytes([block[2 + k], high]);
                let level = (block[74 + k / 4] >> (k / 2 % 2 * 4)) & 15;
                let scale = d * (0.5 + f32::from(level)) * 0.25;
                signed(&VALUES[usize::from(point)], block[34 + k], scale, out);
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

register_quant!(dispatched::<Iq2S>());
