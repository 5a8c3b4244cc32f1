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

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::block32;
use crate::lockstep::{self, squares, weigh};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::round::nearest_in;
use crate::search::signed::extreme;
use crate::search::table::{self, VALUES};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, refuse_large, sums_of_squares};

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
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(bytes_at(block, 0));
            let high = u16::from_le_bytes(bytes_at(block, 2));
            let low = u32::from_le_bytes(bytes_at(block, 4));
            let packed = block[8..].as_chunks::<{ GROUP / 2 }>().0;
            for (j, (packed, out)) in packed.iter().zip(out.as_chunks_mut::<GROUP>().0).enumerate()
            {
                let [level, ..] = (low >> (4 * j)).to_le_bytes();
                let [top, ..] = (high >> (2 * j)).to_le_bytes();
                let scale = d * (f32::from((level & 15) | (top & 3) << 4) - 32.0);
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

/// Levels of the scales, codes for them, and the layout.
#[inline(always)]
fn write(x: &[f32; LEN], scales: &[f32; GROUPS], out: &mut [u8; BYTES]) {
    let d = -extreme(scales) / 32.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (mut high, mut low) = (0u16, 0u32);
    let packed = out[8..].as_chunks_mut::<{ GROUP / 2 }>().0;
    for (j, (x, packed)) in x.as_chunks::<GROUP>().0.iter().zip(packed).enumerate() {
        let level = nearest_in(inverse * scales[j], -32, 31);
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
