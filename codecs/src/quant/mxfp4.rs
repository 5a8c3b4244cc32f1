//! `mxfp4`: 32 weights share a power of two; each is a four-bit float.
//!
//! ```text
//! byte    0    1 ............ 16
//!        [e]  [ q0 q1 ...  q15 ]   q[j]: code of weight j (low), j + 16 (high)
//! ```
//! Value: `2^(e - 128)` times the doubled value of the code ([`crate::fp4`]). `e` is an E8M0 scale,
//! and 255 no number. Definition: ggml block layout `block_mxfp4` (type 39), which is the MXFP4 of
//! OCP Microscaling Formats (MX) 1.0.
//! Name: `mxfp4`. Limits: rows are a multiple of 32; importance is of no use.
//!
//! With `k` the binary logarithm of the largest magnitude, rounded down, `e` is `k + 125`, and 0 for
//! zeros. `k` is that of a logarithm rounded to `f32`: close below a power of two it is one more.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::block32::{self, BATCH, LEN, apart, max_magnitude};
use crate::fp4;
use crate::simd::dispatch::{RowCode, dispatched};

const BYTES: usize = 17;
/// The `e` that stands for no number.
const NAN: u8 = 255;
/// From here on the largest code may stand for infinity.
const HIGH: u8 = 253;

/// The kernel of `mxfp4`.
pub(crate) struct Mxfp4;

impl RowCode for Mxfp4 {
    const NAME: &'static str = "mxfp4";
    const GGML_TYPE: u32 = 39;
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
            let mut largest = [0.0; BATCH];
            for (largest, x) in largest.iter_mut().zip(x) {
                *largest = max_magnitude(apart(x));
            }
            for ((x, out), e) in x.iter().zip(out).zip(largest.map(exponent)) {
                let d = scale(e);
                let codes = if e < HIGH { fp4::codes(x, d) } else { fp4::codes_by_distance(x, d) };
                let [first, packed @ ..] = out;
                *first = e;
                block32::pack_nibbles(&codes, packed);
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for ([e, packed @ ..], out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            fp4::values(&block32::unpack_nibbles(packed), scale(*e), out);
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        block.first().is_some_and(|e| *e != NAN)
    }
}

/// `2^(e - 128)`, also for 255.
#[inline(always)]
fn scale(e: u8) -> f32 {
    let e = u32::from(e);
    // The two lowest are subnormal.
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

/// The `e` of a block with that largest magnitude.
///
/// Below `2^-125` it would be negative, and C leaves undefined what becomes of it. ggml compiled by
/// gcc for x86-64 keeps the low byte, which makes all weights zero, and so do we; but not where that
/// byte stands for no number.
#[inline(always)]
fn exponent(max: f32) -> u8 {
    if max == 0.0 {
        return 0;
    }
    let e = (floor_log2(max) + 125).to_le_bytes()[0];
    if e == NAN { 0 } else { e }
}

/// `floor` of the binary logarithm rounded to `f32`, for positive numbers.
#[inline(always)]
fn floor_log2(x: f32) -> i32 {
    /// ln 2 in units of `2^-32`.
    const LN_2: u64 = 0xb172_17f7;
    // Subnormals are made normal: 2^24 times as large.
    let (x, bias) = if x < f32::MIN_POSITIVE { (x * 16_777_216.0, 151) } else { (x, 127) };
    let bits = x.to_bits();
    let k = (bits >> 23).cast_signed() - bias;
    // x = (1 - n 2^-24) 2^(k+1) has the logarithm k + 1 - n 2^-24 / ln 2, and that rounds to k + 1 if
    // nearer to it than half the distance of floats there, on the side of k: 2^(b-24), where b is the
    // binary logarithm of |k + 1| or, if that is positive, of k; both are this:
    let size = (k ^ (k >> 31)).cast_unsigned();
    // So it does for n < 2^b ln 2. (Of zero, the shift leaves nothing.)
    let near = LN_2 >> (size.leading_zeros() + 1);
    let carried = (u64::from(bits & 0x007f_ffff) + near) >> 23;
    if carried == 0 { k } else { k + 1 }
}

register_quant!(dispatched::<Mxfp4>());

#[cfg(test)]
mod tests {
    use super::*;

    /// A logarithm good to some units of `2^-50`, by its series next to `2^k`.
    fn log2_below(k: i32, ulps: u32) -> f64 {
        let relative = f64::from(ulps) * 2f64.powi(-24);
        f64::from(k) - (relative + relative * relative / 2.0) / std::f64::consts::LN_2
    }

    #[test]
    fn logarithms_are_rounded_before_the_floor() {
        for k in (-125..128).step_by(if cfg!(miri) { 21 } else { 1 }) {
            let power = 2f32.powi(k);
            assert_eq!(floor_log2(power), k);
            assert_eq!(floor_log2(power.next_up()), k);
            for ulps in 1..100 {
                let x = f32::from_bits(power.to_bits() - ulps);
                #[expect(clippy::cast_possible_truncation, reason = "the rounding in question")]
                let rounded = log2_below(k, ulps) as f32;
                assert_eq!(f64::from(floor_log2(x)), f64::from(rounded.floor()), "{x:e}");
            }
        }
        assert_eq!(floor_log2(f32::MAX), 128);
        assert_eq!(floor_log2(f32::from_bits(1)), -149);
    }

    #[test]
    fn exponents_end_where_numbers_do() {
        assert_eq!(exponent(1.0), 125);
        assert_eq!(exponent(6.0), 127);
        assert_eq!(exponent(2f32.powi(-125)), 0);
        assert_eq!(exponent(f32::MIN_POSITIVE), 0);
        assert_eq!(exponent(1e-40), 248);
        assert_eq!(exponent(f32::MAX), 253);
        assert_eq!(
            (scale(0), scale(1), scale(2)),
            (2f32.powi(-128), 2f32.powi(-127), 2f32.powi(-126))
        );
    }
}
