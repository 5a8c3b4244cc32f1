//! The best scale for codes of both signs: `x ≈ scale * code`, `-limit <= code < limit`.
//!
//! For 19 scales around the one that maps the largest magnitude to `-limit`, codes are rounded and
//! the least-squares scale for these codes computed; the pair with the smallest weighted error
//! wins, the first one on ties. Minimising `Σ w (x - s q)^2` over `s` leaves
//! `Σ w x^2 - (Σ w x q)^2 / Σ w q^2`, so the largest last term is looked for, without dividing.

use crate::lockstep::{Steps, choose};
use crate::round::{Quick, Rounding, nearest_byte};

/// Groups whose largest magnitude is below this are taken for zeros.
pub(crate) const NEGLIGIBLE: f32 = 1e-15;

/// Offsets from `limit` of the values that the largest magnitude is tried on.
const TRIALS: [f32; 19] = {
    let mut trials = [0.0; 19];
    let mut k = 0;
    let mut step = -9.0f32;
    while k < trials.len() {
        trials[k] = 0.1 * step;
        step += 1.0;
        k += 1;
    }
    trials
};
/// The trial with offset 0, which comes first.
const PLAIN: usize = 9;

/// Result of [`fit`], per lane.
pub(crate) struct Fit<const N: usize> {
    /// The scale; zero for groups of zeros.
    pub(crate) scale: [f32; N],
    /// What [`code`] needs: the factor that codes were rounded with, or zero for groups of zeros.
    pub(crate) factor: [f32; N],
}

/// The code that belongs to the fit, counted from `-limit`; zero in groups of zeros.
#[inline(always)]
pub(crate) fn code(x: f32, factor: f32, limit: i8) -> u8 {
    let code = nearest_byte(factor * x, -limit, limit - 1).wrapping_add(limit.cast_unsigned());
    if factor == 0.0 { 0 } else { code }
}

/// The value of largest magnitude, with its sign; of several, the first. Zero is positive.
#[inline(always)]
pub(crate) fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, v| if v.abs() > f32::abs(max) { *v } else { max })
}

/// Finds scales; `w` are the weights of the error.
#[inline(always)]
pub(crate) fn fit<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    limit: i8,
) -> Fit<N> {
    let limit = f32::from(limit);
    let (mut magnitude, mut extreme) = ([0.0f32; N], [0.0f32; N]);
    let mut weighted = [[0.0; N]; K];
    for i in 0..K {
        for lane in 0..N {
            let v = x[i][lane];
            let larger = v.abs() > magnitude[lane];
            magnitude[lane] = if larger { v.abs() } else { magnitude[lane] };
            extreme[lane] = if larger { v } else { extreme[lane] };
            weighted[i][lane] = w[i][lane] * v;
        }
    }
    let mut factor = [0.0; N];
    for lane in 0..N {
        factor[lane] = -limit / extreme[lane];
    }
    let (along, square) = sums(x, w, &weighted, &factor, limit);
    let (mut scale, mut best) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        scale[lane] = if square[lane] == 0.0 { 0.0 } else { along[lane] / square[lane] };
        best[lane] = scale[lane] * along[lane];
    }
    for (k, trial) in TRIALS.iter().enumerate() {
        if k == PLAIN {
            continue;
        }
        let mut tried = [0.0; N];
        for lane in 0..N {
            tried[lane] = -(limit + trial) / extreme[lane];
        }
        let (along, square) = sums(x, w, &weighted, &tried, limit);
        for lane in 0..N {
            let (a, s) = (along[lane], square[lane]);
            let better = (s > 0.0) & (a * a > best[lane] * s);
            let least = a / s;
            scale[lane] = choose(better, least, scale[lane]);
            best[lane] = choose(better, least * a, best[lane]);
            factor[lane] = choose(better, tried[lane], factor[lane]);
        }
    }
    for lane in 0..N {
        let zeros = magnitude[lane] < NEGLIGIBLE;
        scale[lane] = if zeros { 0.0 } else { scale[lane] };
        factor[lane] = if zeros { 0.0 } else { factor[lane] };
    }
    Fit { scale, factor }
}

/// `Σ w x q` and `Σ w q^2` for the codes that `factor` rounds to.
///
/// Products with `factor` stay below `limit + 1` in magnitude, where [`Quick`] is exact.
#[inline(always)]
fn sums<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    weighted: &Steps<N, K>,
    factor: &[f32; N],
    limit: f32,
) -> ([f32; N], [f32; N]) {
    let (mut along, mut square) = ([0.0; N], [0.0; N]);
    for i in 0..K {
        for lane in 0..N {
            let q = Quick::within(factor[lane] * x[i][lane], -limit, limit - 1.0);
            along[lane] += weighted[i][lane] * q;
            square[lane] += w[i][lane] * q * q;
        }
    }
    (along, square)
}
