//! `q8_0`: 32 weights share a scale; each is a signed byte.
//!
//! ```text
//! byte    0 1   2 ............ 33
//!        [ d ] [ q0 q1 ...  q31 ]   d: binary16, q: i8
//! ```
//! Value: `d * q[i]`. Definition: ggml block layout `block_q8_0` (type 8).
//! Name: `q8_0`. Limits: rows are a multiple of 32; importance is of no use.
//!
//! `d` is the largest magnitude divided by 127; codes are rounded to nearest, ties away from zero,
//! with `d` before its own rounding to half precision. Trellis mode
//! ([`crate::trellis::signed`]) minimizes the plain error.

use gmat_core::quant::{Goal, Need};
use gmat_core::register_quant;

use crate::block32::{self, BATCH, LEN, apart};
use crate::lockstep;
use crate::narrow::{f16_bits, f16_is_finite, read_f16};
use crate::round::{Quick, Rounding, half_away, nearest_byte};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::trellis::signed::{self as trellis, Codes, Equal, single};

const BYTES: usize = 34;

/// Integers from -127 to 127: some programs that multiply such blocks are not ready for -128.
struct Bytes;

impl Codes for Bytes {
    #[inline(always)]
    fn nearest(x: f32) -> f32 {
        Quick::within(x, -127.0, 127.0)
    }
}

/// Trials of [`trellis::seek`].
const TRIALS: &[f32] = &[127.4, 126.7, 126.0, 125.2, 124.4, 123.6, 122.8, 122.0];

/// The kernel of `q8_0`.
pub(crate) struct Q8_0;

impl RowCode for Q8_0 {
    const NAME: &'static str = "q8_0";
    const GGML_TYPE: u32 = 8;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Ignored;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        let (blocks, out) = (x.as_chunks::<LEN>().0, out.as_chunks_mut::<BYTES>().0);
        for (x, out) in blocks.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut steps = [0.0; BATCH];
            for (x, step) in x.iter().zip(&mut steps) {
                *step = block32::max_magnitude(apart(x));
            }
            for step in &mut steps {
                *step /= 127.0;
            }
            let (d, inverses) = block32::scales(&steps);
            for (index, (x, out)) in x.iter().zip(out).enumerate() {
                // An overflow has to give zeros, as a zero block does.
                let inverse = if inverses[index].is_finite() { inverses[index] } else { 0.0 };
                let [d0, d1, codes @ ..] = out;
                [*d0, *d1] = d[index].to_le_bytes();
                for (code, value) in codes.iter_mut().zip(x) {
                    [*code] = half_away(value * inverse).to_le_bytes();
                }
            }
        }
    }

    #[inline(always)]
    fn improve<const N32: usize, const N16: usize>(
        x: &[f32],
        _importance: Option<&[f32]>,
        _goal: Goal,
        out: &mut [u8],
    ) {
        let (blocks, out) = (x.as_chunks::<LEN>().0, out.as_chunks_mut::<BYTES>().0);
        for (x, out) in blocks.chunks(N32).zip(out.chunks_mut(N32)) {
            let steps = lockstep::transpose::<N32, LEN>(x.as_flattened());
            let mut old = [0.0; N32];
            for (old, [d0, d1, ..]) in old.iter_mut().zip(&*out) {
                *old = read_f16([*d0, *d1]);
            }
            let new = single::improve::<Bytes, _, N32>(&steps, &Equal, &old, TRIALS, 1);
            for (lane, (x, [d0, d1, codes @ ..])) in x.iter().zip(out).enumerate() {
                if new.is[lane] {
                    let factor = trellis::inverse(new.scale[lane]);
                    [*d0, *d1] = f16_bits(new.scale[lane]).to_le_bytes();
                    for (code, v) in codes.iter_mut().zip(x) {
                        *code = nearest_byte(factor * v, -127, 127);
                    }
                }
            }
        }
    }

    fn weigh(_x: &[f32], _importance: Option<&[f32]>, out: &mut [f32]) {
        out.fill(1.0);
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for ([d0, d1, codes @ ..], out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let d = read_f16([*d0, *d1]);
            for (value, code) in out.iter_mut().zip(codes) {
                *value = f32::from(i8::from_le_bytes([*code])) * d;
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[d0, d1, ..] if f16_is_finite([d0, d1]))
    }
}

register_quant!(dispatched::<Q8_0>());
