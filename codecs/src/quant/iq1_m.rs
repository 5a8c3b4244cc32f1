//! `iq1_m`: super-blocks of 256 weights; groups of 16 share a three-bit scale, and eight weights have
//! a shift and are one of 2048 points of a grid.
//!
//! ```text
//! byte    0 ...... 31   32 ..... 47   48 ..... 55
//!        [ p0 - p31 ]  [ h0 - h15 ]  [ s0 ... s3 ]
//!        p[k]: bits 0-7 of the point of weights 8 k to 8 k + 7
//!        h[j]: bits 0-2 are bits 8-10 of point 2 j, bits 4-6 those of point 2 j + 1; bits 3 and 7
//!              their shifts, set = down
//!        s[i]: u16: bits 3 k to 3 k + 2 the scale of group 4 i + k, bits 12-15 are bits 4 i to
//!              4 i + 3 of d, a binary16
//! ```
//! Value: `d * (2 * scale + 1) * (digit - 1 ± 1/8)` for the digits of the
//! [point](crate::grid::points).
//! Definition: ggml block layout `block_iq1_m` (type 29).
//! Name: `iq1_m`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Scales, shifts and digits come from [`crate::grid::split`]. The error of a weight `x` counts
//! `x^2`, or with importance `importance * sqrt(s + x^2)`, `s` twice the mean square of the
//! super-block. Then digits become points of the grid, the largest scale becomes 15, and `d` is the
//! least-squares one for all that, stored 11.25 % larger.
//! Bytes are those of ggml 0.25.3 and later: earlier versions summed in another order.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::grid::points::IQ1;
use crate::grid::scheme::levels_of;
use crate::grid::shifted::{Group, levels, settle};
use crate::grid::split::{SHIFT, halves, sort};
use crate::lockstep::{self, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large, sums_of_squares};

const BYTES: usize = 56;
/// Weights in a group, and groups in a super-block.
const GROUP: usize = 16;
/// Groups whose largest magnitude is below this are taken for zeros.
const NEGLIGIBLE: f32 = 1e-7;

/// The kernel of `iq1_m`.
pub(crate) struct Iq1M;

impl RowCode for Iq1M {
    const NAME: &'static str = "iq1_m";
    const GGML_TYPE: u32 = 29;
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
            let mut weights = [[0.0; LEN]; TILE];
            let groups = fit_groups::<N32>(x, importance, &mut weights);
            let blocks = x.as_chunks::<LEN>().0.iter().zip(&weights);
            for (((x, weights), groups), out) in blocks.zip(&groups).zip(out) {
                write(x, weights, groups, out);
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(packed_scale(&bytes_at(block, 48)));
            for (j, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                let scales = u16::from_le_bytes(bytes_at(block, 48 + j / 4 * 2));
                let scale = d * (2.0 * f32::from(scales >> (3 * (j % 4)) & 7) + 1.0);
                for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                    let high = block[32 + j] >> (4 * k);
                    let point = u16::from_le_bytes([block[2 * j + k], high & 7]);
                    let shift = if high & 8 == 0 { SHIFT } else { -SHIFT };
                    for (value, digit) in out.iter_mut().zip(IQ1[usize::from(point)]) {
                        *value = scale * (f32::from(digit) - 1.0 + shift);
                    }
                }
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        block.last_chunk().is_some_and(|scales| f16_is_finite(packed_scale(scales)))
    }
}

/// The binary16 that is spread over the scales.
#[inline(always)]
fn packed_scale(scales: &[u8; 8]) -> [u8; 2] {
    [scales[1] >> 4 | scales[3] & 0xf0, scales[5] >> 4 | scales[7] & 0xf0]
}

/// Scales and points of all groups of a tile, and the weights of the error.
#[inline(always)]
fn fit_groups<const N: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    all_weights: &mut [[f32; LEN]; TILE],
) -> [[Group; GROUP]; TILE] {
    let mut groups = [[Group::default(); GROUP]; TILE];
    let spread = match importance {
        None => [0.0; TILE],
        Some(_) => sums_of_squares(x).map(|sum| 2.0 * sum / 256.0),
    };
    for (round, values) in x.chunks(N * GROUP).enumerate() {
        let first = round * N;
        let steps = lockstep::transpose::<N, GROUP>(values);
        let weights = match importance {
            None => squares(&steps),
            Some(all) => {
                let importance = all.chunks(N * GROUP).nth(round).unwrap_or_default();
                let of_lane = std::array::from_fn(|lane| spread[(first + lane) / GROUP % TILE]);
                lockstep::weigh(&steps, &lockstep::transpose(importance), &of_lane)
            }
        };
        let sorted = sort(&steps, &weights);
        let split = halves(&sorted);
        let found = groups.as_flattened_mut().iter_mut().skip(first).take(values.len() / GROUP);
        let places = all_weights.as_flattened_mut().as_chunks_mut::<GROUP>().0.iter_mut();
        for (lane, (group, place)) in found.zip(places.skip(first)).enumerate() {
            *place = std::array::from_fn(|i| weights[i][lane]);
            let largest = sorted.x[GROUP - 1][lane].abs().max(sorted.x[0][lane].abs());
            if largest >= NEGLIGIBLE {
                let down = |shift: u32, k: usize| if k == 0 { shift > 1 } else { shift % 2 == 1 };
                *group = settle(&steps, &weights, &sorted, &split, lane, down);
            }
        }
    }
    groups
}

/// Levels of the scales, the common scale, and the layout.
#[inline(always)]
fn write(x: &[f32; LEN], w: &[f32; LEN], groups: &[Group; GROUP], out: &mut [u8; BYTES]) {
    out.fill(0);
    let scales = std::array::from_fn(|j| groups[j].scale);
    for (j, group) in groups.iter().enumerate() {
        for k in 0..2 {
            let [low, high] = group.points[k].to_le_bytes();
            out[2 * j + k] = low;
            out[32 + j] |= high << (4 * k);
        }
    }
    let (d, found) = match levels_of::<GROUP>(&scales, 15.0, 7) {
        None => (0.0, [0; GROUP]),
        Some((d, found)) => {
            for (out, group) in out[32..48].iter_mut().zip(groups) {
                *out |= u8::from(group.down[0]) << 3 | u8::from(group.down[1]) << 7;
            }
            (common_scale(x, w, groups, &found).unwrap_or(d), found)
        }
    };
    let d = u16::from_le_bytes(store_f16(refuse_large(x, d * 1.1125)).0);
    let quarters = out[48..].as_chunks_mut::<2>().0.iter_mut().zip(found.as_chunks::<4>().0);
    for (i, (out, found)) in quarters.enumerate() {
        let levels = found.iter().rev().fold(0, |packed, level| packed << 3 | u16::from(*level));
        *out = (levels | (d >> (4 * i) & 15) << 12).to_le_bytes();
    }
}

/// The least-squares scale for all that is chosen.
#[inline(always)]
fn common_scale(
    x: &[f32; LEN],
    w: &[f32; LEN],
    groups: &[Group; GROUP],
    found: &[u8; GROUP],
) -> Option<f32> {
    let (mut along, mut square) = (0.0, 0.0);
    for (j, group) in groups.iter().enumerate() {
        let factor = f32::from(2 * found[j] + 1);
        for i in 0..GROUP {
            let (x, w) = (x[GROUP * j + i], w[GROUP * j + i]);
            let digit = IQ1[usize::from(group.points[i / 8])][i % 8];
            let q = levels(group.down[i / 8])[usize::from(digit)] * factor;
            along += w * q * x;
            square += w * q * q;
        }
    }
    (square > 0.0).then(|| along / square)
}

register_quant!(dispatched::<Iq1M>());
