//! `iq4_xs`: super-blocks of 256 weights; groups of 32 share a signed six-bit scale, and each weight
//! has a four-bit code for one of 16 unevenly spaced values.
//!
//! ```text
//! byte    0 1   2 3   4 ... 7       8 ...... 135
//!        [ d ] [ h ] [ s0 ... s3 ] [ q0 ... q127 ]   d: binary16, h: u16
//!        s[k]: bits 0-3 of the scales of groups 2 k (low), 2 k + 1 (high)
//!        h: bits 2 j and 2 j + 1 are bits 4-5 of the scale of group j
//!        q[16 j + l]: codes of weights 32 j + l (low), 32 j + 16 + l (high)
//! ```
//! Value: `d * (scale[i / 32] - 32) * VALUES[code[i]]`, the table being
//! [`crate::search::table::VALUES`]. Definition: ggml block layout `block_iq4_xs` (type 23).
//! Name: `iq4_xs`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Scales come from [`crate::search::table`], where the error of a weight `x` counts `x^2`, or with
//! importance `importance * sqrt(2 s + x^2)`, `s` the mean square of the super-block. That of largest
//! magnitude becomes -32, and codes are chosen for `d` before its rounding to half precision.
//!
//! Trellis mode ([`crate::trellis::signed`]) minimizes the error with the weights that there are with
//! importance; without, importance is 1 for it: exact minimization with weights of `x^2` brings
//! models farther from what they computed, not closer.

use gmat_core::quant::{Goal, Need};
use gmat_core::register_quant;

use crate::block32;
use crate::lockstep::{self, squares, weigh};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::round::nearest_in;
use crate::search::signed::extreme;
use crate::search::table::{self, VALUES};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large, sums_of_squares};
use crate::trellis::signed::groups::{self, ENDS, Layout};
use crate::trellis::signed::{Table, Trials};

const BYTES: usize = 136;
/// Weights in a group.
const GROUP: usize = block32::LEN;
/// Groups in a super-block.
const GROUPS: usize = LEN / GROUP;

/// The kernel of `iq4_xs`.
pub(crate) struct Iq4Xs;

impl RowCode for Iq4Xs {
    const NAME: &'static str = "iq4_xs";
    const GGML_TYPE: u32 = 23;
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
            let scales = fit_groups::<N32>(x, importance);
            let blocks = x.as_chunks::<LEN>().0.iter().zip(&scales).zip(out);
            for ((x, scales), out) in blocks {
                write(x, scales, out);
            }
        }
    }

    #[inline(always)]
    fn improve<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        goal: Goal,
        out: &mut [u8],
    ) {
        groups::improve::<Self, N32, GROUP, GROUPS, BYTES>(x, importance, goal, out);
    }

    #[inline(always)]
    fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        groups::weights::<Self, GROUPS, BYTES>(x, importance, out);
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(bytes_at(block, 0));
            let levels = levels_of(block);
            let packed = block[8..].as_chunks::<{ GROUP / 2 }>().0;
            for (j, (packed, out)) in packed.iter().zip(out.as_chunks_mut::<GROUP>().0).enumerate()
            {
                let scale = d * (f32::from(levels[j]) - 32.0);
                for (value, code) in out.iter_mut().zip(block32::unpack_nibbles(packed)) {
                    *value = scale * f32::from(VALUES[usize::from(code & 15)]);
                }
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

impl Layout<GROUPS, BYTES> for Iq4Xs {
    type Codes = Table;
    const LIMIT: f32 = 32.0;
    const SPREAD: bool = true;
    const TRIALS: Trials = Table::TRIALS;
    const ENDS: &'static [f32] = ENDS;
    const ROUNDS: usize = 2;

    #[inline(always)]
    fn read(block: &[u8; BYTES]) -> (f32, [f32; GROUPS]) {
        let mut levels = [0.0; GROUPS];
        for (level, bits) in levels.iter_mut().zip(levels_of(block)) {
            *level = f32::from(bits) - 32.0;
        }
        (read_f16(bytes_at(block, 0)), levels)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "levels are bytes")]
    fn write(x: &[f32; LEN], d: f32, levels: &[f32; GROUPS], block: &mut [u8; BYTES]) {
        store(x, d, &levels.map(|level| level as i32), block);
    }
}

/// Scales of all groups of a tile.
#[inline(always)]
fn fit_groups<const N: usize>(x: &[f32], importance: Option<&[f32]>) -> [[f32; GROUPS]; TILE] {
    let mut scales = [[0.0; GROUPS]; TILE];
    let spread = match importance {
        Some(_) => sums_of_squares(x).map(|sum| sum * (2.0 / 256.0)),
        None => [0.0; TILE],
    };
    for (round, values) in x.chunks(N * GROUP).enumerate() {
        let first = round * N;
        let steps = lockstep::transpose::<N, GROUP>(values);
        let weights = match importance {
            None => squares(&steps),
            Some(all) => {
                let importance = all.chunks(N * GROUP).nth(round).unwrap_or_default();
                let of_lane = std::array::from_fn(|lane| spread[(first + lane) / GROUPS % TILE]);
                weigh(&steps, &lockstep::transpose(importance), &of_lane)
            }
        };
        let fit = table::fit(&steps, &weights);
        lockstep::store(&fit, scales.as_flattened_mut().get_mut(first..).unwrap_or_default());
    }
    scales
}

/// Levels of the groups, counted from -32.
#[inline(always)]
fn levels_of(block: &[u8; BYTES]) -> [u8; GROUPS] {
    let high = u16::from_le_bytes(bytes_at(block, 2));
    let low = u32::from_le_bytes(bytes_at(block, 4));
    let mut levels = [0; GROUPS];
    for (j, level) in levels.iter_mut().enumerate() {
        let [bits, ..] = (low >> (4 * j)).to_le_bytes();
        let [top, ..] = (high >> (2 * j)).to_le_bytes();
        *level = (bits & 15) | (top & 3) << 4;
    }
    levels
}

/// Levels of the scales, codes for them, and the layout.
#[inline(always)]
fn write(x: &[f32; LEN], scales: &[f32; GROUPS], out: &mut [u8; BYTES]) {
    let d = -extreme(scales) / 32.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut levels = [0; GROUPS];
    for (level, scale) in levels.iter_mut().zip(scales) {
        *level = nearest_in(inverse * scale, -32, 31);
    }
    store(x, d, &levels, out);
}

/// Codes for `d`, and the layout.
#[inline(always)]
fn store(x: &[f32; LEN], d: f32, levels: &[i32; GROUPS], out: &mut [u8; BYTES]) {
    let (mut high, mut low) = (0u16, 0u32);
    let packed = out[8..].as_chunks_mut::<{ GROUP / 2 }>().0;
    for (j, (x, packed)) in x.as_chunks::<GROUP>().0.iter().zip(packed).enumerate() {
        let level = levels[j];
        let [byte, ..] = (level + 32).to_le_bytes();
        low |= u32::from(byte & 15) << (4 * j);
        high |= u16::from(byte >> 4) << (2 * j);
        #[expect(clippy::cast_precision_loss, reason = "a level has six bits")]
        let scale = d * level as f32;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let mut codes = [0; GROUP];
        for (code, v) in codes.iter_mut().zip(x) {
            *code = table::code(inverse * v);
        }
        block32::pack_nibbles(&codes, packed);
    }
    out[..2].copy_from_slice(&store_f16(refuse_large(x, d)).0);
    out[2..4].copy_from_slice(&high.to_le_bytes());
    out[4..8].copy_from_slice(&low.to_le_bytes());
}

register_quant!(dispatched::<Iq4Xs>());
