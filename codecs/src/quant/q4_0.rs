//! `q4_0`: 32 weights share a scale; each is a four-bit code.
//!
//! ```text
//! byte    0 1   2 ............ 17
//!        [ d ] [ q0 q1 ...  q15 ]   d: binary16; q[j]: code of weight j (low), j + 16 (high)
//! ```
//! Value: `d * (code - 8)`. Definition: ggml block layout `block_q4_0` (type 2).
//! Name: `q4_0`. Limits: rows are a multiple of 32; importance is used when given.
//!
//! Without importance, `d` maps the value of largest magnitude to `-8`. With it, `d` is searched
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

const BYTES: usize = 18;
/// Codes are counted from `-LIMIT`.
const LIMIT: i8 = 8;
/// The largest code.
const TOP: u8 = 15;

/// What codes stand for.
type Numbers = Signed<LIMIT>;
/// Trials of [`trellis::seek`]; few without importance, where standard mode has no search at all.
const TRIALS: Trials = Trials {
    plain: &[-8.5, -7.2, -7.9, -8.2, -8.8, -6.9],
    weighted: &[
        -8.1, -7.2, -8.7, -7.8, -9.3, -6.8, -6.1, -8.4, 8.3, -10.2, -7.5, -9.0, -7.0, -5.8, -8.0,
        -8.2, -9.7, -6.4, -7.3, 9.2,
    ],
};

/// The kernel of `q4_0`.
pub(crate) struct Q4_0;

impl RowCode for Q4_0 {
    const NAME: &'static str = "q4_0";
    const GGML_TYPE: u32 = 2;
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
        block32::dequantize(bytes, out, LIMIT.into(), |[d0, d1, packed @ ..]: &[u8; BYTES]| {
            Parts {
                codes: block32::unpack_nibbles(packed),
                scale: read_f16([*d0, *d1]),
                // Adding it changes nothing, not even the sign of zero.
                min: -0.0,
            }
        });
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
    let [d0, d1, packed @ ..] = out;
    [*d0, *d1] = d.to_le_bytes();
    block32::pack_nibbles(codes, packed);
}

register_quant!(dispatched::<Q4_0>());
