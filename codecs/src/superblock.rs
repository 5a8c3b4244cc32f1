//! What the types with super-blocks of 256 weights share: packing of codes and scales, mean squares.

use crate::words::{each, put, words};

/// Weights in a super-block.
pub(crate) const LEN: usize = 256;

/// Super-blocks treated together: their groups are lanes in the search for scales, and they
/// themselves in the search for levels of these scales.
pub(crate) const TILE: usize = 16;

/// Magnitude above which a block is refused, by giving it a scale that is not a number.
///
/// No type with half-precision scales reaches a tenth of it: below, the scale becomes infinite by
/// itself. Above, products of three weights may overflow in the searches, and what is left of them
/// would not always look broken.
const TOO_LARGE: f32 = 1e10;

/// `d`, or NaN if a weight is too large for any type with half-precision scales.
#[inline(always)]
pub(crate) fn refuse_large<const K: usize>(x: &[f32; K], d: f32) -> f32 {
    let large = x.iter().fold(false, |large, v| large | (v.abs() > TOO_LARGE));
    if large { f32::NAN } else { d }
}

/// Sum of squares of each super-block, in order; in fours, such that wide vectors do not collect the
/// values of a step one by one.
#[inline(always)]
pub(crate) fn sums_of_squares(x: &[f32]) -> [f32; TILE] {
    let mut sums = [0.0; TILE];
    let (fours, rest) = x.as_chunks::<LEN>().0.as_chunks::<4>();
    // Four sums at once: one alone would wait for each addition.
    for ([a, b, c, d], sums) in fours.iter().zip(sums.as_chunks_mut::<4>().0) {
        let quarters = a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0);
        let others = c.as_chunks::<4>().0.iter().zip(d.as_chunks::<4>().0);
        for ((a, b), (c, d)) in quarters.zip(others) {
            let [a, b, c, d] = [a, b, c, d].map(|x| x.map(|v| v * v));
            for i in 0..4 {
                sums[0] += a[i];
                sums[1] += b[i];
                sums[2] += c[i];
                sums[3] += d[i];
            }
        }
    }
    for (x, sum) in rest.iter().zip(sums.iter_mut().skip(4 * fours.len())) {
        *sum = crate::lockstep::sum_of_squares(x);
    }
    sums
}

/// `N` bytes of a block, from a fixed place.
#[inline(always)]
pub(crate) fn bytes_at<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| block[at + i])
}

/// `scale * (code - offset) - min` for each group of `K` weights.
#[inline(always)]
pub(crate) fn values<const K: usize, const S: usize>(
    codes: &[u8; LEN],
    offset: f32,
    scale: &[f32; S],
    min: &[f32; S],
    out: &mut [f32; LEN],
) {
    // Four groups in one loop body: one alone is so short that the compiler unrolls it and then
    // makes vectors across groups, with scattered stores.
    let codes = codes.as_chunks::<K>().0.as_chunks::<4>().0;
    let out = out.as_chunks_mut::<K>().0.as_chunks_mut::<4>().0;
    let factors = scale.as_chunks::<4>().0.iter().zip(min.as_chunks::<4>().0);
    for ((codes, out), (scale, min)) in codes.iter().zip(out).zip(factors) {
        for i in 0..K {
            for j in 0..4 {
                out[j][i] = scale[j] * (f32::from(codes[j][i]) - offset) - min[j];
            }
        }
    }
}

/// Two-bit codes, four in a byte. Of each half of the super-block, byte `l` holds the codes of
/// weights `l`, `l + 32`, `l + 64`, `l + 96`, lowest bits first. Higher bits of codes are cut.
#[inline(always)]
pub(crate) fn pack_twos(codes: &[u8; LEN], out: &mut [u8]) {
    let halves = codes.as_chunks::<32>().0.as_chunks::<4>().0;
    for ([a, b, c, d], out) in halves.iter().zip(out.as_chunks_mut::<32>().0) {
        let (a, b, c, d) = (words::<4>(a), words::<4>(b), words::<4>(c), words::<4>(d));
        let mut packed = [0; 4];
        for l in 0..4 {
            packed[l] = (a[l] & each(3))
                | (b[l] & each(3)) << 2
                | (c[l] & each(3)) << 4
                | (d[l] & each(3)) << 6;
        }
        put(&packed, out);
    }
}

/// The inverse of [`pack_twos`].
#[inline(always)]
pub(crate) fn unpack_twos(packed: &[u8]) -> [u8; LEN] {
    let mut codes = [0; LEN];
    let halves = codes.as_chunks_mut::<32>().0.as_chunks_mut::<4>().0;
    for (packed, codes) in packed.as_chunks::<32>().0.iter().zip(halves) {
        for (k, codes) in codes.iter_mut().enumerate() {
            let mut codes_of = words::<4>(packed);
            for word in &mut codes_of {
                *word = (*word >> (2 * k)) & each(3);
            }
            put(&codes_of, codes);
        }
    }
    codes
}

/// Four-bit codes, two in a byte. Of each quarter, byte `l` holds the codes of weights `l` (low)
/// and `l + 32` (high). Higher bits of codes are cut.
#[inline(always)]
pub(crate) fn pack_nibbles(codes: &[u8; LEN], out: &mut [u8]) {
    let quarters = codes.as_chunks::<32>().0.as_chunks::<2>().0;
    for ([a, b], out) in quarters.iter().zip(out.as_chunks_mut::<32>().0) {
        let (mut packed, b) = (words::<4>(a), words::<4>(b));
        for l in 0..4 {
            packed[l] = (packed[l] & each(15)) | (b[l] & each(15)) << 4;
        }
        put(&packed, out);
    }
}

/// The inverse of [`pack_nibbles`].
#[inline(always)]
pub(crate) fn unpack_nibbles(packed: &[u8]) -> [u8; LEN] {
    let mut codes = [0; LEN];
    let quarters = codes.as_chunks_mut::<32>().0.as_chunks_mut::<2>().0;
    for (packed, [a, b]) in packed.as_chunks::<32>().0.iter().zip(quarters) {
        let (mut low, mut high) = (words::<4>(packed), words::<4>(packed));
        for l in 0..4 {
            low[l] &= each(15);
            high[l] = (high[l] >> 4) & each(15);
        }
        put(&low, a);
        put(&high, b);
    }
    codes
}

/// One bit of each code: bit `k` of byte `l` is bit `BIT` of the code of weight `32 k + l`.
#[inline(always)]
pub(crate) fn pack_bits<const BIT: u8>(codes: &[u8; LEN]) -> [u8; LEN / 8] {
    let mut packed = [0; 4];
    for (k, codes) in codes.as_chunks::<32>().0.iter().enumerate() {
        for (packed, word) in packed.iter_mut().zip(words::<4>(codes)) {
            *packed |= ((word >> BIT) & each(1)) << k;
        }
    }
    let mut out = [0; LEN / 8];
    put(&packed, &mut out);
    out
}

/// The inverse of [`pack_bits`]: sets these bits.
#[inline(always)]
pub(crate) fn unpack_bits<const BIT: u8>(packed: &[u8; LEN / 8], codes: &mut [u8; LEN]) {
    let packed = words::<4>(packed);
    for (k, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let mut all = words::<4>(codes);
        for (word, packed) in all.iter_mut().zip(packed) {
            *word |= ((packed >> k) & each(1)) << BIT;
        }
        put(&all, codes);
    }
}

/// Six-bit scales of sixteen groups in twelve bytes.
///
/// ```text
/// byte 0-7    bits 0-3 of scales 0-7 (low), of scales 8-15 (high)
/// byte 8-11   bits 4-5 of scales j, j + 4, j + 8, j + 12, lowest bits first
/// ```
#[inline(always)]
pub(crate) fn pack_sixteen_sixes(scales: &[u8; 16]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..8 {
        packed[j] = (scales[j] & 15) | scales[j + 8] << 4;
    }
    for j in 0..4 {
        packed[j + 8] = scales[j] >> 4
            | (scales[j + 4] >> 4) << 2
            | (scales[j + 8] >> 4) << 4
            | (scales[j + 12] >> 4) << 6;
    }
    packed
}

/// The inverse of [`pack_sixteen_sixes`].
#[inline(always)]
pub(crate) fn unpack_sixteen_sixes(packed: &[u8; 12]) -> [u8; 16] {
    let mut scales = [0; 16];
    for j in 0..8 {
        scales[j] = packed[j] & 15;
        scales[j + 8] = packed[j] >> 4;
    }
    for j in 0..16 {
        scales[j] |= ((packed[8 + j % 4] >> (2 * (j / 4))) & 3) << 4;
    }
    scales
}

/// Six-bit scales and minima of eight groups in twelve bytes.
///
/// ```text
/// byte 0-3    scales 0-3 (bits 0-5), bits 4-5 of scales 4-7 (bits 6-7)
/// byte 4-7    minima 0-3 (bits 0-5), bits 4-5 of minima 4-7 (bits 6-7)
/// byte 8-11   bits 0-3 of scales 4-7 (low), of minima 4-7 (high)
/// ```
#[inline(always)]
pub(crate) fn pack_sixes(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | (scales[j + 4] >> 4) << 6;
        packed[j + 4] = mins[j] | (mins[j + 4] >> 4) << 6;
        packed[j + 8] = (scales[j + 4] & 15) | mins[j + 4] << 4;
    }
    packed
}

/// The inverse of [`pack_sixes`].
#[inline(always)]
pub(crate) fn unpack_sixes(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = (packed[j + 8] & 15) | (packed[j] >> 6) << 4;
        mins[j + 4] = packed[j + 8] >> 4 | (packed[j + 4] >> 6) << 4;
    }
    (scales, mins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes() -> [u8; LEN] {
        std::array::from_fn(|i| u8::try_from(i * 37 % 64).unwrap_or(0))
    }

    #[test]
    fn codes_and_back() {
        let codes = codes();
        let (mut twos, mut nibbles) = ([0; LEN / 4], [0; LEN / 2]);
        pack_twos(&codes, &mut twos);
        pack_nibbles(&codes, &mut nibbles);
        assert_eq!(unpack_twos(&twos), codes.map(|code| code & 3));
        let mut five = unpack_nibbles(&nibbles);
        assert_eq!(five, codes.map(|code| code & 15));
        unpack_bits::<4>(&pack_bits::<4>(&codes), &mut five);
        assert_eq!(five, codes.map(|code| code & 31));
        // Where single weights go.
        let mut one = [0; LEN];
        one[128 + 64 + 5] = 3;
        pack_twos(&one, &mut twos);
        assert_eq!(twos[32 + 5], 3 << 4);
        pack_nibbles(&one, &mut nibbles);
        assert_eq!(nibbles[96 + 5], 3);
        assert_eq!(pack_bits::<1>(&one)[5], 1 << 6);
    }

    #[test]
    fn sixes_and_back() {
        let scales = [1, 63, 17, 32, 48, 5, 62, 33];
        let mins = [63, 0, 9, 40, 16, 31, 61, 7];
        let packed = pack_sixes(&scales, &mins);
        assert_eq!(unpack_sixes(&packed), (scales, mins));
        assert_eq!(packed[0], 1 | 3 << 6);
        assert_eq!(packed[8], 0);
        assert_eq!(packed[9], 5 | 15 << 4);
        let sixteen = [scales, mins].as_flattened().try_into();
        let packed = sixteen.map(|scales| (scales, pack_sixteen_sixes(&scales)));
        assert!(packed.is_ok_and(|(scales, packed)| unpack_sixteen_sixes(&packed) == scales));
    }
}
