//! The best scale for codes that stand for the values of a table: `x ≈ scale * VALUES[code]`.
//!
//! The table is that of the `IQ4` types (`kvalues_iq4nl` in ggml's block layouts): 16 values, dense
//! around zero. Scales that map the largest magnitude to -134 up to -120 are tried (and, first, the
//! one to +127); for the nearest table values the least-squares scale is computed, and the smallest
//! weighted error wins as in [`crate::search::signed`].

use crate::lockstep::{Steps, choose};
use crate::search::signed::NEGLIGIBLE;

/// What the codes stand for.
pub(crate) const VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The same, for arithmetic.
const LEVELS: [f32; 16] = {
    let mut levels = [0.0; 16];
    let mut k = 0;
    while k < 16 {
        levels[k] = VALUES[k] as f32;
        k += 1;
    }
    levels
};

/// Midpoints between neighbours: exact, being halves of small integers. A value on one belongs to
/// the upper neighbour. Comparing with midpoints decides like comparing the two distances: next to
/// a midpoint both distances are exact differences, and elsewhere they are far from equal.
const MIDPOINTS: [f32; 15] = {
    let mut midpoints = [0.0; 15];
    let mut k = 0;
    while k < 15 {
        midpoints[k] = (LEVELS[k] + LEVELS[k + 1]) / 2.0;
        k += 1;
    }
    midpoints
};

/// Trials map the largest magnitude to `-127 + k`, `k` from -7 to 7.
const TRIALS: [f32; 15] = {
    let mut trials = [0.0; 15];
    let mut k = 0;
    while k < 15 {
        trials[k] = LEVELS[0] - 7.0 + k as f32;
        k += 1;
    }
    trials
};

/// The code of the table value nearest to `x`; the largest one for NaN.
#[inline(always)]
pub(crate) fn code(x: f32) -> u8 {
    let mut code = 0;
    for midpoint in MIDPOINTS {
        // Negated, so that NaN passes.
        #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN counts as above")]
        let above = !(x < midpoint);
        code += u8::from(above);
    }
    code
}

/// The table value nearest to `x`.
#[inline(always)]
pub(crate) fn value(x: f32) -> f32 {
    let mut value = LEVELS[0];
    for k in 0..15 {
        value = if x < MIDPOINTS[k] { value } else { LEVELS[k + 1] };
    }
    value
}

/// The best scales; zero for groups of zeros. `w` are the weights of the error.
#[inline(always)]
pub(crate) fn fit<const N: usize, const K: usize>(x: &Steps<N, K>, w: &Steps<N, K>) -> [f32; N] {
    let (mut magnitude, mut extreme) = ([0.0f32; N], [0.0f32; N]);
    for x in x {
        for lane in 0..N {
            let larger = x[lane].abs() > magnitude[lane];
            magnitude[lane] = if larger { x[lane].abs() } else { magnitude[lane] };
            extreme[lane] = if larger { x[lane] } else { extreme[lane] };
        }
    }
    let (mut scale, mut best) = ([0.0; N], [0.0; N]);
    let (mut along, mut square) = ([0.0; N], [0.0; N]);
    let mut factor = [0.0; N];
    for lane in 0..N {
        factor[lane] = 1.0 / (-extreme[lane] / LEVELS[0]);
    }
    for i in 0..K {
        for lane in 0..N {
            let q = value(factor[lane] * x[i][lane]);
            let wq = w[i][lane] * q;
            along[lane] += wq * x[i][lane];
            square[lane] += wq * q;
        }
    }
    for lane in 0..N {
        scale[lane] = choose(square[lane] > 0.0, along[lane] / square[lane], 0.0);
        best[lane] = scale[lane] * along[lane];
    }
    let near = neighbours(x, &extreme);
    for trial in TRIALS {
        let (mut along, mut square) = ([0.0; N], [0.0; N]);
        for lane in 0..N {
            factor[lane] = trial / extreme[lane];
        }
        for i in 0..K {
            for lane in 0..N {
                let v = x[i][lane];
                let above = factor[lane] * v >= near.midpoint[i][lane];
                // Added, not chosen from two arrays: the compiler would choose an address.
                let q = near.lower[i][lane] + if above { near.gap[i][lane] } else { 0.0 };
                let wq = w[i][lane] * q;
                along[lane] += wq * v;
                square[lane] += wq * q;
            }
        }
        for lane in 0..N {
            let (a, s) = (along[lane], square[lane]);
            let better = (s > 0.0) & (a * a > best[lane] * s);
            let least = a / s;
            scale[lane] = choose(better, least, scale[lane]);
            best[lane] = choose(better, least * a, best[lane]);
        }
    }
    for lane in 0..N {
        scale[lane] = if magnitude[lane] < NEGLIGIBLE { 0.0 } else { scale[lane] };
    }
    scale
}

/// The table values that the trials can give an element, and what separates them.
struct Neighbours<const N: usize, const K: usize> {
    /// The lower one.
    lower: Steps<N, K>,
    /// From the lower to the upper one.
    gap: Steps<N, K>,
    /// From here on it is the upper one.
    midpoint: Steps<N, K>,
}

/// From the first to the last trial an element moves by less than 12 % of its size, and no two
/// midpoints of one sign are that close: so at most one midpoint is passed, and two table values
/// cover all trials.
#[inline(always)]
fn neighbours<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    extreme: &[f32; N],
) -> Neighbours<N, K> {
    let (mut first, mut last) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        first[lane] = TRIALS[0] / extreme[lane];
        last[lane] = TRIALS[14] / extreme[lane];
    }
    let mut near = Neighbours { lower: [[0.0; N]; K], gap: [[0.0; N]; K], midpoint: [[0.0; N]; K] };
    for (i, x) in x.iter().enumerate() {
        for lane in 0..N {
            let (a, b) = (first[lane] * x[lane], last[lane] * x[lane]);
            // The smaller one; a midpoint above it is either passed or never reached.
            let least = if a < b { a } else { b };
            let (mut lower, mut gap, mut midpoint) =
                (LEVELS[0], LEVELS[1] - LEVELS[0], MIDPOINTS[0]);
            for k in 0..15 {
                let above = least >= MIDPOINTS[k];
                lower = if above { LEVELS[k + 1] } else { lower };
                // Above the last midpoint there is nothing more to pass.
                let (next_gap, next) = match k {
                    14 => (0.0, MIDPOINTS[14]),
                    _ => (LEVELS[k + 2] - LEVELS[k + 1], MIDPOINTS[k + 1]),
                };
                gap = if above { next_gap } else { gap };
                midpoint = if above { next } else { midpoint };
            }
            near.lower[i][lane] = lower;
            near.gap[i][lane] = gap;
            near.midpoint[i][lane] = midpoint;
        }
    }
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest table value by comparing distances, as the format's reference does.
    fn by_distance(x: f32) -> usize {
        let upper = LEVELS.iter().position(|level| x < *level).unwrap_or(15);
        match upper {
            0 => 0,
            _ if x >= LEVELS[15] => 15,
            _ if x - LEVELS[upper - 1] < LEVELS[upper] - x => upper - 1,
            _ => upper,
        }
    }

    #[test]
    fn midpoints_decide_like_distances() {
        for step in -1300i16..1300 {
            let x = f32::from(step) / 10.0;
            assert_eq!(usize::from(code(x)), by_distance(x), "{x}");
        }
        for midpoint in MIDPOINTS {
            let mut x = midpoint;
            for _ in 0..100 {
                assert_eq!(usize::from(code(x)), by_distance(x), "{x}");
                assert_eq!(usize::from(code(2.0 * midpoint - x)), by_distance(2.0 * midpoint - x));
                assert_eq!(value(x), LEVELS[by_distance(x)]);
                x = x.next_down();
            }
        }
        assert_eq!((code(f32::NEG_INFINITY), code(f32::INFINITY), code(f32::NAN)), (0, 15, 15));
    }

    #[test]
    fn trials_pass_at_most_one_midpoint() {
        let reach = TRIALS[0] / TRIALS[14];
        for pair in MIDPOINTS.windows(2) {
            let (inner, outer) =
                (pair[0].abs().min(pair[1].abs()), pair[0].abs().max(pair[1].abs()));
            assert!(pair[0].signum() != pair[1].signum() || outer / inner > reach, "{pair:?}");
        }
    }
}
