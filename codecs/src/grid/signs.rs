//! Signs apart from magnitudes, as the `IQ2` and `IQ3` types store them: eight weights, eight bits.
//!
//! Some types store seven bits for eight weights: the number of minus signs has to be even, and the
//! eighth bit is what makes it so. Where it is odd, the weight whose sign costs least is negated and
//! its magnitude becomes negative.

use crate::lockstep::Steps;

/// Weights that share a byte of signs.
pub(crate) const OCTET: usize = 8;
/// Octets in the largest group.
pub(crate) const OCTETS: usize = 4;

/// All eight sign bits for the seven that are stored.
#[inline(always)]
pub(crate) fn eighth(seven: u8) -> u8 {
    let odd = seven.count_ones().to_le_bytes()[0] & 1;
    seven | odd << 7
}

/// Magnitudes, and the signs of each octet: bit `i` of `signs[k]` is set if weight `8 k + i` is
/// negative. `w` are the weights of the error.
#[inline(always)]
pub(crate) fn split<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    even: bool,
) -> (Steps<N, K>, [[u32; N]; OCTETS]) {
    let mut magnitudes = [[0.0; N]; K];
    let mut signs = [[0; N]; OCTETS];
    for k in 0..K / OCTET {
        let mut cheapest = [0u32; N];
        let mut cost = [0.0; N];
        for i in 0..OCTET {
            for lane in 0..N {
                let v = x[OCTET * k + i][lane];
                let minus = v < 0.0;
                magnitudes[OCTET * k + i][lane] = if minus { -v } else { v };
                signs[k][lane] |= u32::from(minus) << i;
                if even {
                    let this = w[OCTET * k + i][lane] * v * v;
                    let less = (this < cost[lane]) | (i == 0);
                    cost[lane] = if less { this } else { cost[lane] };
                    cheapest[lane] = if less { 1 << i } else { cheapest[lane] };
                }
            }
        }
        if even {
            for lane in 0..N {
                let odd = (signs[k][lane].count_ones() & 1).wrapping_neg();
                cheapest[lane] &= odd;
                signs[k][lane] ^= cheapest[lane];
            }
            for i in 0..OCTET {
                for lane in 0..N {
                    let v = magnitudes[OCTET * k + i][lane];
                    let flip = (cheapest[lane] >> i & 1) << 31;
                    magnitudes[OCTET * k + i][lane] = f32::from_bits(v.to_bits() ^ flip);
                }
            }
        }
    }
    (magnitudes, signs)
}

/// `scale * level`, negative where `signs` has a bit set.
#[inline(always)]
pub(crate) fn signed<const D: usize>(levels: &[u8; D], signs: u8, scale: f32, out: &mut [f32; D]) {
    for i in 0..D {
        let minus = u32::from(signs) >> i << 31;
        out[i] = f32::from_bits((scale * f32::from(levels[i])).to_bits() ^ minus);
    }
}

/// Seven signs of each of four octets, and a four-bit scale above them.
#[inline(always)]
pub(crate) fn pack_sevens(signs: &[u8; OCTETS], level: u8) -> u32 {
    let signs = signs.iter().rev().fold(0, |packed, signs| packed << 7 | u32::from(signs & 127));
    signs | u32::from(level) << 28
}

/// The signs of octet `k` in what [`pack_sevens`] gives.
#[inline(always)]
pub(crate) fn sevens(packed: u32, k: usize) -> u8 {
    eighth((packed >> (7 * k)).to_le_bytes()[0] & 127)
}
