//! Trellis mode of `q4_1` and `q5_1`: a line through 32 weights, `x ≈ scale * code + min`, with both
//! factors in half precision.
//!
//! Around the line of standard mode, both ends are moved by up to a code and a half. For the codes
//! of each such line the least-squares line is known from three sums, and so is its error; the best
//! one is followed by rounding and fitting in turns. Unlike the reference's search, and as the
//! layout allows, minima may be above zero. The result replaces the block only if its error is less
//! after rounding to half precision.
//!
//! Blocks are lanes, as in [`crate::lockstep`].

use gmat_core::quant::Metric;

use crate::block32::{LEN, Parts};
use crate::lockstep::{self, Steps, choose};
use crate::narrow::{f16_bits, f16_value};
use crate::round::{Quick, Rounding, nearest_byte};
use crate::row32;
use crate::trellis::MARGIN;

/// A layout of blocks of 32.
pub(crate) trait Line<const BYTES: usize> {
    /// The largest code.
    const TOP: u8;

    /// Takes a block apart.
    fn read(block: &[u8; BYTES]) -> Parts;

    /// Puts a block together from scale and minimum (binary16) and codes.
    fn write(d: u16, m: u16, codes: &[u8; LEN], out: &mut [u8; BYTES]);
}

/// How far the upper end is moved, in codes; in the order of trial.
const UPPER: [f32; 7] = [0.0, -0.5, 0.5, -1.0, 1.0, -1.5, 1.5];
/// The same for the lower end.
const LOWER: [f32; 7] = UPPER;
/// Fits after the best trial.
const FITS: usize = 2;

/// Lines of all lanes.
#[derive(Clone, Copy)]
struct Lines<const N: usize> {
    scale: [f32; N],
    min: [f32; N],
}

/// Values of all lanes around their weighted means.
struct Centred<const N: usize> {
    x: Steps<N, LEN>,
    mean: [f32; N],
    /// Sums of the weights.
    weight: [f32; N],
}

/// Improves a row, see [`gmat_core::quant::RowKernel::improve_row`].
#[inline(always)]
pub(crate) fn improve<A: Line<BYTES>, const N: usize, const BYTES: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    metric: Metric,
    out: &mut [u8],
) {
    let spread = importance.map_or(0.0, |_| row32::mean_square(x));
    let (x, out) = (x.as_chunks::<LEN>().0, out.as_chunks_mut::<BYTES>().0);
    let mut importance = importance.map(|importance| importance.as_chunks::<LEN>().0.chunks(N));
    for (x, out) in x.chunks(N).zip(out.chunks_mut(N)) {
        let (steps, weights) = match importance.as_mut().and_then(Iterator::next) {
            None => (lockstep::transpose::<N, LEN>(x.as_flattened()), [[1.0; N]; LEN]),
            Some(importance) => row32::weigh_for::<N>(metric, x, importance, spread),
        };
        let mut start = Lines { scale: [0.0; N], min: [0.0; N] };
        for (lane, block) in out.iter().enumerate() {
            let parts = A::read(block);
            (start.scale[lane], start.min[lane]) = (parts.scale, parts.min);
        }
        let found = search(&steps, &weights, &start, A::TOP.into());
        for (lane, (x, out)) in x.iter().zip(out).enumerate() {
            let (scale, min) = (found.scale[lane], found.min[lane]);
            let mut codes = [0; LEN];
            for (code, v) in codes.iter_mut().zip(x) {
                *code = nearest_byte((v - min) / scale, 0, A::TOP.cast_signed());
            }
            let before = error(x, &A::read(out), &weights, lane);
            let after = error(x, &Parts { codes, scale, min }, &weights, lane);
            if before.is_finite() && after < before * (1.0 - MARGIN) {
                A::write(f16_bits(scale), f16_bits(min), &codes, out);
            }
        }
    }
}

/// Weights of the error, see [`gmat_core::quant::RowKernel::weigh_row`].
pub(crate) fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
    let Some(importance) = importance else {
        out.fill(1.0);
        return;
    };
    let spread = row32::mean_square(x);
    let (x, importance) = (x.as_chunks::<LEN>().0, importance.as_chunks::<LEN>().0);
    for ((x, importance), out) in x.chunks(1).zip(importance.chunks(1)).zip(out.chunks_mut(LEN)) {
        let (_, weights) = row32::weigh::<1>(x, importance, spread);
        for (out, [weight]) in out.iter_mut().zip(&weights) {
            *out = *weight;
        }
    }
}

/// The best lines, in half precision.
#[inline(always)]
fn search<const N: usize>(
    x: &Steps<N, LEN>,
    w: &Steps<N, LEN>,
    start: &Lines<N>,
    top: f32,
) -> Lines<N> {
    let centred = centre(x, w);
    let mut best = Fit { lines: *start, gain: [0.0; N], mean_code: [0.0; N] };
    for upper in UPPER {
        for lower in LOWER {
            let mut tried = *start;
            for lane in 0..N {
                tried.scale[lane] *= (top + (upper - lower)) / top;
                tried.min[lane] += lower * start.scale[lane];
            }
            let fit = fit(&centred, w, &tried, top);
            for lane in 0..N {
                let better = fit.gain[lane] > best.gain[lane];
                for (best, new) in [
                    (&mut best.lines.scale, &fit.lines.scale),
                    (&mut best.lines.min, &fit.lines.min),
                    (&mut best.gain, &fit.gain),
                ] {
                    best[lane] = choose(better, new[lane], best[lane]);
                }
            }
        }
    }
    for _ in 0..FITS {
        best = fit(&centred, w, &best.lines, top);
    }
    let mut rounded = best.lines;
    for lane in 0..N {
        rounded.scale[lane] = half(rounded.scale[lane]);
        // The best minimum for the scale as it is stored.
        rounded.min[lane] = half(centred.mean[lane] - rounded.scale[lane] * best.mean_code[lane]);
    }
    rounded
}

/// Moves the weighted mean of each lane to zero, so that sums lose less to rounding.
#[inline(always)]
fn centre<const N: usize>(x: &Steps<N, LEN>, w: &Steps<N, LEN>) -> Centred<N> {
    let (mut mean, mut weight) = ([0.0; N], [0.0; N]);
    for i in 0..LEN {
        for lane in 0..N {
            weight[lane] += w[i][lane];
            mean[lane] += w[i][lane] * x[i][lane];
        }
    }
    for lane in 0..N {
        mean[lane] /= weight[lane];
    }
    let mut centred = [[0.0; N]; LEN];
    for i in 0..LEN {
        for lane in 0..N {
            centred[i][lane] = x[i][lane] - mean[lane];
        }
    }
    Centred { x: centred, mean, weight }
}

/// Result of [`fit`], per lane.
struct Fit<const N: usize> {
    /// The least-squares lines.
    lines: Lines<N>,
    /// How much of the weighted sum of squares around the mean they explain.
    gain: [f32; N],
    /// Weighted mean of the codes.
    mean_code: [f32; N],
}

/// Least-squares lines for the codes of given ones.
#[inline(always)]
fn fit<const N: usize>(
    centred: &Centred<N>,
    w: &Steps<N, LEN>,
    line: &Lines<N>,
    top: f32,
) -> Fit<N> {
    let (mut inverse, mut offset) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        inverse[lane] = 1.0 / line.scale[lane];
        offset[lane] = (centred.mean[lane] - line.min[lane]) * inverse[lane];
    }
    let (mut sum_q, mut sum_qq, mut sum_xq) = ([0.0; N], [0.0; N], [0.0; N]);
    for (x, w) in centred.x.iter().zip(w) {
        for lane in 0..N {
            let v = x[lane];
            let q = Quick::within(v * inverse[lane] + offset[lane], 0.0, top);
            let wq = w[lane] * q;
            sum_q[lane] += wq;
            sum_qq[lane] += wq * q;
            sum_xq[lane] += wq * v;
        }
    }
    let mut fit = Fit { lines: *line, gain: [0.0; N], mean_code: [0.0; N] };
    for lane in 0..N {
        let mean = sum_q[lane] / centred.weight[lane];
        let square = sum_qq[lane] - sum_q[lane] * mean;
        let scale = sum_xq[lane] / square;
        let min = centred.mean[lane] - scale * mean;
        let sound = (square > 0.0) & scale.is_finite() & min.is_finite();
        fit.lines.scale[lane] = choose(sound, scale, line.scale[lane]);
        fit.lines.min[lane] = choose(sound, min, line.min[lane]);
        fit.gain[lane] = choose(sound, scale * sum_xq[lane], 0.0);
        fit.mean_code[lane] = mean;
    }
    fit
}

/// The nearest half-precision value.
#[inline(always)]
fn half(value: f32) -> f32 {
    f16_value(f16_bits(value))
}

/// The weighted error of a block as it will be read.
#[inline(always)]
fn error<const N: usize>(x: &[f32; LEN], block: &Parts, w: &Steps<N, LEN>, lane: usize) -> f64 {
    let mut error = 0.0;
    for i in 0..LEN {
        let value = block.scale * f32::from(block.codes[i]) + block.min;
        let difference = f64::from(x[i]) - f64::from(value);
        error += f64::from(w[i][lane]) * (difference * difference);
    }
    error
}
