//! `iq1_s`: super-blocks of 256 weights; groups of 32 share a three-bit scale and a shift, and eight
//! weights are one of 2048 points of a grid.
//!
//! ```text
//! byte    0 1   2 ..... 33    34 ....... 49
//!        [ d ] [ p0 - p31 ]  [ h0 ..... h7 ]   d: binary16
//!        p[k]: bits 0-7 of the point of weights 8 k to 8 k + 7
//!        h[j]: u16 of group j: bits 3 k to 3 k + 2 are bits 8-10 of point 4 j + k, bits 12-14 the
//!              scale, bit 15 the shift, set = down
//! ```
//! Value: `d * (2 * scale + 1) * (digit - 1 ± 1/8)` for the digits of the
//! [point](crate::grid::points).
//! Definition: ggml block layout `block_iq1_s` (type 19).
//! Name: `iq1_s`. Limits: rows are a multiple of 256; importance is required.
//!
//! Scales, shifts and digits come from [`crate::grid::split`] with weights
//! `importance * sqrt(s + x^2)`, `s` twice the mean square of the super-block; then digits become
//! points of the grid. The largest scale becomes 15, and `d` is stored 12.5 % larger.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::grid::points::IQ1;
use crate::grid::scheme::levels_of;
use crate::grid::shifted::{Group, settle};
use crate::grid::split::{SHIFT, sort, whole};
use crate::lockstep::{self, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large, sums_of_squares};

const BYTES: usize = 50;
/// Weights in a group.
const GROUP: usize = 32;
/// Groups in a super-block.
const GROUPS: usize = LEN / GROUP;
/// Groups whose largest magnitude is below this are taken for zeros.
const NEGLIGIBLE: f32 = 1e-12;

/// The kernel of `iq1_s`.
pub(crate) struct Iq1S;

impl RowCode for Iq1S {
    const NAME: &'static str = "iq1_s";
    const GGML_TYPE: u32 = 19;
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
            let groups = fit_groups::<N32>(x, importance.as_mut().and_then(Iterator::next));
            for ((x, groups), out) in x.as_chunks::<LEN>().0.iter().zip(&groups).zip(out) {
                write(x, groups, out);
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(bytes_at(block, 0));
            let groups = block[2..34].as_chunks::<4>().0.iter().zip(block[34..].as_chunks().0);
            for ((low, rest), out) in groups.zip(out.as_chunks_mut::<GROUP>().0) {
                let rest = u16::from_le_bytes(*rest);
                let scale = d * (2.0 * f32::from(rest >> 12 & 7) + 1.0);
                let shift = if rest >> 15 == 1 { -SHIFT } else { SHIFT };
                for (k, (low, out)) in low.iter().zip(out.as_chunks_mut::<8>().0).enumerate() {
                    let point = usize::from(*low) | usize::from(rest >> (3 * k) & 7) << 8;
                    for (value, digit) in out.iter_mut().zip(IQ1[point]) {
                        *value = scale * (f32::from(digit) - 1.0 + shift);
                    }
                }
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

/// Scales and points of all groups of a tile.
#[inline(always)]
fn fit_groups<const N: usize>(x: &[f32], importance: Option<&[f32]>) -> [[Group; GROUPS]; TILE] {
    let mut groups = [[Group::default(); GROUPS]; TILE];
    let spread = sums_of_squares(x).map(|sum| 2.0 * sum / 256.0);
    for (round, values) in x.chunks(N * GROUP).enumerate() {
        let first = round * N;
        let steps = lockstep::transpose::<N, GROUP>(values);
        let weights = match importance {
            None => squares(&steps),
            Some(all) => {
                let importance = all.chunks(N * GROUP).nth(round).unwrap_or_default();
                let of_lane = std::array::from_fn(|lane| spread[(first + lane) / GROUPS % TILE]);
                lockstep::weigh(&steps, &lockstep::transpose(importance), &of_lane)
            }
        };
        let sorted = sort(&steps, &weights);
        let split = whole(&sorted);
        let found = groups.as_flattened_mut().iter_mut().skip(first).take(values.len() / GROUP);
        for (lane, group) in found.enumerate() {
            let largest = sorted.x[GROUP - 1][lane].abs().max(sorted.x[0][lane].abs());
            if largest >= NEGLIGIBLE {
                *group = settle(&steps, &weights, &sorted, &split, lane, |shift, _| shift == 1);
            }
        }
    }
    groups
}

/// Levels of the scales, and the layout.
#[inline(always)]
fn write(x: &[f32; LEN], groups: &[Group; GROUPS], out: &mut [u8; BYTES]) {
    let mut scales = [0.0; 16];
    for (scale, group) in scales.iter_mut().zip(groups) {
        *scale = group.scale;
    }
    let levels = levels_of::<GROUPS>(&scales, 15.0, 7);
    let (d, levels) = levels.map_or((0.0, None), |(d, levels)| (d, Some(levels)));
    out[..2].copy_from_slice(&store_f16(refuse_large(x, d * 1.125)).0);
    for (j, group) in groups.iter().enumerate() {
        let mut rest = levels.map_or(0, |levels| u16::from(levels[j]) << 12);
        rest |= u16::from(group.down[0] && levels.is_some()) << 15;
        for (k, point) in group.points.iter().enumerate() {
            let [low, high] = point.to_le_bytes();
            out[2 + 4 * j + k] = low;
            rest |= u16::from(high) << (3 * k);
        }
        out[34 + 2 * j..][..2].copy_from_slice(&rest.to_le_bytes());
    }
}

register_quant!(dispatched::<Iq1S>());
