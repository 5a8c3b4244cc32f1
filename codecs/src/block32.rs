//! What the types with blocks of 32 weights share: extremes of a block and packing of codes.

use crate::lockstep::choose;
use crate::narrow::f16_bits;
use crate::round;
use crate::words::{each, words};

/// Weights in a block.
pub(crate) const LEN: usize = 32;

/// A number of the same order as the value (with -0 below +0); its own inverse on the bits.
///
/// Integers, because the compiler may reorder their minimum and maximum, and so make vectors.
#[inline(always)]
fn key(bits: i32) -> i32 {
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

/// Smallest and largest value. Of zeros of both signs, any.
#[inline(always)]
fn extremes(x: &[f32; LEN]) -> (f32, f32) {
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    for v in x {
        let key = key(v.to_bits().cast_signed());
        low = low.min(key);
        high = high.max(key);
    }
    let value = |k| f32::from_bits(key(k).cast_unsigned());
    (value(low), value(high))
}

/// Largest magnitude, of a block of any length.
#[inline(always)]
pub(crate) fn max_magnitude<const K: usize>(x: &[f32; K]) -> f32 {
    f32::from_bits(x.iter().fold(0, |max, v| max.max(v.to_bits() & 0x7fff_ffff)))
}

/// The value of largest magnitude, with its sign; of several, the first. Zero is positive.
#[inline(always)]
pub(crate) fn extreme(x: &[f32; LEN]) -> f32 {
    let (low, high) = extremes(x);
    if high > -low {
        high
    } else if high < -low {
        low
    } else if high == 0.0 {
        0.0
    } else {
        // Both signs reach it.
        x.iter().copied().find(|v| v.abs() == high).unwrap_or(high)
    }
}

/// Smallest value, and the distance to the largest. Of zeros of both signs, the first.
#[inline(always)]
pub(crate) fn range(x: &[f32; LEN]) -> (f32, f32) {
    let (low, high) = extremes(x);
    let low = if low == 0.0 { x.iter().copied().find(|v| *v == 0.0).unwrap_or(low) } else { low };
    // Not by subtraction where both are zeros, whose signs may differ.
    (low, if low == high { 0.0 } else { high - low })
}

/// Blocks whose scales are worked out together, so that this too is vector code.
pub(crate) const BATCH: usize = 16;

/// The same block; but the compiler does not see that it is one of many, and so makes vectors along
/// it, not across blocks, which it would have to gather element by element.
#[inline(always)]
pub(crate) fn apart<T>(block: &T) -> &T {
    std::hint::black_box(block)
}

/// Scales of a batch as they are stored, and `1/d` for each, zero for zero.
///
/// The latter may overflow. Then `d` is far below anything half precision can hold, all weights are
/// zero anyway, and what ggml computes is undefined in C; compiled by gcc for x86-64 it makes all
/// codes zero, and so do we.
#[inline(always)]
pub(crate) fn scales(d: &[f32; BATCH]) -> ([u16; BATCH], [f32; BATCH]) {
    let mut inverse = [0.0; BATCH];
    for (inverse, d) in inverse.iter_mut().zip(d) {
        *inverse = choose(*d == 0.0, 0.0, 1.0 / d);
    }
    (halves(d), inverse)
}

/// Binary16 of each.
#[inline(always)]
pub(crate) fn halves(values: &[f32; BATCH]) -> [u16; BATCH] {
    let mut halves = [0; BATCH];
    for (half, value) in halves.iter_mut().zip(values) {
        *half = f16_bits(*value);
    }
    halves
}

/// Integer part of a value from 0 up to some tens, at most `top`.
#[inline(always)]
pub(crate) fn truncated(x: f32, top: u8) -> u8 {
    round::truncated(x).min(top)
}

/// Four-bit codes, two in a byte: number `j` below number `j + 16`.
#[inline(always)]
pub(crate) fn pack_nibbles(codes: &[u8; LEN], out: &mut [u8; LEN / 2]) {
    for j in 0..LEN / 2 {
        out[j] = (codes[j] & 15) | (codes[j + LEN / 2] << 4);
    }
}

/// The inverse of [`pack_nibbles`].
#[inline(always)]
pub(crate) fn unpack_nibbles(packed: &[u8; LEN / 2]) -> [u8; LEN] {
    let mut codes = [0; LEN];
    let (low, high) = codes.split_at_mut(LEN / 2);
    for ((low, high), packed) in low.iter_mut().zip(high).zip(packed) {
        *low = packed & 15;
        *high = packed >> 4;
    }
    codes
}

/// The fifth bits of the codes: bit `j` of a little-endian `u32` is that of number `j`.
#[inline(always)]
pub(crate) fn pack_fifth_bits(codes: &[u8; LEN]) -> [u8; 4] {
    let mut bits = [0; 4];
    for (byte, codes) in bits.iter_mut().zip(words::<4>(codes)) {
        let ones = (codes >> 4) & each(1);
        // Factor 2^(56 - 7i) takes bit 8i to bit 56 + i; no other product gets there, or carries.
        *byte = ones.wrapping_mul(0x0102_0408_1020_4080).to_be_bytes()[0];
    }
    bits
}

/// The inverse of [`pack_fifth_bits`] and [`pack_nibbles`] together.
#[inline(always)]
pub(crate) fn unpack_five(bits: [u8; 4], packed: &[u8; LEN / 2]) -> [u8; LEN] {
    let mut codes = unpack_nibbles(packed);
    let high = u32::from_le_bytes(bits);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= if high & (1 << j) == 0 { 0 } else { 16 };
    }
    codes
}

/// What a block holds: `scale * (code - offset) + min`, the offset being that of the type.
pub(crate) struct Parts {
    pub(crate) codes: [u8; LEN],
    pub(crate) scale: f32,
    pub(crate) min: f32,
}

/// Dequantizes blocks, taken apart by `parts`.
#[inline(always)]
pub(crate) fn dequantize<const BYTES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    offset: f32,
    parts: impl Fn(&[u8; BYTES]) -> Parts,
) {
    let blocks = bytes.as_chunks::<BYTES>().0;
    let (fours, rest) = blocks.as_chunks::<4>();
    let (fours_out, rest_out) = out.as_chunks_mut::<LEN>().0.as_chunks_mut::<4>();
    for ([a, b, c, d], out) in fours.iter().zip(fours_out) {
        let parts = [parts(a), parts(b), parts(c), parts(d)];
        // Four blocks in one loop body: one alone is so short that the compiler unrolls it and then
        // makes worse vectors of the pieces.
        for i in 0..LEN {
            for (out, parts) in out.iter_mut().zip(&parts) {
                out[i] = parts.scale * (f32::from(parts.codes[i]) - offset) + parts.min;
            }
        }
    }
    for (block, out) in rest.iter().zip(rest_out) {
        let parts = parts(block);
        for (value, code) in out.iter_mut().zip(parts.codes) {
            *value = parts.scale * (f32::from(code) - offset) + parts.min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_and_back() {
        let codes: [u8; LEN] = std::array::from_fn(|j| u8::try_from(j * 13 % 32).unwrap_or(0));
        let mut packed = [0; LEN / 2];
        pack_nibbles(&codes, &mut packed);
        assert_eq!(unpack_nibbles(&packed), codes.map(|code| code & 15));
        assert_eq!(unpack_five(pack_fifth_bits(&codes), &packed), codes);
        // Number 3 is 7, number 19 is 23.
        assert_eq!((packed[3], pack_fifth_bits(&codes)), (0x77, [0x94, 0x52, 0x6b, 0xad]));
    }

    #[test]
    fn ties_and_zeros_follow_the_first() {
        let mut x = [0.0; LEN];
        assert_eq!(extreme(&x).to_bits(), 0);
        x[7] = -2.0;
        x[9] = 2.0;
        assert_eq!(extreme(&x), -2.0);
        assert_eq!(max_magnitude(&x), 2.0);
        assert_eq!(range(&x), (-2.0, 4.0));
        let mut zeros = [0.0; LEN];
        zeros[0] = -0.0;
        let (low, span) = range(&zeros);
        assert_eq!((low.to_bits(), span.to_bits()), ((-0.0f32).to_bits(), 0));
        zeros[0] = 0.0;
        zeros[1] = -0.0;
        assert_eq!(range(&zeros).0.to_bits(), 0);
    }
}
