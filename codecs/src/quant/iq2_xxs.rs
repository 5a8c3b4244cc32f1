//! `iq2_xxs`: super-blocks of 256 weights; groups of 32 share a four-bit scale, and eight weights are
//! one of 256 points of a grid and eight signs.
//!
//! ```text
//! byte    0 1   2 ............ 65
//!        [ d ] [ g0 ...... g7 ]   d: binary16
//!        g[j]: eight bytes of group j. Bytes 0-3: the points of weights 32 j to 32 j + 7, and so on.
//!              Bytes 4-7, a u32: bits 7 k to 7 k + 6 the signs of the first seven weights of each
//!              eight (the number of minus signs is even), bits 28-31 the scale
//! ```
//! Value: `d * (scale + 1/2) / 4 * m`, with the sign, where `m` is 8, 25 or 43 as the digit of the
//! [point](crate::grid::points) is 0, 1 or 2.
//! Definition: ggml block layout `block_iq2_xxs` (type 16).
//! Name: `iq2_xxs`. Limits: rows are a multiple of 256; importance is required.
//!
//! Scales and points come from [`crate::grid::fit`] with weights `importance * sqrt(s + x^2)`, `s`
//! the mean square of the super-block. The largest scale becomes 31 halves.

use std::sync::OnceLock;

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::grid::fit::Refit;
use crate::grid::near::Near;
use crate::grid::points::{IQ2_XXS, Points, stand_for};
use crate::grid::scheme::{Scheme, levels_of, search, trials};
use crate::grid::signs::{pack_sevens, sevens, signed};
use crate::lockstep::{Steps, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::search::signed::NEGLIGIBLE;
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large};

const BYTES: usize = 66;
/// Weights in a group.
const GROUP: usize = 32;

/// What points stand for.
static VALUES: Points<8, 256> = stand_for(&IQ2_XXS, &[8, 25, 43]);

/// The kernel of `iq2_xxs`.
pub(crate) struct Iq2Xxs;

impl Scheme<8, 3> for Iq2Xxs {
    const TRIALS: &'static [f32] = &trials::<13>(5.0, 0.1);
    const NEGLIGIBLE: f32 = NEGLIGIBLE;
    const SPREAD: f32 = 1.0;
    const EVEN: bool = true;
    const PREPARED: bool = true;
    const REFIT: Refit = Refit::All;

    fn near() -> &'static Near<8, 3> {
        static NEAR: OnceLock<Near<8, 3>> = OnceLock::new();
        NEAR.get_or_init(|| Near::new(&IQ2_XXS, 2))
    }

    #[inline(always)]
    fn weigh<const N: usize, const K: usize>(x: &Steps<N, K>, _: &[f32; N]) -> Steps<N, K> {
        squares(x)
    }
}

impl RowCode for Iq2Xxs {
    const NAME: &'static str = "iq2_xxs";
    const GGML_TYPE: u32 = 16;
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
            let found = search::<Self, N32, 16, GROUP, 8, 3, 4>(x, importance);
            for (index, (x, out)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
                let Some((d, levels)) = levels_of::<8>(&found.scales[index], 31.0, 15) else {
                    out.fill(0);
                    out[..2].copy_from_slice(&store_f16(refuse_large(x, 0.0)).0);
                    continue;
                };
                out[..2].copy_from_slice(&store_f16(refuse_large(x, d)).0);
                let points = found.indexes[index].as_chunks::<4>().0.iter();
                let signs = found.signs[index].as_chunks::<4>().0.iter();
                let groups = out[2..].as_chunks_mut::<8>().0.iter_mut();
                for (((out, points), signs), level) in groups.zip(points).zip(signs).zip(levels) {
                    let (indexes, rest) = out.split_at_mut(4);
                    for (out, point) in indexes.iter_mut().zip(points) {
                        *out = point.to_le_bytes()[0];
                    }
                    rest.copy_from_slice(&pack_sevens(signs, level).to_le_bytes());
                }
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(bytes_at(block, 0));
            let groups = block[2..].as_chunks::<8>().0.iter();
            for (group, out) in groups.zip(out.as_chunks_mut::<GROUP>().0) {
                let rest = u32::from_le_bytes(bytes_at(group, 4));
                let [.., level] = (rest >> 4).to_le_bytes();
                let scale = d * (0.5 + f32::from(level)) * 0.25;
                for (k, (point, out)) in group.iter().zip(out.as_chunks_mut::<8>().0).enumerate() {
                    signed(&VALUES[usize::from(*point)], sevens(rest, k), scale, out);
                }
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

register_quant!(dispatched::<Iq2Xxs>());
