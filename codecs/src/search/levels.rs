//! Levels for the scales (or minima) of a super-block: `value ≈ scale * level`, `0 <= level <= top`,
//! each value weighted with the sum of the weights of its group.
//!
//! Nine scales around `top / max` are compared by weighted square error; then up to five rounds move
//! single levels to where the least-squares scale of all the others wants them, as long as that
//! lowers the error.

use crate::lockstep::{Steps, choose};
use crate::round::nearest;
use crate::search::signed::NEGLIGIBLE;

/// Offsets of the eight further trials from `top`.
const TRIALS: [f32; 8] = {
    let mut trials = [0.0; 8];
    let mut k = 0;
    while k < 8 {
        // Without 0, the plain one.
        let step = if k < 4 { k as f32 - 4.0 } else { k as f32 - 3.0 };
        trials[k] = 0.1 * step;
        k += 1;
    }
    trials
};

/// Result of [`fit`], per lane.
pub(crate) struct Fit<const N: usize, const K: usize> {
    /// The common scale.
    pub(crate) scale: [f32; N],
    /// The levels.
    pub(crate) levels: [[u8; N]; K],
}

/// Finds levels.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "levels have at most 23 bits")]
pub(crate) fn fit<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    top: u8,
) -> Fit<N, K> {
    let (limit, top) = (f32::from(top), i32::from(top));
    let mut max = [0.0f32; N];
    for x in x {
        for lane in 0..N {
            max[lane] = if max[lane] > x[lane] { max[lane] } else { x[lane] };
        }
    }
    let (mut factor, mut best) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        factor[lane] = limit / max[lane];
    }
    for i in 0..K {
        for lane in 0..N {
            // Without a limit, but kept in a byte: a value may be above `max` by rounding only.
            let level = nearest(factor[lane] * x[i][lane]) & 255;
            let difference = x[i][lane] - (1.0 / factor[lane]) * level as f32;
            best[lane] += w[i][lane] * difference * difference;
        }
    }
    for trial in TRIALS {
        let (mut tried, mut scale, mut error) = ([0.0; N], [0.0; N], [0.0; N]);
        for lane in 0..N {
            tried[lane] = (trial + limit) / max[lane];
            scale[lane] = 1.0 / tried[lane];
        }
        for i in 0..K {
            for lane in 0..N {
                let level = at_most(nearest(tried[lane] * x[i][lane]), top);
                let difference = x[i][lane] - scale[lane] * level as f32;
                error[lane] += w[i][lane] * difference * difference;
            }
        }
        for lane in 0..N {
            let better = error[lane] < best[lane];
            best[lane] = choose(better, error[lane], best[lane]);
            factor[lane] = choose(better, tried[lane], factor[lane]);
        }
    }
    let mut levels = [[0; N]; K];
    let (mut along, mut square) = ([0.0; N], [0.0; N]);
    for i in 0..K {
        for lane in 0..N {
            let level = at_most(nearest(factor[lane] * x[i][lane]), top);
            levels[i][lane] = level & 255;
            let q = level as f32;
            along[lane] += w[i][lane] * x[i][lane] * q;
            square[lane] += w[i][lane] * q * q;
        }
    }
    for _ in 0..5 {
        if !improve(x, w, top, &mut levels, &mut along, &mut square) {
            break;
        }
    }
    let mut scale = [0.0; N];
    let mut bytes = [[0; N]; K];
    for lane in 0..N {
        let zeros = max[lane] < NEGLIGIBLE;
        let least = if square[lane] > 0.0 { along[lane] / square[lane] } else { 0.0 };
        scale[lane] = if zeros { 0.0 } else { least };
        for (byte, level) in bytes.iter_mut().zip(&levels) {
            byte[lane] = if zeros { 0 } else { level[lane].to_le_bytes()[0] };
        }
    }
    Fit { scale, levels: bytes }
}

/// One round over all values; whether any level changed. Lanes that are done do not change again.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "levels have at most 23 bits")]
fn improve<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    top: i32,
    levels: &mut [[i32; N]; K],
    along: &mut [f32; N],
    square: &mut [f32; N],
) -> bool {
    let mut changed = false;
    for i in 0..K {
        for lane in 0..N {
            let (x, w, old) = (x[i][lane], w[i][lane], levels[i][lane]);
            let (a, s) = (along[lane], square[lane]);
            // Sums over the others, and what the best scale for them wants here.
            let a_rest = a - w * x * old as f32;
            let s_rest = s - w * old as f32 * old as f32;
            let new = at_most(nearest(x * s_rest / a_rest), top);
            let a_new = a_rest + w * x * new as f32;
            let s_new = s_rest + w * new as f32 * new as f32;
            let better = (a_rest > 0.0)
                & (s_rest > 0.0)
                & (new != old)
                & (a_new * a_new * s > a * a * s_new);
            levels[i][lane] = if better { new & 255 } else { old };
            along[lane] = choose(better, a_new, a);
            square[lane] = choose(better, s_new, s);
            changed |= better;
        }
    }
    changed
}

/// The smaller one.
#[inline(always)]
fn at_most(n: i32, top: i32) -> i32 {
    if n > top { top } else { n }
}
