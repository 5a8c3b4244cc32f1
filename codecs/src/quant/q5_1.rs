//! `q5_1`: 32 weights share a scale and a minimum; each is a five-bit code.
//!
//! ```text
//! byte    0 1   2 3   4 ... 7   8 ............ 23
//!        [ d ] [ m ] [   h   ] [ q0 q1 ...  q15 ]   d, m: binary16
//!        h: u32, bit j is bit 4 of code j; q[j]: bits 0-3 of codes j (low), j + 16 (high)
//! ```
//! Value: `d * code + m`. Definition: ggml block layout `block_q5_1` (type 7).
//! Name: `q5_1`. Limits: rows are a multiple of 32; importance is used when given.
//!
//! Without importance, `m` is the smallest value and `d` a 31st of the range. With it, both are
//! searched for ([`crate::search::affine`]) with weights `importance * sqrt(s + x^2)`, `s` the mean
//! square of the row.

use gmat_core::quant::{Goal, Need};
use gmat_core::register_quant;

use crate::block32::{self, BATCH, LEN, Parts, apart};
use crate::narrow::{f16_bits, f16_is_finite, read_f16};
use crate::row32;
use crate::search::affine;
use crate::simd::dispatch::{RowCode, dispatched};
use crate::trellis::line::{self, Line};

const BYTES: usize = 24;
/// The largest code.
const TOP: u8 = 31;
/// The search with importance.
const SEARCH: affine::Spec =
    affine::Spec { top: TOP, divisions: &affine::fine_divisions(31.0), absolute: false };

/// The kernel of `q5_1`.
pub(crate) struct Q5_1;

impl Line<BYTES> for Q5_1 {
    const TOP: u8 = TOP;

    #[inline(always)]
    fn read([d0, d1, m0, m1, h0, h1, h2, h3, packed @ ..]: &[u8; BYTES]) -> Parts {
        Parts {
            codes: block32::unpack_five([*h0, *h1, *h2, *h3], packed),
            scale: read_f16([*d0, *d1]),
            min: read_f16([*m0, *m1]),
        }
    }

    #[inline(always)]
    fn write(d: u16, m: u16, codes: &[u8; LEN], out: &mut [u8; BYTES]) {
        let [d0, d1, m0, m1, h0, h1, h2, h3, packed @ ..] = out;
        ([*d0, *d1], [*m0, *m1]) = (d.to_le_bytes(), m.to_le_bytes());
        [*h0, *h1, *h2, *h3] = block32::pack_fifth_bits(codes);
        block32::pack_nibbles(codes, packed);
    }
}

impl RowCode for Q5_1 {
    const NAME: &'static str = "q5_1";
    const GGML_TYPE: u32 = 7;
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
        line::improve::<Self, N32, BYTES>(x, importance, goal.metric, out);
    }

    fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        line::weigh(x, importance, out);
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        block32::dequantize(bytes, out, 0.0, Self::read);
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, m0, m1, ..] if f16_is_finite([d0, d1]) & f16_is_finite([m0, m1]))
    }
}

/// A batch of blocks without importance.
#[inline(always)]
fn plain(x: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
    let (mut mins, mut steps) = ([0.0; BATCH], [0.0; BATCH]);
    for ((x, min), step) in x.iter().zip(&mut mins).zip(&mut steps) {
        let (low, range) = block32::range(apart(x));
        (*min, *step) = (low, range);
    }
    for step in &mut steps {
        *step /= f32::from(TOP);
    }
    let ((d, inverses), m) = (block32::scales(&steps), block32::halves(&mins));
    for (index, (x, out)) in x.iter().zip(out).enumerate() {
        let (min, inverse) = (mins[index], inverses[index]);
        let mut codes = [0; LEN];
        if inverse.is_finite() {
            for (code, value) in codes.iter_mut().zip(x) {
                *code = block32::truncated((value - min) * inverse + 0.5, TOP);
            }
        }
        Q5_1::write(d[index], m[index], &codes, out);
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
    let fit = affine::fit(&steps, &weights, &SEARCH);
    for (lane, (x, out)) in x.iter().zip(out).enumerate() {
        let (factor, base) = (fit.factor[lane], fit.base[lane]);
        let mut codes = [0; LEN];
        for (code, v) in codes.iter_mut().zip(x) {
            *code = affine::code(*v, factor, base, TOP);
        }
        Q5_1::write(f16_bits(fit.scale[lane]), f16_bits(fit.min[lane]), &codes, out);
    }
}

register_quant!(dispatched::<Q5_1>());
