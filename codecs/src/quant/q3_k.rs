//! `q3_k`: super-blocks of 256 weights; groups of 16 share a signed six-bit scale, and each weight
//! has a three-bit code.
//!
//! ```text
//! byte    0 ...... 31   32 ..... 95    96 ... 107   108 109
//!        [ h0 ... h31 ] [ q0 ... q63 ] [ scales ]   [ d ]   d: binary16
//!        h[l]: bit k is bit 2 of the code of weight 32 k + l
//!        q[32 h + l]: bits 0-1 of those of 128 h + l, + 32, + 64, + 96, lowest bits first
//!        scales: see `superblock::pack_sixteen_sixes`
//! ```
//! Value: `d * (scale[i / 16] - 32) * (code[i] - 4)`.
//! Definition: ggml block layout `block_q3_K` (type 11).
//! Name: `q3_k`. Limits: rows are a multiple of 256; importance is used when given.
//!
//! Without importance, scales of groups come from [`crate::search::refine`], and that of largest
//! magnitude becomes -32. With it, they come from [`crate::search::signed`] with weights
//! `importance * sqrt(2 s + x^2)`, `s` the mean square of the super-block, and the same search gives
//! their levels. In the end codes are rounded anew for the scales as they are stored.
//!
//! Trellis mode ([`crate::trellis::signed`]) minimizes the error with the weights that there are with
//! importance; without, importance is 1 for it: exact minimization with weights of `x^2` brings
//! models farther from what they computed, not closer.

use gmat_core::quant::{Goal, Need};
use gmat_core::register_quant;

use crate::lockstep;
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::round::{nearest, nearest_byte};
use crate::search::{refine, signed};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::{
    LEN, TILE, bytes_at, pack_bits, pack_sixteen_sixes, pack_twos, refuse_large, sums_of_squares,
    unpack_bits, unpack_sixteen_sixes, unpack_twos, values,
};
use crate::trellis::signed::groups::{self, ENDS, Layout};
use crate::trellis::signed::{Signed, Trials};

const BYTES: usize = 110;
/// Weights in a group, and groups in a super-block.
const GROUP: usize = 16;
/// Codes are counted from `-LIMIT`.
const LIMIT: i8 = 4;
/// Scales are counted from `-SCALES`.
const SCALES: i8 = 32;

/// The kernel of `q3_k`.
pub(crate) struct Q3K;

impl RowCode for Q3K {
    const NAME: &'static str = "q3_k";
    const GGML_TYPE: u32 = 11;
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
            match importance.as_mut().and_then(Iterator::next) {
                None => plain::<N16>(x, out),
                Some(importance) => weighted::<N16>(x, importance, out),
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
            let d = read_f16(bytes_at(block, 108));
            let scales = unpack_sixteen_sixes(&bytes_at(block, 96));
            let mut codes = unpack_twos(&block[32..96]);
            unpack_bits::<2>(&bytes_at(block, 0), &mut codes);
            let mut scale = [0.0; GROUP];
            for (scale, level) in scale.iter_mut().zip(scales) {
                *scale = d * (f32::from(level) - f32::from(SCALES));
            }
            values::<GROUP, GROUP>(&codes, LIMIT.into(), &scale, &[0.0; GROUP], out);
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[.., d0, d1] if f16_is_finite([d0, d1]))
    }
}

impl Layout<GROUP, BYTES> for Q3K {
    type Codes = Signed<LIMIT>;
    const LIMIT: f32 = 32.0;
    const SPREAD: bool = true;
    const TRIALS: Trials = Trials {
        plain: &[-4.1, -3.2, -4.5, -3.8, -3.0, -4.3],
        weighted: &[
            -4.2, -3.2, -4.9, -3.8, 4.1, -4.5, -2.9, -5.1, -4.0, -2.2, -3.4, -3.6, 3.8, -4.7, -3.1,
            -4.4, -1.9, -4.1,
        ],
    };
    const ENDS: &'static [f32] = ENDS;
    const ROUNDS: usize = 1;

    #[inline(always)]
    fn read(block: &[u8; BYTES]) -> (f32, [f32; GROUP]) {
        let levels = unpack_sixteen_sixes(&bytes_at(block, 96));
        (read_f16(bytes_at(block, 108)), levels.map(|level| f32::from(level) - f32::from(SCALES)))
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "levels are bytes")]
    fn write(x: &[f32; LEN], d: f32, levels: &[f32; GROUP], block: &mut [u8; BYTES]) {
        let levels = levels.map(|level| (level as i8 + SCALES).cast_unsigned());
        write(x, d, &levels, block, |_, _| [LIMIT.cast_unsigned(); GROUP]);
    }
}

/// Up to `TILE` super-blocks without importance.
#[inline(always)]
fn plain<const N: usize>(x: &[f32], out: &mut [[u8; BYTES]]) {
    let mut scales = [[0.0; GROUP]; TILE];
    for (round, values) in x.chunks(N * GROUP).enumerate() {
        let fit = refine::fit(&lockstep::transpose::<N, GROUP>(values), LIMIT);
        lockstep::store(
            &fit.scale,
            scales.as_flattened_mut().get_mut(round * N..).unwrap_or_default(),
        );
    }
    for ((x, out), scales) in x.as_chunks::<LEN>().0.iter().zip(out).zip(&scales) {
        let largest = signed::extreme(scales);
        let mut levels = [0; GROUP];
        let mut d = 0.0;
        if largest != 0.0 {
            let inverse = -32.0 / largest;
            for (level, scale) in levels.iter_mut().zip(scales) {
                // Kept in a byte before it is limited: this decides what becomes of NaN and the like.
                let [byte, ..] = nearest(inverse * scale).to_le_bytes();
                let limited = byte.cast_signed().clamp(-SCALES, SCALES - 1);
                *level = limited.cast_unsigned().wrapping_add(32);
            }
            d = 1.0 / inverse;
        }
        write(x, d, &levels, out, |_, x| {
            // Again, as its only lane: cheaper than to keep codes that are hardly ever asked for.
            refine::fit(&x.map(|v| [v]), LIMIT).codes.map(|[code]| code)
        });
    }
}

/// Up to `TILE` super-blocks with importance.
#[inline(always)]
fn weighted<const N: usize>(x: &[f32], importance: &[f32], out: &mut [[u8; BYTES]]) {
    let spread = sums_of_squares(x).map(|sum| 2.0 * sum / 256.0);
    let (mut scales, mut factors, mut sums) =
        ([[0.0; GROUP]; TILE], [[0.0; GROUP]; TILE], [[0.0; GROUP]; TILE]);
    let rounds = x.chunks(N * GROUP).zip(importance.chunks(N * GROUP));
    for (round, (values, importance)) in rounds.enumerate() {
        let first = round * N;
        let steps = lockstep::transpose::<N, GROUP>(values);
        let of_lane = std::array::from_fn(|lane| spread[(first + lane) / GROUP % TILE]);
        let weights = lockstep::weigh(&steps, &lockstep::transpose(importance), &of_lane);
        let fit = signed::fit(&steps, &weights, LIMIT);
        for (lanes, all) in [
            (&fit.scale, &mut scales),
            (&fit.factor, &mut factors),
            (&lockstep::sum(&weights), &mut sums),
        ] {
            lockstep::store(lanes, all.as_flattened_mut().get_mut(first..).unwrap_or_default());
        }
    }
    // The same for the scales of groups: super-blocks are lanes now.
    let steps = lockstep::transpose::<TILE, GROUP>(scales.as_flattened());
    let fit = signed::fit(&steps, &lockstep::transpose(sums.as_flattened()), SCALES);
    for (index, (x, out)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
        let levels = scales[index].map(|scale| signed::code(scale, fit.factor[index], SCALES));
        let factors = &factors[index];
        write(x, fit.scale[index], &levels, out, |j, x| {
            x.map(|v| signed::code(v, factors[j], LIMIT))
        });
    }
}

/// Codes for the scales as stored, and the layout. `searched` gives the codes that the search found
/// for a group.
#[inline(always)]
fn write(
    x: &[f32; LEN],
    d: f32,
    levels: &[u8; GROUP],
    out: &mut [u8; BYTES],
    searched: impl Fn(usize, &[f32; GROUP]) -> [u8; GROUP],
) {
    let (d, d_value) = store_f16(refuse_large(x, d));
    let mut codes = [0; LEN];
    let groups = x.as_chunks::<GROUP>().0.iter().zip(codes.as_chunks_mut::<GROUP>().0);
    for (j, (x, codes)) in groups.enumerate() {
        let scale = d_value * (f32::from(levels[j]) - f32::from(SCALES));
        if scale == 0.0 {
            // No code makes a difference now; the format's reference keeps those of the search.
            *codes = searched(j, x);
        } else {
            for (code, v) in codes.iter_mut().zip(x) {
                *code = nearest_byte(v / scale, -LIMIT, LIMIT - 1).wrapping_add(4);
            }
        }
    }
    out[..32].copy_from_slice(&pack_bits::<2>(&codes));
    pack_twos(&codes, &mut out[32..96]);
    out[96..108].copy_from_slice(&pack_sixteen_sixes(levels));
    out[108..].copy_from_slice(&d);
}

register_quant!(dispatched::<Q3K>());
