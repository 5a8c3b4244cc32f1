//! `tq1_0`: 256 weights share a scale; each is minus one, zero or one times it, five in a byte.
//!
//! ```text
//! byte    0 ........... 47   48 .. 51   52 53
//!        [ q0 q1 ...  q47 ] [ h0..h3 ]  [ d ]   d: binary16
//! ```
//! | byte | weights, most significant first |
//! |---|---|
//! | `q[l]`, `l < 32` | `l`, `l + 32`, `l + 64`, `l + 96`, `l + 128` |
//! | `q[32 + l]`, `l < 16` | `160 + l`, then four more in steps of 16 |
//! | `h[l]` | `240 + l`, then three more in steps of 4, then a zero digit |
//!
//! Codes 0, 1, 2 are digits of a number below 3^5 = 243, which is stored as a fraction of 256
//! (rounded up): so each multiplication by three carries the next digit out of the byte.
//! Value: `d * (code - 1)`. Definition: ggml block layout `block_tq1_0` (type 34).
//! Name: `tq1_0`. Limits: rows are a multiple of 256; importance is of no use.
//!
//! `d` is the largest magnitude; codes are rounded with `d` before its own rounding to half
//! precision.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::narrow::{f16_bits, f16_is_finite, read_f16};
use crate::simd::dispatch::{RowCode, dispatched};
use crate::superblock::LEN;
use crate::trits;

const BYTES: usize = 54;
/// Bytes with steps of 32, of 16 and of 4; weights in them.
const FIRST: (usize, usize) = (32, 5 * 32);
const SECOND: (usize, usize) = (16, 5 * 16);
const THIRD: (usize, usize) = (4, 4 * 4);

/// The kernel of `tq1_0`.
pub(crate) struct Tq1_0;

impl RowCode for Tq1_0 {
    const NAME: &'static str = "tq1_0";
    const GGML_TYPE: u32 = 34;
    const ELEMS: usize = LEN;
    const BYTES: usize = BYTES;
    const NEED: Need = Need::Ignored;

    #[inline(always)]
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        for (x, out) in x.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0) {
            let [packed @ .., d0, d1] = out;
            let (d, inverse) = trits::scale(x);
            [*d0, *d1] = f16_bits(d).to_le_bytes();
            // ggml makes an overflow of `1 / d` zeros, as the C library rounds what comes of it.
            let inverse = if inverse.is_finite() { inverse } else { 0.0 };
            pack(&trits::codes(x, inverse), packed);
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for ([packed @ .., d0, d1], out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            trits::values(&unpack(packed), read_f16([*d0, *d1]), out);
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        matches!(block, &[.., d0, d1] if f16_is_finite([d0, d1]))
    }
}

/// All codes of a block.
#[inline(always)]
fn pack(codes: &[u8; LEN], out: &mut [u8; BYTES - 2]) {
    let (first, rest) = codes.split_at(FIRST.1);
    let (second, third) = rest.split_at(SECOND.1);
    let (out_first, out) = out.split_at_mut(FIRST.0);
    let (out_second, out_third) = out.split_at_mut(SECOND.0);
    pack_digits::<{ FIRST.0 }>(first, out_first);
    pack_digits::<{ SECOND.0 }>(second, out_second);
    pack_digits::<{ THIRD.0 }>(third, out_third);
}

/// Up to five rows of `W` codes, as the digits of `W` bytes.
#[inline(always)]
fn pack_digits<const W: usize>(codes: &[u8], out: &mut [u8]) {
    let mut numbers = [0u8; W];
    let rows = codes.as_chunks::<W>().0;
    for row in rows {
        for (number, code) in numbers.iter_mut().zip(row) {
            *number = *number * 3 + code;
        }
    }
    // The digit that four rows lack.
    let lift = if rows.len() == 5 { 1 } else { 3 };
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = (u16::from(number * lift) * 256).div_ceil(243).to_le_bytes()[0];
    }
}

/// The inverse of [`pack`]; digits for any bytes.
#[inline(always)]
fn unpack(packed: &[u8; BYTES - 2]) -> [u8; LEN] {
    let mut codes = [0; LEN];
    let (first, rest) = codes.split_at_mut(FIRST.1);
    let (second, third) = rest.split_at_mut(SECOND.1);
    let (packed_first, packed) = packed.split_at(FIRST.0);
    let (packed_second, packed_third) = packed.split_at(SECOND.0);
    unpack_digits::<{ FIRST.0 }>(packed_first, first);
    unpack_digits::<{ SECOND.0 }>(packed_second, second);
    unpack_digits::<{ THIRD.0 }>(packed_third, third);
    codes
}

/// The inverse of [`pack_digits`].
#[inline(always)]
fn unpack_digits<const W: usize>(packed: &[u8], codes: &mut [u8]) {
    let mut fractions = [0; W];
    fractions.copy_from_slice(packed);
    for row in codes.as_chunks_mut::<W>().0 {
        for (code, fraction) in row.iter_mut().zip(&mut fractions) {
            let tripled = u16::from(*fraction) * 3;
            [*fraction, *code] = tripled.to_le_bytes();
        }
    }
}

register_quant!(dispatched::<Tq1_0>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_back() {
        for shift in 0..3 {
            let codes: [u8; LEN] =
                std::array::from_fn(|i| u8::try_from((i * i / 7 + i / 32 + shift) % 3).unwrap());
            let mut packed = [0; BYTES - 2];
            pack(&codes, &mut packed);
            assert_eq!(unpack(&packed), codes);
        }
        // The largest number is the largest byte, and the first weight its first digit.
        let mut packed = [0; BYTES - 2];
        pack(&[2; LEN], &mut packed);
        assert_eq!((packed[0], packed[47], packed[51]), (255, 255, 253));
        let mut one = [0; LEN];
        one[240] = 1;
        pack(&one, &mut packed);
        assert_eq!(packed[48], 86);
    }
}
