//! `nvfp4`: 64 weights in four groups of 16, each with a small float as its scale; each weight is a
//! four-bit float.
//!
//! ```text
//! byte    0  1  2  3    4 ............ 35
//!        [d0 d1 d2 d3] [ q0 q1 ...  q31 ]   q[8g + j]: of group g, code of weight j (low), j + 8 (high)
//! ```
//! Value: half the scale times the doubled value of the code ([`crate::fp4`]). Scales are unsigned
//! E4M3: four bits of exponent (bias 7), three of mantissa; 127 counts as zero.
//! Definition: ggml block layout `block_nvfp4` (type 40).
//! Name: `nvfp4`. Limits: rows are a multiple of 64; importance is of no use.
//!
//! The scale is a sixth of the largest magnitude, rounded half up; where that gives 256 or more, it is
//! 448, so magnitudes end at 2688. As in ggml, larger ones become that; but those that no
//! half-precision number holds are refused.

use gmat_core::quant::Need;
use gmat_core::register_quant;

use crate::block32::{apart, max_magnitude};
use crate::fp4;
use crate::round;
use crate::simd::dispatch::{RowCode, dispatched};

/// Weights in a block, and in a group.
const LEN: usize = 64;
const GROUP: usize = 16;
const GROUPS: usize = LEN / GROUP;
const BYTES: usize = 36;
/// Blocks whose scales are worked out together, so that this too is vector code.
const BATCH: usize = 4;
/// The largest scale.
const TOP: u8 = 126;
/// The scale 256, from which on ggml only uses the largest.
const FULL: u8 = 120;
/// A scale that ggml does not write; here the mark of a group that is refused.
const REFUSED: u8 = 127;
/// The largest half-precision number.
const LIMIT: f32 = 65504.0;

/// Half of each scale; the highest bit has no meaning.
const HALF_SCALES: [f32; 256] = {
    let mut scales = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (exponent, mantissa) = (byte >> 3 & 15, byte & 7);
        // In units of 2^-10, half the smallest scale.
        let units = if exponent == 0 { mantissa } else { (8 + mantissa) << (exponent - 1) };
        if byte != REFUSED as usize {
            scales[byte] = units as f32 / 1024.0;
        }
        byte += 1;
    }
    scales
};

/// The kernel of `nvfp4`.
pub(crate) struct Nvfp4;

impl RowCode for Nvfp4 {
    const NAME: &'static str = "nvfp4";
    const GGML_TYPE: u32 = 40;
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
            let groups = x.as_flattened().as_chunks::<GROUP>().0;
            let mut largest = [0.0; BATCH * GROUPS];
            for (largest, x) in largest.iter_mut().zip(groups) {
                *largest = max_magnitude(apart(x));
            }
            let stored = largest.map(|max| nearest_scale(max / 6.0));
            let used = stored.as_chunks::<GROUPS>().0.iter().zip(largest.as_chunks::<GROUPS>().0);
            for ((x, out), (stored, largest)) in x.iter().zip(out).zip(used) {
                let (scales, packed) = out.split_at_mut(GROUPS);
                let groups = x.as_chunks::<GROUP>().0.iter().zip(packed.as_chunks_mut().0);
                for (g, (x, packed)) in groups.enumerate() {
                    let d = HALF_SCALES[usize::from(stored[g])];
                    let codes = if stored[g] < TOP {
                        fp4::codes(x, d)
                    } else {
                        fp4::codes_by_distance(x, d)
                    };
                    scales[g] = if largest[g] > LIMIT { REFUSED } else { stored[g] };
                    pack(&codes, packed);
                }
            }
        }
    }

    #[inline(always)]
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.as_chunks::<BYTES>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
            let (scales, packed) = block.split_at(GROUPS);
            let groups = out.as_chunks_mut::<GROUP>().0.iter_mut().zip(packed.as_chunks().0);
            for ((out, packed), scale) in groups.zip(scales) {
                fp4::values(&unpack(packed), HALF_SCALES[usize::from(*scale)], out);
            }
        }
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        block.iter().take(GROUPS).all(|scale| *scale != REFUSED)
    }
}

/// The byte of the scale nearest to a number that is not negative; of two, that of the larger.
///
/// As in ggml scales end below 256, and all that would round to that or more become the largest.
#[inline(always)]
fn nearest_scale(x: f32) -> u8 {
    // Multiples of 2^-9 below 2^-6; eight of them would be the next exponent, but are made seven.
    let small = round::truncated(x * 512.0 + 0.5).min(7);
    // Three of 23 mantissa bits stay, and the bias goes from 127 to 7.
    let large = ((x.to_bits() + (1 << 19)) >> 20).wrapping_sub((127 - 7) << 3);
    let large = if large < u32::from(FULL) { large } else { u32::from(TOP) };
    if x < 1.0 / 64.0 { small } else { large.to_le_bytes()[0] }
}

/// The codes of a group, two in a byte: number `j` below number `j + 8`.
#[inline(always)]
fn pack(codes: &[u8; GROUP], out: &mut [u8; GROUP / 2]) {
    for j in 0..GROUP / 2 {
        out[j] = codes[j] | codes[j + GROUP / 2] << 4;
    }
}

/// The inverse of [`pack`].
#[inline(always)]
fn unpack(packed: &[u8; GROUP / 2]) -> [u8; GROUP] {
    let mut codes = [0; GROUP];
    for j in 0..GROUP / 2 {
        codes[j] = packed[j] & 15;
        codes[j + GROUP / 2] = packed[j] >> 4;
    }
    codes
}

register_quant!(dispatched::<Nvfp4>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_round_to_the_nearest() {
        for byte in 0..FULL {
            let (this, next) =
                (2.0 * HALF_SCALES[usize::from(byte)], 2.0 * HALF_SCALES[usize::from(byte) + 1]);
            assert_eq!(nearest_scale(this), byte);
            let middle = (this + next) / 2.0;
            let up = if byte + 1 == FULL { TOP } else { byte + 1 };
            // Next to 2^-6 the smaller ones go on.
            if byte != 7 {
                assert_eq!(nearest_scale(middle), up, "{middle}");
            }
            assert_eq!(nearest_scale(middle.next_down().next_down()), byte, "{middle}");
        }
        assert_eq!((nearest_scale(0.0), nearest_scale(f32::MAX)), (0, TOP));
        assert_eq!(2.0 * HALF_SCALES[usize::from(TOP)], 448.0);
        assert_eq!(HALF_SCALES[usize::from(REFUSED)], 0.0);
    }

    #[test]
    fn codes_and_back() {
        let codes: [u8; GROUP] = std::array::from_fn(|i| u8::try_from(i * 7 % 16).unwrap());
        let mut packed = [0; GROUP / 2];
        pack(&codes, &mut packed);
        assert_eq!(unpack(&packed), codes);
        assert_eq!(packed[1], codes[1] | codes[9] << 4);
    }
}
