//! What the types share whose weights are minus the scale, zero or the scale.
//!
//! The scale is the largest magnitude `d` of the block; a weight is rounded to the nearest of the
//! three, ties away from zero.

use crate::block32::max_magnitude;
use crate::lockstep::choose;

/// The scale and its inverse, zero for zero. The inverse of the smallest subnormals is infinite.
#[inline(always)]
pub(crate) fn scale<const K: usize>(x: &[f32; K]) -> (f32, f32) {
    let d = max_magnitude(x);
    (d, choose(d == 0.0, 0.0, 1.0 / d))
}

/// Codes 0, 1, 2 for minus one, zero and one times the scale.
///
/// Comparing with a half rounds exactly, since no product with a finite inverse reaches 3/2.
#[inline(always)]
pub(crate) fn codes<const K: usize>(x: &[f32; K], inverse: f32) -> [u8; K] {
    let mut codes = [0; K];
    for (code, v) in codes.iter_mut().zip(x) {
        let ratio = v * inverse;
        *code = 1 + u8::from(ratio >= 0.5) - u8::from(ratio <= -0.5);
    }
    codes
}

/// `(code - 1) * scale`.
#[inline(always)]
pub(crate) fn values<const K: usize>(codes: &[u8; K], scale: f32, out: &mut [f32; K]) {
    for (value, code) in out.iter_mut().zip(codes) {
        *value = (f32::from(*code) - 1.0) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_away_from_zero() {
        let x = [2.0, -2.0, 1.0, -1.0, 0.999_999_9, -0.999_999_9, 0.0, -0.0];
        let (d, inverse) = scale(&x);
        let codes = codes(&x, inverse);
        assert_eq!((d, codes), (2.0, [2, 0, 2, 0, 1, 1, 1, 1]));
        let mut back = [0.0; 8];
        values(&codes, d, &mut back);
        assert_eq!(back, [2.0, -2.0, 2.0, -2.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(scale(&[0.0; 8]), (0.0, 0.0));
    }
}
