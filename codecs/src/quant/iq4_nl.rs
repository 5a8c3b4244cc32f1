//! `iq4_nl`: 32 weights share a scale; each is a four-bit code for one of 16 unevenly spaced values.
//!
//! ```text
//! byte    0 1   2 ............ 17
//!        [ d ] [ q0 q1 ...  q15 ]   d: binary16; q[j]: code of weight j (low), j + 16 (high)
//! ```
//! Value: `d * VALUES[code]`, the table being [`crate::search::table::VALUES`].
//! Definition: ggml block layout `block_iq4_nl` (type 20).
//! Name: `iq4_nl`. Limits: rows are a multiple of 32; importance is used when given.
//!
//! `d` comes from [`crate::search::table`], where the error of a weight `x` counts `x^2`, or with
//! importance `importance * sqrt(2 s + x^2)`, `s` the mean square of the block. Codes are then chosen
//! for `d` before its rounding to half precision.
//!
//! Trellis mode ([`crate::trellis::signed`]) minimizes the error with the weights that there are with
//! importance; without, importance is 1 for it: exact minimization with weights of `x^2` brings
//! models farther from what they computed, not closer.

use gmat_core::quant::{Goal, Metric, Need};
use gmat_core::register_quant;

use crate::block32::{self, LEN};
use crate::lockstep::{self, squares, sum, sum_of_squares, weigh};
use crate::narrow::{f16_is_finite, read_f16, store_f16};
use crate::search::table::{self, VALUES};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::refuse_large;
use crate::trellis::signed::{Table, Trials, single};

const BYTES: usize = 18;

/// The kernel of `iq4_nl`.
pub(crate) struct Iq4Nl;

impl RowCode for Iq4Nl {
    const NAME: &'static str = "iq4_nl";
    const GGML_TYPE: u32 = 20;
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
        let mut importance = importance.map(|importance| importance.chunks(N32 * LEN));
        for (values, out) in x.chunks(N32 * LEN).zip(out.chunks_mut(N32)) {
            let steps = lockstep::transpose::<N32, LEN>(values);
            let weights = match importance.as_mut().and_then(Iterator::next) {
                None => squares(&steps),
                Some(importance) => {
                    let spread = sum(&squares(&steps)).map(|sum| sum * (2.0 / 32.0));
                    weigh(&steps, &lockstep::transpose(importance), &spread)
                }
            };
            let scales = table::fit(&steps, &weights);
            for ((x, out), d) in values.as_chunks::<LEN>().0.iter().zip(out).zip(scales) {
                write(x, d, out);
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
        let out = out.as_chunks_mut::<BYTES>().0;
        let mut importance = importance.map(|importance| importance.chunks(N32 * LEN));
        let Trials { plain, weighted } = Table::TRIALS;
        let trials = if importance.is_some() { weighted } else { plain };
        for (values, out) in x.chunks(N32 * LEN).zip(out.chunks_mut(N32)) {
            let steps = lockstep::transpose::<N32, LEN>(values);
            let importance = match importance.as_mut().and_then(Iterator::next) {
                None => [[1.0; N32]; LEN],
                Some(importance) => lockstep::transpose(importance),
            };
            let weights = match goal.metric {
                Metric::Squares => importance,
                Metric::Ggml => {
                    let spread = sum(&squares(&steps)).map(|sum| sum * (2.0 / 32.0));
                    weigh(&steps, &importance, &spread)
                }
            };
            let mut old = [0.0; N32];
            for (old, [d0, d1, ..]) in old.iter_mut().zip(&*out) {
                *old = read_f16([*d0, *d1]);
            }
            let new = single::improve::<Table, _, N32>(&steps, &weights, &old, trials, 2);
            for (lane, (x, out)) in values.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
                if new.is[lane] {
                    write(x, new.scale[lane], out);
                }
            }
        }
    }

    #[inline(always)]
    fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        gmat_core::quant::importance_or_one(importance, out);
        for (x, out) in x.chunks(LEN).zip(out.chunks_mut(LEN)) {
            let spread = sum_of_squares(x) * (2.0 / 32.0);
            for (out, x) in out.iter_mut().zip(x) {
                *out *= (spread + x * x).sqrt();
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for ([d0, d1, packed @ ..], out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16([*d0, *d1]);
            for (value, code) in out.iter_mut().zip(block32::unpack_nibbles(packed)) {
                *value = d * f32::from(VALUES[usize::from(code & 15)]);
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

/// Codes for `d`, and the layout.
#[inline(always)]
fn write(x: &[f32; LEN], d: f32, out: &mut [u8; BYTES]) {
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut codes = [0; LEN];
    for (code, v) in codes.iter_mut().zip(x) {
        *code = table::code(inverse * v);
    }
    let [d0, d1, packed @ ..] = out;
    ([*d0, *d1], _) = store_f16(refuse_large(x, d));
    block32::pack_nibbles(&codes, packed);
}

register_quant!(dispatched::<Iq4Nl>());
