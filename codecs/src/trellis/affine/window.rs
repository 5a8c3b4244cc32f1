//! Windows of levels around those of a group, compared by exact error, and factors fitted to codes.
//!
//! A value is read as `d * scale * code - dmin * min`, `scale` and `min` being the levels. In units
//! of `d * scale` the code of a weight is simply its nearest integer, so the error for several
//! minima takes eight operations each.

use crate::lockstep::{Steps, choose};
use crate::narrow::{f16_bits, f16_value};
use crate::round::{Quick, Rounding};
use crate::trellis::affine::State;

/// What the layout of a type allows.
pub(crate) struct Limits {
    /// The largest code.
    pub(crate) top: f32,
    /// The largest level.
    pub(crate) levels: f32,
}

/// Levels of all groups: small integers.
#[derive(Clone, Copy)]
pub(crate) struct Levels<const N: usize> {
    /// Of the scales.
    pub(crate) scale: [f32; N],
    /// Of the minima.
    pub(crate) min: [f32; N],
}

/// The best minimum for a scale.
#[derive(Clone, Copy)]
pub(crate) struct Choice<const N: usize> {
    /// The levels.
    pub(crate) levels: Levels<N>,
    /// The error of the group.
    pub(crate) error: [f32; N],
}

/// The best minima for the scale in the middle, the next lower and the next higher one.
pub(crate) struct Choices<const N: usize>(pub(crate) [Choice<N>; 3]);

/// Steps from the middle; the middle comes first, so that it wins when nothing is gained.
const SCALES: [f32; 11] = [0.0, -1.0, 1.0, -2.0, 2.0, -3.0, 3.0, -4.0, 4.0, -5.0, 5.0];
/// The same for minima.
const MINS: [f32; 5] = [0.0, -1.0, 1.0, -2.0, 2.0];

/// All choices up to one step away.
#[inline(always)]
pub(crate) fn choices<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &State<N>,
    limits: &Limits,
) -> Choices<N> {
    Choices([
        with_scale::<3, N, K>(x, w, state, SCALES[0], limits),
        with_scale::<3, N, K>(x, w, state, SCALES[1], limits),
        with_scale::<3, N, K>(x, w, state, SCALES[2], limits),
    ])
}

/// Moves each group to the best levels up to one step away; returns the errors.
#[inline(always)]
pub(crate) fn narrow<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &mut State<N>,
    limits: &Limits,
) -> [f32; N] {
    let Choices([mut best, lower, higher]) = choices(x, w, state, limits);
    take_better(&mut best, &lower);
    take_better(&mut best, &higher);
    state.levels = best.levels;
    best.error
}

/// Moves each group to the best levels up to five steps of the scale away; returns the errors.
///
/// With a larger scale usually belongs a larger minimum, so that the middle of the range stays.
#[inline(always)]
pub(crate) fn wide<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &mut State<N>,
    limits: &Limits,
) -> [f32; N] {
    let middle = *state;
    let mut best = with_scale::<5, N, K>(x, w, &middle, SCALES[0], limits);
    for step in &SCALES[1..] {
        take_better(&mut best, &with_scale::<5, N, K>(x, w, &middle, *step, limits));
    }
    state.levels = best.levels;
    best.error
}

/// Errors with the levels as they are.
#[inline(always)]
pub(crate) fn here<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &State<N>,
    limits: &Limits,
) -> [f32; N] {
    with_scale::<1, N, K>(x, w, state, 0.0, limits).error
}

/// Takes over groups with less error.
#[inline(always)]
fn take_better<const N: usize>(best: &mut Choice<N>, choice: &Choice<N>) {
    for lane in 0..N {
        let better = choice.error[lane] < best.error[lane];
        for (best, new) in [
            (&mut best.levels.scale, &choice.levels.scale),
            (&mut best.levels.min, &choice.levels.min),
            (&mut best.error, &choice.error),
        ] {
            best[lane] = choose(better, new[lane], best[lane]);
        }
    }
}

/// The best of `M` minima for the scale `step` levels away.
#[inline(always)]
fn with_scale<const M: usize, const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &State<N>,
    step: f32,
    limits: &Limits,
) -> Choice<N> {
    let (mut scale, mut size, mut inverse) = ([0.0; N], [0.0; N], [0.0; N]);
    let (mut min, mut offset) = ([[0.0; N]; M], [[0.0; N]; M]);
    for lane in 0..N {
        let old = state.levels.scale[lane];
        // A scale of zero gains nothing: with codes of zero any other scale does the same.
        scale[lane] = within(old + step, 1.0, limits.levels);
        size[lane] = state.d[lane] * scale[lane];
        inverse[lane] = 1.0 / size[lane];
    }
    for j in 0..M {
        for lane in 0..N {
            let (old, per_scale) = (state.levels.min[lane], state.levels.scale[lane]);
            let slope = if per_scale > 0.0 { old / per_scale } else { 0.0 };
            let slope = if slope < 2.0 { slope } else { 2.0 };
            let follow = step * slope;
            min[j][lane] = Quick::within(old + MINS[j] + follow, 0.0, limits.levels);
            offset[j][lane] = state.dmin[lane] * min[j][lane] * inverse[lane];
        }
    }
    let errors = errors::<M, N, K>(x, w, &inverse, &offset, limits.top);
    let (mut error, mut best) = (errors[0], min[0]);
    for j in 1..M {
        for lane in 0..N {
            let better = errors[j][lane] < error[lane];
            error[lane] = choose(better, errors[j][lane], error[lane]);
            best[lane] = choose(better, min[j][lane], best[lane]);
        }
    }
    for lane in 0..N {
        error[lane] *= size[lane] * size[lane];
    }
    Choice { levels: Levels { scale, min: best }, error }
}

/// `x` limited to `low..=high`.
#[inline(always)]
fn within(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// Errors of `code = x * inverse + offset`, in units of codes.
#[inline(always)]
fn errors<const M: usize, const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    inverse: &[f32; N],
    offset: &[[f32; N]; M],
    top: f32,
) -> [[f32; N]; M] {
    let mut errors = [[0.0; N]; M];
    for i in 0..K {
        let mut scaled = [0.0; N];
        for lane in 0..N {
            scaled[lane] = x[i][lane] * inverse[lane];
        }
        for j in 0..M {
            for lane in 0..N {
                let code = scaled[lane] + offset[j][lane];
                let difference = Quick::within(code, 0.0, top) - code;
                errors[j][lane] += w[i][lane] * (difference * difference);
            }
        }
    }
    errors
}

/// Sums over a group for the codes of its levels.
struct Sums<const N: usize> {
    /// Of weights.
    w: [f32; N],
    /// Of weights times values.
    x: [f32; N],
    /// Of weights times codes.
    q: [f32; N],
    /// Of weights times squared codes.
    qq: [f32; N],
    /// Of weights times values times codes.
    xq: [f32; N],
}

#[inline(always)]
fn sums<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &State<N>,
    limits: &Limits,
) -> Sums<N> {
    let zero = [0.0; N];
    let mut sums = Sums { w: zero, x: zero, q: zero, qq: zero, xq: zero };
    let (mut inverse, mut offset) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        inverse[lane] = 1.0 / (state.d[lane] * state.levels.scale[lane]);
        offset[lane] = state.dmin[lane] * state.levels.min[lane] * inverse[lane];
    }
    for i in 0..K {
        for lane in 0..N {
            let (v, w) = (x[i][lane], w[i][lane]);
            let q = Quick::within(v * inverse[lane] + offset[lane], 0.0, limits.top);
            let wq = w * q;
            sums.w[lane] += w;
            sums.x[lane] += w * v;
            sums.q[lane] += wq;
            sums.qq[lane] += wq * q;
            sums.xq[lane] += wq * v;
        }
    }
    sums
}

/// Scales and minima as real numbers: least squares for the codes of a state.
pub(crate) struct Lines<const N: usize> {
    scale: [f32; N],
    min: [f32; N],
}

/// The best line of each group; that of the levels themselves where there is none, or one with a
/// minimum above zero.
#[inline(always)]
pub(crate) fn lines<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &State<N>,
    limits: &Limits,
) -> Lines<N> {
    let sums = sums(x, w, state, limits);
    let mut lines = Lines { scale: [0.0; N], min: [0.0; N] };
    for lane in 0..N {
        let (w, x, q) = (sums.w[lane], sums.x[lane], sums.q[lane]);
        let (qq, xq) = (sums.qq[lane], sums.xq[lane]);
        let determinant = w * qq - q * q;
        let scale = (w * xq - x * q) / determinant;
        let min = (q * xq - qq * x) / determinant;
        let sound = (determinant > 0.0) & (min >= 0.0) & scale.is_finite() & min.is_finite();
        lines.scale[lane] = choose(sound, scale, state.d[lane] * state.levels.scale[lane]);
        lines.min[lane] = choose(sound, min, state.dmin[lane] * state.levels.min[lane]);
    }
    lines
}

/// Lines rounded to the levels of other factors.
#[inline(always)]
pub(crate) fn nearest_levels<const N: usize>(
    lines: &Lines<N>,
    state: &State<N>,
    limits: &Limits,
) -> Levels<N> {
    let mut levels = Levels { scale: [0.0; N], min: [0.0; N] };
    for lane in 0..N {
        levels.scale[lane] = Quick::within(lines.scale[lane] / state.d[lane], 0.0, limits.levels);
        levels.min[lane] = Quick::within(lines.min[lane] / state.dmin[lane], 0.0, limits.levels);
    }
    levels
}

/// Fits the factors of each super-block to its levels and codes by least squares, and rounds them
/// to half precision.
#[inline(always)]
pub(crate) fn refit<const N: usize, const K: usize, const S: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    state: &mut State<N>,
    limits: &Limits,
) {
    let sums = sums(x, w, state, limits);
    for first in (0..N).step_by(S) {
        // Normal equations of `x = d * along - dmin * across`.
        let (mut along, mut cross, mut across) = (0.0, 0.0, 0.0);
        let (mut x_along, mut x_across) = (0.0, 0.0);
        for lane in first..first + S {
            let scale = f64::from(state.levels.scale[lane]);
            let min = f64::from(state.levels.min[lane]);
            along += scale * scale * f64::from(sums.qq[lane]);
            cross += scale * min * f64::from(sums.q[lane]);
            across += min * min * f64::from(sums.w[lane]);
            x_along += scale * f64::from(sums.xq[lane]);
            x_across += min * f64::from(sums.x[lane]);
        }
        let (d, dmin) = (f64::from(state.d[first]), f64::from(state.dmin[first]));
        let determinant = along * across - cross * cross;
        let (d, dmin) = if determinant > 1e-9 * along * across {
            let d = (x_along * across - cross * x_across) / determinant;
            (d, (cross * x_along - along * x_across) / determinant)
        } else if along > 0.0 {
            ((x_along + cross * dmin) / along, dmin)
        } else {
            (d, dmin)
        };
        let (d, dmin) = (half(d), half(dmin));
        if d.is_finite() && dmin.is_finite() {
            state.d[first..first + S].fill(d);
            state.dmin[first..first + S].fill(dmin);
        }
    }
}

/// The nearest half-precision value, by way of single precision.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
fn half(value: f64) -> f32 {
    f16_value(f16_bits(value as f32))
}
