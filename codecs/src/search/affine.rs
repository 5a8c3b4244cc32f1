//! The best scale and minimum for codes of one sign: `x ≈ scale * code + min`, `0 <= code <= top`,
//! `min <= 0`.
//!
//! For a series of steps around `top / (max - min)`, codes are rounded and the weighted
//! least-squares line through them computed; a line with `min > 0` is replaced by the best one
//! through zero. The line with the smallest error wins, the first one on ties. Each time a line
//! wins, the steps that follow start from its `min`.

use crate::lockstep::{Steps, choose};
use crate::round::{Exact, Quick, Rounding, is_sound, nearest_byte};

/// One variety of the search.
pub(crate) struct Spec {
    /// The largest code.
    pub(crate) top: u8,
    /// What the range from `min` to `max` is divided into, in turn.
    pub(crate) divisions: &'static [f32],
    /// Whether the error is a sum of magnitudes, not of squares.
    pub(crate) absolute: bool,
}

/// Divisions from `top + first` in steps of `step`.
pub(crate) const fn divisions<const T: usize>(top: f32, first: f32, step: f32) -> [f32; T] {
    let mut divisions = [0.0; T];
    let mut count = 0.0;
    let mut k = 0;
    while k < T {
        // In this order: it decides the last bits.
        divisions[k] = first + step * count + top;
        count += 1.0;
        k += 1;
    }
    divisions
}

/// The divisions that all types use with importance.
pub(crate) const fn fine_divisions(top: f32) -> [f32; 37] {
    divisions(top, -0.9, 0.05)
}

/// Result of [`fit`], per lane.
pub(crate) struct Fit<const N: usize> {
    /// The scale; zero for groups of equal values.
    pub(crate) scale: [f32; N],
    /// The minimum, never above zero.
    pub(crate) min: [f32; N],
    /// Sum of the weights.
    pub(crate) weight: [f32; N],
    /// What [`code`] needs: the factor and minimum that codes were rounded with.
    pub(crate) factor: [f32; N],
    /// See `factor`.
    pub(crate) base: [f32; N],
}

/// The code that belongs to the fit.
#[inline(always)]
pub(crate) fn code(x: f32, factor: f32, base: f32, top: u8) -> u8 {
    nearest_byte(factor * (x - base), 0, top.cast_signed())
}

/// Finds scales and minima; `w` are the weights of the error.
#[inline(always)]
pub(crate) fn fit<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    spec: &Spec,
) -> Fit<N> {
    let (fit, sound) = fit_with::<Quick, N, K>(x, w, spec);
    if sound { fit } else { fit_with::<Exact, N, K>(x, w, spec).0 }
}

/// [`fit`], and whether the rounding was right throughout.
#[inline(always)]
fn fit_with<R: Rounding, const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    spec: &Spec,
) -> (Fit<N>, bool) {
    let top = f32::from(spec.top);
    let (mut low, mut high) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (w[0], [0.0; N]);
    for lane in 0..N {
        sum_x[lane] = w[0][lane] * x[0][lane];
    }
    for i in 1..K {
        for lane in 0..N {
            let (v, w) = (x[i][lane], w[i][lane]);
            low[lane] = if v < low[lane] { v } else { low[lane] };
            high[lane] = if v > high[lane] { v } else { high[lane] };
            sum_w[lane] += w;
            sum_x[lane] += w * v;
        }
    }
    let (mut min, mut scale, mut factor) = ([0.0; N], [0.0; N], [0.0; N]);
    // Lanes that must be right: in groups of equal values the result is set at the end.
    let mut unsound = [false; N];
    let mut flat = [false; N];
    for lane in 0..N {
        min[lane] = if low[lane] > 0.0 { 0.0 } else { low[lane] };
        flat[lane] = high[lane] == min[lane];
        factor[lane] = top / (high[lane] - min[lane]);
        scale[lane] = 1.0 / factor[lane];
        unsound[lane] = !in_range::<R>(factor[lane], low[lane], high[lane], min[lane]);
    }
    let flat_min = min;
    let mut codes = [[0.0; N]; K];
    for i in 0..K {
        for lane in 0..N {
            codes[i][lane] = R::within(factor[lane] * (x[i][lane] - min[lane]), 0.0, top);
        }
    }
    let mut least = error(x, w, &codes, &scale, &min, spec.absolute);
    let mut base = min;
    for division in spec.divisions {
        let mut tried = [0.0; N];
        for lane in 0..N {
            tried[lane] = division / (high[lane] - min[lane]);
            unsound[lane] |= !in_range::<R>(tried[lane], low[lane], high[lane], min[lane]);
        }
        let (mut sum_q, mut sum_qq, mut sum_xq) = ([0.0; N], [0.0; N], [0.0; N]);
        for i in 0..K {
            for lane in 0..N {
                let v = x[i][lane];
                let q = R::within(tried[lane] * (v - min[lane]), 0.0, top);
                codes[i][lane] = q;
                let wq = w[i][lane] * q;
                sum_q[lane] += wq;
                sum_qq[lane] += wq * q;
                sum_xq[lane] += wq * v;
            }
        }
        let (mut slope, mut start, mut solvable) = ([0.0; N], [0.0; N], [false; N]);
        for lane in 0..N {
            let (q, qq, xq) = (sum_q[lane], sum_qq[lane], sum_xq[lane]);
            let determinant = sum_w[lane] * qq - q * q;
            let line = (sum_w[lane] * xq - sum_x[lane] * q) / determinant;
            let offset = (qq * sum_x[lane] - q * xq) / determinant;
            let above = offset > 0.0;
            slope[lane] = choose(above, xq / qq, line);
            start[lane] = choose(above, 0.0, offset);
            solvable[lane] = determinant > 0.0;
        }
        let found = error(x, w, &codes, &slope, &start, spec.absolute);
        for lane in 0..N {
            let better = solvable[lane] & (found[lane] < least[lane]);
            least[lane] = choose(better, found[lane], least[lane]);
            scale[lane] = choose(better, slope[lane], scale[lane]);
            factor[lane] = choose(better, tried[lane], factor[lane]);
            base[lane] = choose(better, min[lane], base[lane]);
            min[lane] = choose(better, start[lane], min[lane]);
        }
    }
    let mut sound = true;
    for lane in 0..N {
        scale[lane] = if flat[lane] { 0.0 } else { scale[lane] };
        min[lane] = if flat[lane] { flat_min[lane] } else { min[lane] };
        factor[lane] = if flat[lane] { 0.0 } else { factor[lane] };
        base[lane] = if flat[lane] { 0.0 } else { base[lane] };
        sound &= flat[lane] | !unsound[lane];
    }
    (Fit { scale, min, weight: sum_w, factor, base }, sound)
}

/// Whether rounding `factor * (v - min)` is right for every `v` from `low` to `high`: it is where
/// it is at both ends.
#[inline(always)]
fn in_range<R: Rounding>(factor: f32, low: f32, high: f32, min: f32) -> bool {
    R::ALWAYS | (is_sound(factor * (low - min)) & is_sound(factor * (high - min)))
}

/// Weighted error of `scale * codes + min`.
#[inline(always)]
fn error<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    codes: &Steps<N, K>,
    scale: &[f32; N],
    min: &[f32; N],
    absolute: bool,
) -> [f32; N] {
    let mut error = [0.0; N];
    // Decided here, not in the loops.
    if absolute {
        for i in 0..K {
            for lane in 0..N {
                let difference = scale[lane] * codes[i][lane] + min[lane] - x[i][lane];
                error[lane] += w[i][lane] * difference.abs();
            }
        }
    } else {
        for i in 0..K {
            for lane in 0..N {
                let difference = scale[lane] * codes[i][lane] + min[lane] - x[i][lane];
                error[lane] += w[i][lane] * (difference * difference);
            }
        }
    }
    error
}
