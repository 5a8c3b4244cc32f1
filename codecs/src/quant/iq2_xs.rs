//! `iq2_xs`: super-blocks of 256 weights; groups of 16 share a four-bit scale, and eight weights are
//! one of 512 points of a grid and eight signs.
//!
//! ```text
//! byte    0 1   2 ....... 65    66 ...... 73
//!        [ d ] [ p0 ... p31 ]  [ s0 ... s7 ]   d: binary16
//!        p[k]: u16, bits 0-8 the point of weights 8 k to 8 k + 7, bits 9-15 the signs of the first
//!              seven of them; the number of minus signs is even
//!        s[k]: scales of groups 2 k (low), 2 k + 1 (high)
//! ```
//! Value: `d * (scale + 1/2) / 4 * m`, with the sign, where `m` is 8, 25 or 43 as the digit of the
//! [point](crate::grid::points) is 0, 1 or 2.
//! Definition: ggml block layout `block_iq2_xs` (type 17).
//! Name: `iq2_xs`. Limits: rows are a multiple of 256; importance is required.
//!
//! Scales and points come from [`crate::grid::fit`] with weights `importance * sqrt(s + x^2)`, `s`
//! the mean square of the super-block. The largest scale becomes 31 halves.

use std::sync::OnceLock;

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::grid::fit::Refit;
use crate::grid::near::Near;
use crate::grid::points::{IQ2_XS, Points, stand_for};
use crate::grid::scheme::{Scheme, levels_of, search, trials};
use crate::grid::signs::{eighth, signed};
use crate::lockstep::{Steps, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::search::signed::NEGLIGIBLE;
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large};

const BYTES: usize = 74;
/// Weights in a group.
const GROUP: usize = 16;

/// What points stand for.
static VALUES: Points<8, 512> = stand_for(&IQ2_XS, &[8, 25, 43]);

/// The kernel of `iq2_xs`.
pub(crate) struct Iq2Xs;

impl Scheme<8, 3> for Iq2Xs {
    const TRIALS: &'static [f32] = &trials::<19>(5.0, 0.1);
    const NEGLIGIBLE: f32 = NEGLIGIBLE;
    const SPREAD: f32 = 1.0;
    const EVEN: bool = true;
    const REFIT: Refit = Refit::Off;

    fn near() -> &'static Near<8, 3> {
        static NEAR: OnceLock<Near<8, 3>> = OnceLock::new();
        NEAR.get_or_init(|| Near::new(&IQ2_XS, 2))
    }

    #[inline(always)]
    fn weigh<const N: usize, const K: usize>(x: &Steps<N, K>, _: &[f32; N]) -> Steps<N, K> {
        squares(x)
    }
}

impl RowCode for Iq2Xs {
    const NAME: &'static str = "iq2_xs";
    const GGML_TYPE: u32 = 17;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Required;

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
                let Some((d, levels)) = levels_of::<16>(&found.scales[index], 31.0, 15) else {
                    out.fill(0);
                    out[..2].copy_from_slice(&store_f16(refuse_large(x, 0.0)).0);
                    continue;
                };
                out[..2].copy_from_slice(&store_f16(refuse_large(x, d)).0);
                let points = found.indexes[index].iter().zip(&found.signs[index]);
                for (out, (point, signs)) in out[2..66].as_chunks_mut().0.iter_mut().zip(points) {
                    *out = (point | u16::from(*signs) << 9).to_le_bytes();
                }
                for (out, [low, high]) in out[66..].iter_mut().zip(levels.as_chunks().0) {
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
            let points = block[2..66].as_chunks::<2>().0.iter();
            for (k, (point, out)) in points.zip(out.as_chunks_mut::<8>().0).enumerate() {
                let point = u16::from_le_bytes(*point);
                let level = (block[66 + k / 4] >> (k / 2 % 2 * 4)) & 15;
                let scale = d * (0.5 + f32::from(level)) * 0.25;
                let [signs, ..] = (point >> 9).to_le_bytes();
                signed(&VALUES[usize::from(point & 511)], eighth(signs), scale, out);
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

register_quant!(dispatched::<Iq2Xs>());
