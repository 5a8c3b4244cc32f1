//! Float to integer, exactly as ggml's reference quantizers do it.
//!
//! The K and IQ types round to nearest, ties to even, by adding [`SHIFT`]: at that size the unit of
//! the last place of an `f32` is 1, so the sum's low bits hold the integer.
//! The rule is defined for every float, also where that arithmetic leaves its range, because such
//! values do occur (scales of subnormal rows) and decide bytes of the file.

/// 1.5 * 2^23.
const SHIFT: f32 = 12_582_912.0;
/// Magnitude up to which adding [`SHIFT`] stays between 2^23 and 2^24.
const SOUND: f32 = 4_194_303.0;

/// Nearest integer, ties to even, for magnitudes up to 4194303. Beyond: -4194304 for infinities, 0
/// for NaN, and otherwise what the low 23 bits of `x + 1.5 * 2^23` give.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> i32 {
    let low = ((x + SHIFT).to_bits() & 0x007f_ffff).cast_signed() - 0x0040_0000;
    // The bits of a NaN depend on the processor, its meaning must not.
    if x.is_nan() { 0 } else { low }
}

/// [`nearest`] limited to `low..=high`, as `i32`.
#[inline(always)]
pub(crate) fn nearest_in(x: f32, low: i32, high: i32) -> i32 {
    let n = nearest(x);
    let n = if n < low { low } else { n };
    if n > high { high } else { n }
}

/// [`nearest_in`] for limits that fit in a byte, as that byte (of two's complement).
#[inline(always)]
pub(crate) fn nearest_byte(x: f32, low: i8, high: i8) -> u8 {
    nearest_in(x, low.into(), high.into()).to_le_bytes()[0]
}

/// A way to compute [`nearest_in`] as a float.
pub(crate) trait Rounding {
    /// Whether results are right for every input.
    const ALWAYS: bool;

    /// Nearest integer in `low..=high`; both are small integers.
    fn within(x: f32, low: f32, high: f32) -> f32;
}

/// Right for every input.
pub(crate) struct Exact;

/// Half the work: right where [`is_sound`].
pub(crate) struct Quick;

impl Rounding for Exact {
    const ALWAYS: bool = true;

    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "limited to small integers")]
    fn within(x: f32, low: f32, high: f32) -> f32 {
        let n = nearest(x) as f32;
        let n = if n < low { low } else { n };
        if n > high { high } else { n }
    }
}

impl Rounding for Quick {
    const ALWAYS: bool = false;

    #[inline(always)]
    fn within(x: f32, low: f32, high: f32) -> f32 {
        // Same order of values before and after the shift, so the limits can be applied to it.
        let shifted = x + SHIFT;
        let shifted = if shifted > SHIFT + low { shifted } else { SHIFT + low };
        let shifted = if shifted < SHIFT + high { shifted } else { SHIFT + high };
        shifted - SHIFT
    }
}

/// Whether [`Quick`] equals [`Exact`] for `x`; false for NaN.
#[inline(always)]
pub(crate) fn is_sound(x: f32) -> bool {
    x.abs() <= SOUND
}

/// Integer part of a value from 0 up to 255.
///
/// Not by a cast: those have a result for every float, at the price of vector code.
#[inline(always)]
pub(crate) fn truncated(x: f32) -> u8 {
    // From here on the unit of the last place is 1.
    const SHIFT: f32 = 8_388_608.0;
    let shifted = x + SHIFT;
    let down = u32::from(shifted - SHIFT > x);
    shifted.to_bits().wrapping_sub(down).to_le_bytes()[0]
}

/// Nearest integer, ties away from zero, in a byte; for magnitudes that round below 128.
#[inline(always)]
pub(crate) fn half_away(x: f32) -> i8 {
    // Adding a full half would carry the value just below a tie over it.
    const BELOW_HALF: f32 = 0.5 - f32::EPSILON / 4.0;
    let magnitude = truncated(x.abs() + BELOW_HALF).cast_signed();
    if x < 0.0 { magnitude.wrapping_neg() } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values around every multiple of 1/2 up to 300, and the edges of the float format.
    fn probes() -> Vec<f32> {
        let mut probes = vec![0.0, 1e-40, f32::MIN_POSITIVE, 4_194_303.0, 1e7, 3e38, f32::INFINITY];
        for half in 0u16..600 {
            let tie = f32::from(half) / 2.0;
            probes.extend([tie.next_down(), tie, tie.next_up()]);
        }
        let negative: Vec<f32> = probes.iter().map(|x| -x).collect();
        probes.extend(negative);
        probes
    }

    #[test]
    fn nearest_ties_to_even() {
        for x in probes() {
            if is_sound(x) {
                assert_eq!(f64::from(nearest(x)), f64::from(x.round_ties_even()), "{x:e}");
            }
        }
        assert_eq!(nearest(f32::INFINITY), -4_194_304);
        assert_eq!(nearest(f32::NEG_INFINITY), -4_194_304);
        assert_eq!(nearest(f32::NAN), 0);
        assert_eq!(nearest(-f32::NAN), 0);
    }

    #[test]
    fn quick_equals_exact_where_it_says_so() {
        for x in probes() {
            for (low, high) in [(0.0, 15.0), (-32.0, 31.0), (0.0, 0.0)] {
                if is_sound(x) {
                    assert_eq!(Quick::within(x, low, high), Exact::within(x, low, high), "{x:e}");
                }
            }
        }
        assert!(!is_sound(f32::NAN));
    }

    #[test]
    fn half_away_is_round() {
        for x in probes() {
            if x.abs().round() < 128.0 {
                assert_eq!(f32::from(half_away(x)), x.round(), "{x:e}");
            }
            if (0.0..256.0).contains(&x) {
                assert_eq!(f32::from(truncated(x)), x.trunc(), "{x:e}");
            }
        }
    }
}
