//! `iq3_xxs`: super-blocks of 256 weights; groups of 32 share a four-bit scale, and four weights are
//! one of 256 points of a grid and four signs.
//!
//! ```text
//! byte    0 1   2 ..... 65    66 .... 97
//!        [ d ] [ p0 - p63 ]  [ r0 - r7 ]   d: binary16
//!        p[k]: the point of weights 4 k to 4 k + 3
//!        r[j]: u32 of group j: bits 7 k to 7 k + 6 the signs of the first seven weights of each
//!              eight (the number of minus signs is even), bits 28-31 the scale
//! ```
//! Value: `d * (scale + 1/2) / 2 * m`, with the sign, where `m` is 4, 12, 20, 28, 36, 44, 52 or 62 as
//! the digit of the [point](crate::grid::points) is 0 to 7.
//! Definition: ggml block layout `block_iq3_xxs` (type 18).
//! Name: `iq3_xxs`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Scales and points come from [`crate::grid::fit`]. The error of a weight `x` counts `x^2`, or with
//! importance `importance * sqrt(s + x^2)`, `s` twice the mean square of the super-block. The
//! largest scale becomes 31 halves, and `d` is stored 1.25 % larger.

use std::sync::OnceLock;

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::grid::fit::Refit;
use crate::grid::near::Near;
use crate::grid::points::{IQ3_XXS, Points, stand_for};
use crate::grid::scheme::{Scheme, levels_of, search, trials};
use crate::grid::signs::{pack_sevens, sevens, signed};
use crate::lockstep::{Steps, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large};

const BYTES: usize = 98;
/// Weights in a group.
const GROUP: usize = 32;

/// What points stand for.
static VALUES: Points<4, 256> = stand_for(&IQ3_XXS, &[4, 12, 20, 28, 36, 44, 52, 62]);

/// The kernel of `iq3_xxs`.
pub(crate) struct Iq3Xxs;

impl Scheme<4, 8> for Iq3Xxs {
    const TRIALS: &'static [f32] = &trials::<31>(15.0, 0.2);
    const NEGLIGIBLE: f32 = 1e-8;
    const SPREAD: f32 = 2.0;
    const EVEN: bool = true;
    const REFIT: Refit = Refit::Off;

    fn near() -> &'static Near<4, 8> {
        static NEAR: OnceLock<Near<4, 8>> = OnceLock::new();
        NEAR.get_or_init(|| Near::new(&IQ3_XXS, 2))
    }

    #[inline(always)]
    fn weigh<const N: usize, const K: usize>(x: &Steps<N, K>, _: &[f32; N]) -> Steps<N, K> {
        squares(x)
    }
}

impl RowCode for Iq3Xxs {
    const NAME: &'static str = "iq3_xxs";
    const GGML_TYPE: u32 = 18;
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
                let Some((d, levels)) = levels_of::<8>(&found.scales[index], 31.0, 15) else {
                    out.fill(0);
                    out[..2].copy_from_slice(&store_f16(refuse_large(x, 0.0)).0);
                    continue;
                };
                out[..2].copy_from_slice(&store_f16(refuse_large(x, d * 1.0125)).0);
                for (out, point) in out[2..66].iter_mut().zip(&found.indexes[index]) {
                    *out = point.to_le_bytes()[0];
                }
                let signs = found.signs[index].as_chunks::<4>().0.iter();
                let groups = out[66..].as_chunks_mut::<4>().0.iter_mut();
                for ((out, signs), level) in groups.zip(signs).zip(levels) {
                    *out = pack_sevens(signs, level).to_le_bytes();
                }
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(bytes_at(block, 0));
            let groups = block[66..].as_chunks::<4>().0.iter();
            let groups = groups.zip(block[2..66].as_chunks::<8>().0);
            for ((rest, points), out) in groups.zip(out.as_chunks_mut::<GROUP>().0) {
                let rest = u32::from_le_bytes(*rest);
                let [.., level] = (rest >> 4).to_le_bytes();
                let scale = d * (0.5 + f32::from(level)) * 0.5;
                for (k, (point, out)) in points.iter().zip(out.as_chunks_mut::<4>().0).enumerate() {
                    let signs = sevens(rest, k / 2) >> (k % 2 * 4);
                    signed(&VALUES[usize::from(*point)], signs, scale, out);
                }
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

register_quant!(dispatched::<Iq3Xxs>());
