//! Rounding `f32` to half precision (IEEE 754 binary16) and to bfloat16, and widening them again.
//!
//! Everything here is integer and float arithmetic with selects instead of branches, so that a
//! loop over a row becomes vector code. Values follow IEEE 754 round-to-nearest-even; what ggml
//! adds is its treatment of NaN, stated at each function.

/// Bits of an `f32` infinity, which are also its exponent mask.
const F32_INF: u32 = 0x7f80_0000;
/// Difference of the exponent biases of `f32` (127) and binary16 (15), in place.
const REBIAS: u32 = (127 - 15) << 23;

/// Nearest binary16, ties to even; subnormals are kept, overflow gives infinity, and every NaN
/// becomes the quiet one with the sign it had (`sign | 0x7e00`).
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "every intermediate result has 16 bits")]
pub fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Ten of 23 mantissa bits stay: add half a unit of the last place, minus one if that place is
    // even, and cut. A carry out of the mantissa increments the exponent, as it should.
    let normal = magnitude.wrapping_sub(REBIAS).wrapping_add(0xfff + ((magnitude >> 13) & 1)) >> 13;
    // Below 2^-14 the result counts units of 2^-24. That is also the unit of the last place of
    // 0.5f32, so adding 0.5 makes the processor round to it.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let special = if magnitude > F32_INF { 0x7e00 } else { 0x7c00 };
    let rounded = if magnitude < ((127 - 14) << 23) { subnormal } else { normal };
    let rounded = if magnitude < ((127 + 16) << 23) { rounded } else { special };
    (sign | rounded) as u16
}

/// The value of binary16 `bits`; exact. NaNs become quiet and keep their payload.
#[inline(always)]
#[must_use]
pub fn f16_value(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // A subnormal is (1 + m/1024) * 2^-14 without the leading one.
    const LEADING: u32 = (127 - 14) << 23;
    let subnormal = (f32::from_bits(magnitude | LEADING) - f32::from_bits(LEADING)).to_bits();
    let normal = magnitude + REBIAS;
    let quiet = if magnitude > (31 << 23) { 1 << 22 } else { 0 };
    let special = magnitude | F32_INF | quiet;
    let wide = if magnitude < (1 << 23) { subnormal } else { normal };
    let wide = if magnitude < (31 << 23) { wide } else { special };
    f32::from_bits(sign | wide)
}

/// Nearest bfloat16, ties to even; subnormals are kept, overflow gives infinity, and a NaN keeps
/// its upper half with the quiet bit (bit 6) set.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the upper half of 32 bits is 16 bits")]
pub fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    // Wraps only for NaNs, whose result is not used.
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > F32_INF { quiet } else { rounded }) as u16
}

/// The value of bfloat16 `bits`; exact.
#[inline(always)]
#[must_use]
pub fn bf16_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Whether binary16 `bytes` (little-endian) hold a finite number.
#[inline(always)]
pub(crate) fn f16_is_finite(bytes: [u8; 2]) -> bool {
    u16::from_le_bytes(bytes) & 0x7c00 != 0x7c00
}

/// Reads a little-endian binary16.
#[inline(always)]
pub(crate) fn read_f16(bytes: [u8; 2]) -> f32 {
    f16_value(u16::from_le_bytes(bytes))
}

/// Rounds to binary16; returns the bytes for the file and the value they stand for.
#[inline(always)]
pub(crate) fn store_f16(value: f32) -> ([u8; 2], f32) {
    let bits = f16_bits(value);
    (bits.to_le_bytes(), f16_value(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn widening_agrees_with_half_for_every_pattern() {
        for bits in 0..=u16::MAX {
            assert_eq!(f16_value(bits).to_bits(), f16::from_bits(bits).to_f32().to_bits());
            if !bf16::from_bits(bits).is_nan() {
                assert_eq!(bf16_value(bits).to_bits(), bf16::from_bits(bits).to_f32().to_bits());
            }
        }
    }

    #[test]
    fn rounding_agrees_with_half_around_every_tie() {
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                if value.is_nan() {
                    let sign = high & 0x8000;
                    assert_eq!(f16_bits(value), sign | 0x7e00);
                    assert_eq!(bf16_bits(value), high | 0x40);
                } else {
                    assert_eq!(f16_bits(value), f16::from_f32(value).to_bits(), "{value:e}");
                    assert_eq!(bf16_bits(value), bf16::from_f32(value).to_bits(), "{value:e}");
                }
            }
        }
    }
}
