//! `q6_k`: super-blocks of 256 weights; groups of 16 share a signed eight-bit scale, and each weight
//! has a six-bit code.
//!
//! ```text
//! byte    0 ...... 127   128 .... 191   192 ... 207    208 209
//!        [ q0 ... q127 ] [ h0 ... h63 ] [ s0 ... s15 ] [ d ]   s: i8, d: binary16
//!        q[64 h + l]: bits 0-3 of the codes of weights 128 h + l (low), 128 h + l + 64 (high)
//!        h[32 h + l]: bits 4-5 of those of 128 h + l, + 32, + 64, + 96, lowest bits first
//! ```
//! Value: `d * s[i / 16] * (code[i] - 32)`.
//! Definition: ggml block layout `block_q6_K` (type 14).
//! Name: `q6_k`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Scales of groups come from [`crate::search::signed`], where the error of a weight `x` counts
//! `x^2`, or its importance. The one of largest magnitude becomes -128, the others follow, and codes
//! are rounded anew for the scales as they are stored.
//!
//! Trellis mode ([`crate::trellis::signed`]) minimizes the error weighted with importance, or without
//! any the plain one: exact minimization with weights of `x^2` brings models farther from what they
//! computed, not closer.

use gmat_core::quant::{Goal, Need};
use gmat_core::register_quant;

use crate::lockstep::{self, squares};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::round::{nearest, nearest_byte};
use crate::search::signed::{self, NEGLIGIBLE};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{LEN, TILE, bytes_at, pack_twos, refuse_large, unpack_twos, values};
use crate::trellis::signed::groups::{self, Layout};
use crate::trellis::signed::{Signed, Trials};

const BYTES: usize = 210;
/// Weights in a group, and groups in a super-block.
const GROUP: usize = 16;
/// Codes are counted from `-LIMIT`.
const LIMIT: i8 = 32;

/// The kernel of `q6_k`.
pub(crate) struct Q6K;

impl RowCode for Q6K {
    const NAME: &'static str = "q6_k";
    const GGML_TYPE: u32 = 14;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Optional;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        let mut importance = importance.map(|importance| importance.chunks(TILE * LEN));
        let out = out.as_chunks_mut::<BYTES>().0;
        for (x, out) in x.chunks(TILE * LEN).zip(out.chunks_mut(TILE)) {
            let importance = importance.as_mut().and_then(Iterator::next);
            let (scales, factors) = fit_groups::<N16>(x, importance);
            for (index, (x, out)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
                write(x, &scales[index], &factors[index], out);
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
        groups::improve::<Self, N16, GROUP, GROUP, BYTES>(x, importance, goal, out);
    }

    #[inline(always)]
    fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        groups::weights::<Self, GROUP, BYTES>(x, importance, out);
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16(bytes_at(block, 208));
            let mut scale = [0.0; GROUP];
            for (scale, level) in scale.iter_mut().zip(bytes_at::<GROUP>(block, 192)) {
                *scale = d * f32::from(level.cast_signed());
            }
            let codes = unpack(block);
            values::<GROUP, GROUP>(&codes, LIMIT.into(), &scale, &[0.0; GROUP], out);
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[.., d0, d1] if f16_is_finite([d0, d1]))
    }
}

impl Layout<GROUP, BYTES> for Q6K {
    type Codes = Signed<LIMIT>;
    const LIMIT: f32 = 128.0;
    const SPREAD: bool = false;
    const TRIALS: Trials = Trials {
        plain: &[
            -32.0, -31.0, -30.0, -29.0, -28.0, -27.0, -32.4, -26.0, -31.4, -25.0, -30.4, -31.8,
            -23.0, -24.0, -30.8, -29.8, -28.2, -29.2, -21.2, -26.2, -27.2, -28.8,
        ],
        weighted: &[
            -32.0, -31.0, -30.0, -29.0, -27.0, -28.0, -32.6, -26.0, -25.0, -24.0, -23.0, -31.6,
            -30.6, -21.2, -33.2, -29.6, -22.0, -31.2, -28.4, -30.2, -27.4, -32.2, -29.2, -26.4,
            -19.2, -28.6, -34.0, -25.6, -27.8, -18.0,
        ],
    };
    const ENDS: &'static [f32] = &[-128.0, -124.0, -120.0, 127.0];
    const ROUNDS: usize = 2;

    #[inline(always)]
    fn read(block: &[u8; BYTES]) -> (f32, [f32; GROUP]) {
        let levels = bytes_at::<GROUP>(block, 192);
        (read_f16(bytes_at(block, 208)), levels.map(|level| f32::from(level.cast_signed())))
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "levels are bytes")]
    fn write(x: &[f32; LEN], d: f32, levels: &[f32; GROUP], block: &mut [u8; BYTES]) {
        store(x, d, &levels.map(|level| level as i8), &[0.0; GROUP], block);
    }
}

/// Scales of all groups of a tile, and the factors for their codes.
#[inline(always)]
fn fit_groups<const N: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
) -> ([[f32; GROUP]; TILE], [[f32; GROUP]; TILE]) {
    let (mut scales, mut factors) = ([[0.0; GROUP]; TILE], [[0.0; GROUP]; TILE]);
    for (round, values) in x.chunks(N * GROUP).enumerate() {
        let steps = lockstep::transpose::<N, GROUP>(values);
        let weights = match importance {
            None => squares(&steps),
            Some(all) => lockstep::transpose(all.chunks(N * GROUP).nth(round).unwrap_or_default()),
        };
        let fit = signed::fit(&steps, &weights, LIMIT);
        for (lanes, all) in [(&fit.scale, &mut scales), (&fit.factor, &mut factors)] {
            lockstep::store(lanes, all.as_flattened_mut().get_mut(round * N..).unwrap_or_default());
        }
    }
    (scales, factors)
}

/// Scales as stored, codes for them, and the layout.
#[inline(always)]
fn write(x: &[f32; LEN], scales: &[f32; GROUP], factors: &[f32; GROUP], out: &mut [u8; BYTES]) {
    let largest = signed::extreme(scales);
    if largest.abs() < NEGLIGIBLE {
        *out = [0; BYTES];
        out[208..].copy_from_slice(&store_f16(refuse_large(x, 0.0)).0);
        return;
    }
    let inverse = -128.0 / largest;
    let mut levels = [0; GROUP];
    for (level, scale) in levels.iter_mut().zip(scales) {
        let [byte, ..] = nearest(inverse * scale).min(127).to_le_bytes();
        *level = byte.cast_signed();
    }
    store(x, 1.0 / inverse, &levels, factors, out);
}

/// Codes for the scales as stored, and the layout. `factors` are those of the search.
#[inline(always)]
fn store(
    x: &[f32; LEN],
    d: f32,
    levels: &[i8; GROUP],
    factors: &[f32; GROUP],
    out: &mut [u8; BYTES],
) {
    let (d, d_value) = store_f16(refuse_large(x, d));
    let mut codes = [0; LEN];
    let groups = x.as_chunks::<GROUP>().0.iter().zip(codes.as_chunks_mut::<GROUP>().0);
    for (j, (x, codes)) in groups.enumerate() {
        out[192 + j] = levels[j].cast_unsigned();
        let scale = d_value * f32::from(levels[j]);
        if scale == 0.0 {
            // No code makes a difference now; the format's reference keeps those of the search.
            for (code, v) in codes.iter_mut().zip(x) {
                *code = signed::code(*v, factors[j], LIMIT);
            }
        } else {
            for (code, v) in codes.iter_mut().zip(x) {
                *code = nearest_byte(v / scale, -LIMIT, LIMIT - 1).wrapping_add(32);
            }
        }
    }
    pack(&codes, out);
    out[208..].copy_from_slice(&d);
}

/// Lays out the codes.
#[inline(always)]
fn pack(codes: &[u8; LEN], out: &mut [u8; BYTES]) {
    let halves = codes.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<64>().0);
    for (codes, out) in halves {
        for l in 0..64 {
            out[l] = (codes[l] & 15) | codes[l + 64] << 4;
        }
    }
    let mut high = *codes;
    for code in &mut high {
        *code >>= 4;
    }
    pack_twos(&high, &mut out[128..192]);
}

/// The inverse of [`pack`].
#[inline(always)]
fn unpack(block: &[u8; BYTES]) -> [u8; LEN] {
    let mut codes = unpack_twos(&block[128..192]);
    for code in &mut codes {
        *code <<= 4;
    }
    for (codes, block) in codes.as_chunks_mut::<128>().0.iter_mut().zip(block.as_chunks::<64>().0) {
        for l in 0..64 {
            codes[l] |= block[l] & 15;
            codes[l + 64] |= block[l] >> 4;
        }
    }
    codes
}

register_quant!(dispatched::<Q6K>());
