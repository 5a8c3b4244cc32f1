//! Trellis mode of the types without minima: `x ≈ scale * number(code)`.
//!
//! A scale is looked for in two steps. *Trials* map the value of largest magnitude to a few numbers
//! around the end of the codes' range; each gives codes, and for these the least-squares scale, which
//! leaves the error `Σ w x^2 - (Σ w x q)^2 / Σ w q^2`. Which trials are worth having was found by
//! taking, of a fine series, always the one that lowers the error of normally distributed weights
//! most; with those in use the error is within half a percent of that of the whole series. Then the
//! best scale is rounded to what the layout can hold, codes are rounded anew, and the error is
//! *measured* from the very values that reading the block will give.
//!
//! A block changes only if its measured error is lower by more than the measurement can be wrong
//! ([`Lower`]), so that nobody who computes errors more precisely will find it worse.

pub(crate) mod groups;
mod path;
pub(crate) mod single;

use crate::lockstep::{Steps, choose};
use crate::round::{Quick, Rounding};
use crate::search::table;

/// The numbers that codes stand for. Products of numbers have to be exact in `f32`.
pub(crate) trait Codes {
    /// The number nearest to `x`.
    fn nearest(x: f32) -> f32;
}

/// Integers from `-LIMIT` to `LIMIT - 1`.
pub(crate) struct Signed<const LIMIT: i8>;

impl<const LIMIT: i8> Codes for Signed<LIMIT> {
    #[inline(always)]
    fn nearest(x: f32) -> f32 {
        // For large values too: it rounds wrongly there, but not below the limit.
        Quick::within(x, -f32::from(LIMIT), f32::from(LIMIT) - 1.0)
    }
}

/// The table of the `IQ4` types.
pub(crate) struct Table;

impl Table {
    /// Trials of [`seek`] for it.
    pub(crate) const TRIALS: Trials = Trials {
        plain: &[
            -128.0, 114.0, -135.0, -122.0, -108.0, 120.0, 109.0, -131.0, 90.0, -103.0, -125.0,
            -140.0, -112.0, -119.0, 124.0, -90.0, 117.0, 112.0,
        ],
        weighted: &[
            -129.0, 115.0, -109.0, -139.0, -122.0, 126.0, 109.0, -103.0, 90.0, -145.0, -134.0,
            -90.0, 120.0, -126.0, 132.0, -118.0, -99.0, 105.0, -112.0, -107.0, -149.0, 95.0, 112.0,
            -132.0,
        ],
    };
}

impl Codes for Table {
    #[inline(always)]
    fn nearest(x: f32) -> f32 {
        table::value(x)
    }
}

/// What [`seek`] tries. More is worth having with importance, where the largest value may be of
/// little weight.
pub(crate) struct Trials {
    /// Without importance.
    pub(crate) plain: &'static [f32],
    /// With it.
    pub(crate) weighted: &'static [f32],
}

/// How much errors count.
pub(crate) trait Weights {
    /// That of step `i` in a lane.
    fn at(&self, i: usize, lane: usize) -> f32;
}

impl<const N: usize, const K: usize> Weights for Steps<N, K> {
    #[inline(always)]
    fn at(&self, i: usize, lane: usize) -> f32 {
        self[i][lane]
    }
}

/// All errors count the same.
pub(crate) struct Equal;

impl Weights for Equal {
    #[inline(always)]
    fn at(&self, _i: usize, _lane: usize) -> f32 {
        1.0
    }
}

/// Errors below this are left alone: terms of their sums may have lost bits at the lower end of the
/// float range. No block that half-precision scales can describe comes near.
const LEAST: f32 = 1e-28;

/// Whether an error is lower than another by more than the rounding of both.
///
/// Values are read back exactly as they will be, so each term has a relative error of some 2^-24,
/// and no sum here has more than 48 steps: together less than 2^-18. Where a value lies on the
/// border between two codes, the wrong one may be taken, which adds less than that again. Not true
/// for infinities and NaN, so that blocks that are out of range stay as they are.
#[inline(always)]
pub(crate) fn is_lower(error: f32, than: f32) -> bool {
    const MARGIN: f32 = 1.0 - 1.0 / 32768.0;
    (error < than * MARGIN) & (than > LEAST) & (than < f32::MAX)
}

/// The least-squares scale for the codes of the best trial, per lane.
pub(crate) struct Found<const N: usize> {
    /// The scale; zero in groups of zeros.
    pub(crate) scale: [f32; N],
    /// By how much it lowers the error, compared with zeros.
    pub(crate) gain: [f32; N],
    /// `Σ w q^2`: the error grows by this times the square of a change of the scale, or less.
    pub(crate) square: [f32; N],
}

/// Tries scales that map the value of largest magnitude to `trials`.
#[inline(always)]
pub(crate) fn seek<C: Codes, W: Weights, const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &W,
    trials: &[f32],
) -> Found<N> {
    let (mut low, mut high) = ([0.0f32; N], [0.0f32; N]);
    for x in x {
        for lane in 0..N {
            low[lane] = if x[lane] < low[lane] { x[lane] } else { low[lane] };
            high[lane] = if x[lane] > high[lane] { x[lane] } else { high[lane] };
        }
    }
    let mut inverse = [0.0; N];
    for lane in 0..N {
        inverse[lane] = 1.0 / choose(high[lane] > -low[lane], high[lane], low[lane]);
    }
    let mut found = Found { scale: [0.0; N], gain: [0.0; N], square: [0.0; N] };
    for trial in trials {
        let mut factor = [0.0; N];
        for lane in 0..N {
            factor[lane] = trial * inverse[lane];
        }
        let (mut along, mut square) = ([0.0; N], [0.0; N]);
        for (i, x) in x.iter().enumerate() {
            for lane in 0..N {
                let q = C::nearest(factor[lane] * x[lane]);
                let wq = w.at(i, lane) * q;
                along[lane] += wq * x[lane];
                square[lane] += wq * q;
            }
        }
        for lane in 0..N {
            let (a, s) = (along[lane], square[lane]);
            let scale = a / s;
            let gain = scale * a;
            let better = gain > found.gain[lane];
            found.scale[lane] = choose(better, scale, found.scale[lane]);
            found.gain[lane] = choose(better, gain, found.gain[lane]);
            found.square[lane] = choose(better, s, found.square[lane]);
        }
    }
    found
}

/// Zero for zero, otherwise the inverse: what values are multiplied with to find codes.
#[inline(always)]
pub(crate) fn inverse(scale: f32) -> f32 {
    choose(scale == 0.0, 0.0, 1.0 / scale)
}

/// Error of the nearest codes for the scales.
#[inline(always)]
pub(crate) fn measure<C: Codes, W: Weights, const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &W,
    scale: &[f32; N],
) -> [f32; N] {
    let mut factor = [0.0; N];
    for lane in 0..N {
        factor[lane] = inverse(scale[lane]);
    }
    let mut error = [0.0; N];
    for (i, x) in x.iter().enumerate() {
        for lane in 0..N {
            let v = x[lane];
            let off = v - scale[lane] * C::nearest(factor[lane] * v);
            error[lane] += w.at(i, lane) * off * off;
        }
    }
    error
}

/// Error of the nearest codes for the scales, and `Σ w x q` and `Σ w q^2`.
pub(crate) struct Measured<const N: usize> {
    pub(crate) error: [f32; N],
    pub(crate) along: [f32; N],
    pub(crate) square: [f32; N],
}

/// [`measure`], and what the next least-squares scale needs.
#[inline(always)]
pub(crate) fn measure_all<C: Codes, W: Weights, const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &W,
    scale: &[f32; N],
) -> Measured<N> {
    let mut factor = [0.0; N];
    for lane in 0..N {
        factor[lane] = inverse(scale[lane]);
    }
    let mut all = Measured { error: [0.0; N], along: [0.0; N], square: [0.0; N] };
    for (i, x) in x.iter().enumerate() {
        for lane in 0..N {
            let v = x[lane];
            let q = C::nearest(factor[lane] * v);
            let off = v - scale[lane] * q;
            let wq = w.at(i, lane) * q;
            all.error[lane] += w.at(i, lane) * off * off;
            all.along[lane] += wq * v;
            all.square[lane] += wq * q;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_means_surely_lower() {
        assert!(is_lower(0.999, 1.0));
        assert!(is_lower(0.0, 1.0));
        for (error, than) in [
            (1.0, 1.0),
            (0.99999, 1.0),
            (0.0, 0.0),
            (1e-40, 1e-39),
            (1.0, f32::INFINITY),
            (1.0, f32::NAN),
            (f32::NAN, 1.0),
        ] {
            assert!(!is_lower(error, than), "{error:e} than {than:e}");
        }
    }

    #[test]
    fn multiples_of_a_scale_are_found_and_without_error() {
        // Lanes of zeros, of both signs of the scale, and of the table.
        let codes: [f32; 16] = std::array::from_fn(|i| [-8.0, 7.0, 1.0, -3.0, 0.0][i % 5]);
        let x: Steps<4, 16> = codes.map(|code| [0.0, code * 0.5, code * -0.25, code]);
        let found = seek::<Signed<8>, _, 4, 16>(&x, &Equal, &[-8.5, -8.0, 8.0]);
        assert_eq!(found.scale, [0.0, 0.5, -0.25, 1.0]);
        assert_eq!(measure::<Signed<8>, _, 4, 16>(&x, &Equal, &found.scale), [0.0; 4]);
        let all = measure_all::<Signed<8>, _, 4, 16>(&x, &Equal, &[0.0, 0.5, -0.25, 0.0]);
        let squares: f32 = codes.iter().map(|code| code * code).sum();
        assert_eq!(all.error, [0.0, 0.0, 0.0, squares]);
        assert_eq!(all.square, [0.0, squares, squares, 0.0]);
        assert_eq!(all.along, [0.0, 0.5 * squares, -0.25 * squares, 0.0]);
    }

    #[test]
    fn large_values_get_the_last_codes() {
        for x in [9e6, 1e20, f32::MAX] {
            assert_eq!((Signed::<8>::nearest(x), Signed::<8>::nearest(-x)), (7.0, -8.0));
            assert_eq!((Table::nearest(x), Table::nearest(-x)), (113.0, -127.0));
        }
    }
}
