//! Working on `N` independent groups of weights side by side.
//!
//! The searches of the reference quantizers sum over a group in order, and the order decides bits.
//! So vectors do not run along a group but across groups: step `i` holds element `i` of `N` groups,
//! and every lane does for its group exactly what a loop over that group would do.

/// `K` steps of `N` lanes.
pub(crate) type Steps<const N: usize, const K: usize> = [[f32; N]; K];

/// Turns up to `N` groups of `K` consecutive values into steps; lanes without a group are zero.
#[inline(always)]
pub(crate) fn transpose<const N: usize, const K: usize>(x: &[f32]) -> Steps<N, K> {
    let mut steps = [[0.0; N]; K];
    let (groups, _) = x.as_chunks::<K>();
    // The full case apart: constant bounds make it vector code.
    if let Some(groups) = groups.first_chunk::<N>() {
        for i in 0..K {
            for lane in 0..N {
                steps[i][lane] = groups[lane][i];
            }
        }
    } else {
        for (lane, group) in groups.iter().enumerate().take(N) {
            for i in 0..K {
                steps[i][lane] = group[i];
            }
        }
    }
    steps
}

/// Copies lanes to where they belong; `out` is shorter than `N` in the last round.
#[inline(always)]
pub(crate) fn store<const N: usize>(lanes: &[f32; N], out: &mut [f32]) {
    for (out, lane) in out.iter_mut().zip(lanes) {
        *out = *lane;
    }
}

/// Sum of squares, in order.
#[inline(always)]
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, v| sum + v * v)
}

/// Weights of the importance-aware searches: `importance * sqrt(spread + x^2)`, where `spread` is
/// a mean square of the surroundings, so that importance also counts for weights near zero.
#[inline(always)]
pub(crate) fn weigh<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    importance: &Steps<N, K>,
    spread: &[f32; N],
) -> Steps<N, K> {
    let mut weights = [[0.0; N]; K];
    for i in 0..K {
        for lane in 0..N {
            let v = x[i][lane];
            weights[i][lane] = importance[i][lane] * (spread[lane] + v * v).sqrt();
        }
    }
    weights
}

/// Weights of `q4_k` and `q5_k` without importance: `|x| + sqrt(m)`, `m` the mean square of the
/// group.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "groups are small")]
pub(crate) fn above_deviation<const N: usize, const K: usize>(x: &Steps<N, K>) -> Steps<N, K> {
    let mut deviation = sum(&squares(x));
    for deviation in &mut deviation {
        *deviation = (*deviation / K as f32).sqrt();
    }
    let mut weights = [[0.0; N]; K];
    for i in 0..K {
        for lane in 0..N {
            weights[i][lane] = deviation[lane] + x[i][lane].abs();
        }
    }
    weights
}

/// Weights of `q2_k` without importance: `|x|`.
#[inline(always)]
pub(crate) fn magnitudes<const N: usize, const K: usize>(x: &Steps<N, K>) -> Steps<N, K> {
    let mut weights = [[0.0; N]; K];
    for i in 0..K {
        for lane in 0..N {
            weights[i][lane] = x[i][lane].abs();
        }
    }
    weights
}

/// Weights of the symmetric types without importance: `x^2`.
#[inline(always)]
pub(crate) fn squares<const N: usize, const K: usize>(x: &Steps<N, K>) -> Steps<N, K> {
    let mut weights = [[0.0; N]; K];
    for i in 0..K {
        for lane in 0..N {
            weights[i][lane] = x[i][lane] * x[i][lane];
        }
    }
    weights
}

/// Sum over each lane, in order.
#[inline(always)]
pub(crate) fn sum<const N: usize, const K: usize>(x: &Steps<N, K>) -> [f32; N] {
    let mut sums = [0.0; N];
    for x in x {
        for lane in 0..N {
            sums[lane] += x[lane];
        }
    }
    sums
}

/// `yes` or `no`, in arithmetic: for a choice between values in memory the compiler likes to branch,
/// or to choose the address, and either ends vector code.
#[inline(always)]
pub(crate) fn choose(condition: bool, yes: f32, no: f32) -> f32 {
    let mask = u32::from(condition).wrapping_neg();
    f32::from_bits((yes.to_bits() & mask) | (no.to_bits() & !mask))
}
