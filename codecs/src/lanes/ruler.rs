//! The logarithmic ruler: 1024 notches to the octave, and exact conversions between notches and
//! `f32`.
//!
//! A scale is a whole number of notches (see [`anchor`]), a magnitude code is a whole number of
//! steps of 8 or 64 notches above it, and the border between two codes is half a step, which is a
//! whole number of notches again. So the notch below a value, an integer, decides every rounding
//! exactly: there is no floating-point logarithm whose last bit could differ between machines.
//! All tables are made by the compiler from integer square roots.

use gmat_core::fmath;

/// Notches in one octave.
pub(super) const OCTAVE: i32 = 1024;

/// Fixed-point position of the tables below: one integer bit, 62 fraction bits.
const ONE: u64 = 1 << 62;

/// Bits of an `f32` mantissa below the bucket number in [`LOG`].
const LOW_BITS: u32 = 12;

/// 2^(1/2), 2^(1/4), … 2^(1/1024), in fixed point, rounded down.
const ROOTS: [u64; 10] = {
    let mut roots = [0; 10];
    let mut last = ONE << 1;
    let mut i = 0;
    while i < roots.len() {
        last = narrow(((last as u128) << 62).isqrt());
        roots[i] = last;
        i += 1;
    }
    roots
};

/// Fixed-point numbers stay below 2; checked, since the compiler computes with it.
const fn narrow(wide: u128) -> u64 {
    assert!(wide < 1 << 63);
    #[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
    {
        wide as u64
    }
}

/// 2^(r/1024) in fixed point. At most ten products are rounded down, each of a root that is rounded
/// down: the error is below 2^-57, where 2^-38 would do for 24 bits (tests look at the margin).
const fn root_power(r: usize) -> u64 {
    let mut power = ONE;
    let mut i = 0;
    while i < ROOTS.len() {
        if r >> (9 - i) & 1 == 1 {
            power = narrow((power as u128 * ROOTS[i] as u128) >> 62);
        }
        i += 1;
    }
    power
}

/// Mantissa fields of the `f32` nearest to 2^(r/1024).
static POWER: [u32; 1024] = {
    let mut table = [0; 1024];
    let mut r = 0;
    while r < table.len() {
        table[r] = narrow32((root_power(r) + (1 << 38)) >> 39) - (1 << 23);
        r += 1;
    }
    table
};

/// Like [`narrow`], to 32 bits.
const fn narrow32(wide: u64) -> u32 {
    assert!(wide <= u32::MAX as u64);
    #[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
    {
        wide as u32
    }
}

/// The smallest 23-bit mantissa field whose number reaches notch `r`; the power is irrational, so
/// the next integer above it. Notch 1024 is out of reach.
const fn reaches(r: usize) -> u32 {
    if r == 0 {
        0
    } else if r < 1024 {
        narrow32(root_power(r) >> 39) + 1 - (1 << 23)
    } else {
        1 << 23
    }
}

/// For the upper 11 bits of a mantissa: `(base << 12) + (4096 - border)`, where `base` is the notch
/// below the smallest number of the bucket and `border` how far into the bucket the next notch
/// starts (4096 if beyond). Adding the lower 12 bits carries into the notch exactly when they reach
/// the border. A bucket is 0.72 notches wide at most, so it never has two borders.
static LOG: [u32; 2048] = {
    let mut table = [0; 2048];
    let mut base = 0;
    let mut bucket = 0;
    while bucket < table.len() {
        let start = narrow32(bucket as u64) << LOW_BITS;
        while reaches(base + 1) <= start {
            base += 1;
        }
        let border = reaches(base + 1) - start;
        assert!(reaches(base + 2) > start + (1 << LOW_BITS) || base + 1 >= 1024);
        let carry = (1u32 << LOW_BITS).saturating_sub(border);
        table[bucket] = (narrow32(base as u64) << LOW_BITS) + carry;
        bucket += 1;
    }
    table
};

/// ⌊1024 · log2 x⌋ for the bits of a normal positive `f32`. Below the normal range (zero included)
/// it gives some number below that of every normal value.
#[inline]
pub(super) fn notch(bits: u32) -> i32 {
    let entry = LOG[(bits >> LOW_BITS & 2047) as usize];
    let within = (entry + (bits & ((1 << LOW_BITS) - 1))) >> LOW_BITS;
    ((bits >> 23 << 10) + within) as i32 - 127 * OCTAVE
}

/// The bits of the `f32` nearest to 2^(j/1024), for results in the normal range.
#[inline]
pub(super) fn power_bits(j: i32) -> u32 {
    let mantissa = POWER[(j & (OCTAVE - 1)) as usize];
    ((((j >> 10) + 127) as u32) << 23) + mantissa
}

/// 2^y rounded to 24 significant bits with no limit to the exponent: what [`power_bits`] gives where
/// that applies. For `y` within ±1000.
pub(super) fn power_wide(y: f64) -> f64 {
    let whole = y.floor();
    #[expect(clippy::cast_possible_truncation, reason = "rounding to 24 bits is the point")]
    let fraction = fmath::exp2_f64(y - whole) as f32;
    f64::from(fraction) * fmath::exp2_f64(whole)
}

/// The scale for a lane, in notches: the multiple of the scale's precision there that is nearest to
/// `ideal` (the notch where code 0 would have to be for the lane's top to get the highest code),
/// or the next one above if the top would overshoot the highest code, by `half_step` or more.
///
/// The precision is that of an `f16`, 11 significant bits, but never finer than 1/512 octave. A
/// finer scale would gain nothing, and this one makes `ideal`, a rounded-down integer, enough to
/// find the nearest: half of an even number of notches is a whole number.
#[inline]
pub(super) fn anchor(ideal: i32, half_step: i32) -> i32 {
    let exponent = (ideal.unsigned_abs() | 1).ilog2().saturating_sub(10).max(1);
    let unit = 1 << exponent;
    let nearest = (ideal + unit / 2) & -unit;
    if ideal - nearest >= half_step { nearest + unit } else { nearest }
}

/// The `f16` bits of a scale that [`anchor`] gave: below 2^8 octaves and with 11 significant bits.
#[inline]
pub(super) fn scale_bits(j0: i32) -> u16 {
    if j0 == 0 {
        return 0;
    }
    let bits = (j0 as f32 / OCTAVE as f32).to_bits();
    // From bias 127 to 15, and 13 mantissa bits that are zero fall off.
    let magnitude = ((bits & 0x7fff_ffff) >> 13) - ((127 - 15) << 10);
    let [low, high, ..] = (bits >> 31 << 15 | magnitude).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The scale in notches, if it is a whole number of them.
#[inline]
pub(super) fn scale_notches(bits: u16) -> Option<i32> {
    let exponent = u32::from(bits >> 10) & 31;
    let significand = i32::from(bits & 0x3ff) | 0x400;
    let magnitude = match exponent {
        // 2^(e-15) · m/1024 octaves are m · 2^(e-15) notches.
        15..=22 => significand << (exponent - 15),
        5..=14 if significand.trailing_zeros() >= 15 - exponent => significand >> (15 - exponent),
        0 if bits & 0x7fff == 0 => 0,
        _ => return None,
    };
    Some(if bits >> 15 == 1 { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_correctly_rounded() {
        for r in 0..1024i32 {
            let exact = fmath::exp2_f64(f64::from(r) / 1024.0);
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is tested")]
            let nearest = exact as f32;
            assert_eq!(power_bits(r), nearest.to_bits(), "2^({r}/1024)");
            // Neither the fixed-point error nor that of `exp2_f64` can turn the rounding: what is
            // cut off is far from one half, and (except for 1) from zero.
            let cut = root_power(r as usize) & ((1 << 39) - 1);
            assert!(cut.abs_diff(1 << 38) > 1 << 20, "2^({r}/1024) is too close to a tie");
            assert!(r == 0 || (1 << 20..(1 << 39) - (1 << 20)).contains(&cut));
            for e in [-126, -1, 0, 5, 127] {
                let wide = power_wide(f64::from(e) + f64::from(r) / 1024.0);
                assert_eq!(wide, f64::from(f32::from_bits(power_bits(e * 1024 + r))));
            }
        }
    }

    #[test]
    fn notches_are_exact_for_every_mantissa() {
        // The borders against a logarithm: neighbours differ by more than 7e-5 notches there.
        let log = |mantissa: u32| 1024.0 * fmath::log2_f64(1.0 + f64::from(mantissa) / 8388608.0);
        for r in 1..1024u16 {
            let border = reaches(r.into());
            assert!(log(border) > f64::from(r) && log(border - 1) < f64::from(r), "notch {r}");
        }
        // All 2^23 mantissas: the notch rises by one exactly at the borders.
        for (r, expected) in (0..1024).zip(0..) {
            for mantissa in reaches(r)..reaches(r + 1) {
                assert_eq!(notch((127 << 23) | mantissa), expected, "{mantissa:#x}");
            }
        }
        for (bits, expected) in [(1 << 23, -126 * 1024), (0x7f7f_ffff, 128 * 1024 - 1)] {
            assert_eq!(notch(bits), expected);
        }
        assert!([0, 1, 0x7f_ffff].into_iter().all(|tiny| notch(tiny) < -126 * 1024));
    }

    #[test]
    fn scales_survive_their_bits() {
        for bits in 0..=u16::MAX {
            let octaves = f64::from(half::f16::from_bits(bits).to_f32());
            match scale_notches(bits) {
                Some(j0) => assert_eq!(f64::from(j0), octaves * 1024.0, "{bits:#x}"),
                None => {
                    let fraction = (octaves * 1024.0).fract();
                    let far = !octaves.is_finite() || octaves.abs() >= 256.0;
                    assert!(far || fraction != 0.0, "{bits:#x}: {octaves}");
                }
            }
        }
        for top in -150 * 1024..128 * 1024 {
            for (above, half) in [(511 * 8, 4), (31 * 64, 32)] {
                let ideal = top - above;
                let j0 = anchor(ideal, half);
                assert_eq!(scale_notches(scale_bits(j0)), Some(j0));
                // The top gets the highest code, or one that is lower by less than the scale's
                // precision, which is 1/8 octave at worst.
                let missed = ideal - j0;
                assert!(missed < half && missed > -128, "{ideal} {j0}");
                assert!(ideal.abs() >= 8 * 1024 || missed.abs() <= 2, "{ideal} {j0}");
            }
        }
    }
}
