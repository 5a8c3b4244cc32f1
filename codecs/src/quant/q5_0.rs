//! `q5_0`: 32 weights share a scale; each is a five-bit code.
//!
//! ```text
//! byte    0 1   2 ... 5   6 ............ 21
//!        [ d ] [   h   ] [ q0 q1 ...  q15 ]   d: binary16
//!        h: u32, bit j is bit 4 of code j; q[j]: bits 0-3 of codes j (low), j + 16 (high)
//! ```
//! Value: `d * (code - 16)`. Definition: ggml block layout `block_q5_0` (type 6).
//! Name: `q5_0`. Limits: rows are a multiple of 32; importance is used when given.
//!
//! Without importance, `d` maps the value of largest magnitude to `-16`. With it, `d` is searched
//! for ([`crate::search::signed`]) with weights `importance * sqrt(s + x^2)`, `s` the mean square of
//! the row.
//!
//! Trellis mode ([`crate::trellis::signed`]) minimizes the error with these weights, or without
//! importance the plain one.

use gmat_core::quant::{Goal, Metric, Need};
use gmat_core::register_quant;

use crate::block32::{self, BATCH, LEN, Parts, apart};
use crate::lockstep;
use crate::narrow::{f16_bits, f16_is_finite, read_f16};
use crate::round::nearest_byte;
use crate::row32;
use crate::search::signed;
use crate::simd::dispatch::{RowCode, dispatched};
use crate::trellis::signed::single::{self, Better};
use crate::trellis::signed::{self as trellis, Equal, Signed, Trials};

const BYTES: usize = 22;
/// Codes are counted from `-LIMIT`.
const LIMIT: i8 = 16;
/// The largest code.
const TOP: u8 = 31;

/// What codes stand for.
type Numbers = Signed<LIMIT>;
/// Trials of [`trellis::seek`]; few without importance, where standard mode has no search at all.
const TRIALS: Trials = Trials {
    plain: &[-15.1, -16.4, -15.8, -14.1, -14.8, -16.2, -16.7, -15.3],
    weighted: &[
        -16.0, -15.0, -16.6, -14.0, -13.0, -15.6, -17.2, -16.2, -15.2, -14.4, -12.0, -14.8, -13.6,
        -15.8, -18.0, -16.4, -11.0, -13.2, -17.0, -15.4, -12.6, -17.4, -14.2, 16.0,
    ],
};

/// The kernel of `q5_0`.
pub(crate) struct Q5_0;

impl RowCode for Q5_0 {
    const NAME: &'static str = "q5_0";
    const GGML_TYPE: u32 = 6;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Optional;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        let (blocks, out) = (x.as_chunks::<LEN>().0, out.as_chunks_mut::<BYTES>().0);
        match importance {
            None => {
                for (x, out) in blocks.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
                    plain(x, out);
                }
            }
            Some(importance) => {
                let spread = row32::mean_square(x);
                let weights = importance.as_chunks::<LEN>().0;
                let groups = blocks.chunks(N32).zip(weights.chunks(N32)).zip(out.chunks_mut(N32));
                for ((x, importance), out) in groups {
                    weighted::<N32>(x, importance, spread, out);
                }
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
        let (blocks, out) = (x.as_chunks::<LEN>().0, out.as_chunks_mut::<BYTES>().0);
        match importance {
            None => {
                let (trials, rounds) = match goal.metric {
                    Metric::Ggml => (TRIALS.plain, 1),
                    Metric::Squares => (TRIALS.weighted, 2),
                };
                for (x, out) in blocks.chunks(N32).zip(out.chunks_mut(N32)) {
                    let steps = lockstep::transpose::<N32, LEN>(x.as_flattened());
                    let old = scales(out);
                    let new =
                        single::improve::<Numbers, _, N32>(&steps, &Equal, &old, trials, rounds);
                    replace(x, &new, out);
                }
            }
            Some(importance) => {
                let spread = row32::mean_square(x);
                let weights = importance.as_chunks::<LEN>().0;
                let groups = blocks.chunks(N32).zip(weights.chunks(N32)).zip(out.chunks_mut(N32));
                for ((x, importance), out) in groups {
                    let (steps, w) = row32::weigh_for::<N32>(goal.metric, x, importance, spread);
                    let old = scales(out);
                    let new =
                        single::improve::<Numbers, _, N32>(&steps, &w, &old, TRIALS.weighted, 2);
                    replace(x, &new, out);
                }
            }
        }
    }

    #[inline(always)]
    fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        row32::weights_of_row(x, importance, out);
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        block32::dequantize(
            bytes,
            out,
            LIMIT.into(),
            |[d0, d1, h0, h1, h2, h3, packed @ ..]: &[u8; BYTES]| Parts {
                codes: block32::unpack_five([*h0, *h1, *h2, *h3], packed),
                scale: read_f16([*d0, *d1]),
                // Adding it changes nothing, not even the sign of zero.
                min: -0.0,
            },
        );
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

/// A batch of blocks without importance.
#[inline(always)]
fn plain(x: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
    let mut steps = [0.0; BATCH];
    for (x, step) in x.iter().zip(&mut steps) {
        *step = block32::extreme(apart(x));
    }
    for step in &mut steps {
        *step /= -f32::from(LIMIT);
    }
    let (d, inverses) = block32::scales(&steps);
    for (index, (x, out)) in x.iter().zip(out).enumerate() {
        let inverse = inverses[index];
        let mut codes = [0; LEN];
        if inverse.is_finite() {
            for (code, value) in codes.iter_mut().zip(x) {
                *code = block32::truncated(value * inverse + (f32::from(LIMIT) + 0.5), TOP);
            }
        }
        write(d[index], &codes, out);
    }
}

/// Up to `N` blocks with importance.
#[inline(always)]
fn weighted<const N: usize>(
    x: &[[f32; LEN]],
    importance: &[[f32; LEN]],
    spread: f32,
    out: &mut [[u8; BYTES]],
) {
    let (steps, weights) = row32::weigh::<N>(x, importance, spread);
    let fit = signed::fit(&steps, &weights, LIMIT);
    for (lane, (x, out)) in x.iter().zip(out).enumerate() {
        let factor = fit.factor[lane];
        let mut codes = [0; LEN];
        for (code, v) in codes.iter_mut().zip(x) {
            *code = signed::code(*v, factor, LIMIT);
        }
        write(f16_bits(fit.scale[lane]), &codes, out);
    }
}

/// Scales of up to `N` blocks.
#[inline(always)]
fn scales<const N: usize>(blocks: &[[u8; BYTES]]) -> [f32; N] {
    let mut scales = [0.0; N];
    for (scale, [d0, d1, ..]) in scales.iter_mut().zip(blocks) {
        *scale = read_f16([*d0, *d1]);
    }
    scales
}

/// Rewrites the blocks that have better scales.
#[inline(always)]
fn replace<const N: usize>(x: &[[f32; LEN]], new: &Better<N>, out: &mut [[u8; BYTES]]) {
    for (lane, (x, out)) in x.iter().zip(out).enumerate() {
        if new.is[lane] {
            let factor = trellis::inverse(new.scale[lane]);
            let mut codes = [0; LEN];
            for (code, v) in codes.iter_mut().zip(x) {
                *code =
                    nearest_byte(factor * v, -LIMIT, LIMIT - 1).wrapping_add(LIMIT.cast_unsigned());
            }
            write(f16_bits(new.scale[lane]), &codes, out);
        }
    }
}

/// Puts a block together.
#[inline(always)]
fn write(d: u16, codes: &[u8; LEN], out: &mut [u8; BYTES]) {
    let [d0, d1, h0, h1, h2, h3, packed @ ..] = out;
    [*d0, *d1] = d.to_le_bytes();
    [*h0, *h1, *h2, *h3] = block32::pack_fifth_bits(codes);
    block32::pack_nibbles(codes, packed);
}

register_quant!(dispatched::<Q5_0>());
