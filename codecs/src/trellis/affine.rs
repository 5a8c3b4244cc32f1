//! Trellis mode of `q2_k`, `q4_k` and `q5_k`: factors, levels and codes of a super-block chosen
//! together.
//!
//! The reference search fits a line to each group, rounds its scale and minimum to levels, and only
//! then rounds the weights: what the first rounding costs is never looked at. Here levels are
//! compared by the error that the weights have in the end.
//!
//! From the factors `(d, dmin)` that standard mode found, and from smaller and larger ones, each
//! group takes the best levels next to its own, and the factors are fitted to all groups by least
//! squares and rounded to half precision. The best of these starts goes on with a wide window of
//! levels, and with narrow ones after each further fit. Last comes a path through the levels that
//! also counts steps between neighbours ([`smooth`]). Whatever comes out replaces
//! the block only if its error is less.
//!
//! Groups are lanes, as in [`crate::lockstep`]; those of a super-block are neighbours.

use gmat_core::quant::{Goal, Metric};

use crate::affine_k::{self, AffineK, Block};
use crate::lockstep::{self, Steps, choose};
use crate::narrow::{f16_bits, f16_value, read_f16};
use crate::round::{nearest_byte, truncated};
use crate::superblock::LEN;
use crate::trellis::MARGIN;

use self::window::{Levels, Limits};

mod smooth;
mod window;

/// How much is tried.
struct Effort {
    /// What the factors of standard mode are multiplied with to start from.
    starts: &'static [f32],
    /// Narrow windows after the wide one.
    narrow: usize,
}

impl Effort {
    /// What pays where models are judged by what they compute.
    const USUAL: Self = Self { starts: &[1.0, 0.93, 1.08], narrow: 2 };
    /// What still makes errors smaller.
    const MORE: Self = Self { starts: &[1.0, 0.93, 1.08, 0.97, 1.04, 0.88], narrow: 5 };

    fn for_metric(metric: Metric) -> Self {
        match metric {
            Metric::Ggml => Self::USUAL,
            Metric::Squares => Self::MORE,
        }
    }
}

/// Factors and levels of all groups, the factors repeated for each group of a super-block.
#[derive(Clone, Copy)]
pub(crate) struct State<const N: usize> {
    /// Factor of the scales; a half-precision value.
    pub(crate) d: [f32; N],
    /// Factor of the minima; a half-precision value.
    pub(crate) dmin: [f32; N],
    /// Levels.
    pub(crate) levels: Levels<N>,
    /// Error of the super-block, infinite if not known.
    pub(crate) error: [f32; N],
}

/// Improves a row, see [`gmat_core::quant::RowKernel::improve_row`].
#[inline(always)]
pub(crate) fn improve<A, const N: usize, const K: usize, const S: usize, const BYTES: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    goal: Goal,
    out: &mut [u8],
) where
    A: AffineK<K, S, BYTES>,
{
    let limits = Limits { top: A::PLAIN.top.into(), levels: A::LEVELS.into() };
    let mut importance = importance.map(|importance| importance.chunks(N * K));
    let out = out.as_chunks_mut::<BYTES>().0;
    for (x, out) in x.chunks(N * K).zip(out.chunks_mut(N / S)) {
        let importance = importance.as_mut().and_then(Iterator::next);
        let steps = lockstep::transpose::<N, K>(x);
        let weights = match (goal.metric, importance) {
            (Metric::Ggml, _) => weights::<A, N, K, S, BYTES>(x, &steps, importance),
            (Metric::Squares, Some(importance)) => lockstep::transpose(importance),
            (Metric::Squares, None) => [[1.0; N]; K],
        };
        let start = start::<A, N, K, S, BYTES>(out);
        let found = search::<N, K, S>(&steps, &weights, &start, goal, &limits);
        for (index, (x, out)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
            let block = block::<N, K, S>(x, &found, index * S, A::PLAIN.top);
            let before = error::<N, K, S>(x, &A::read(out), &weights, index * S);
            let after = error::<N, K, S>(x, &block, &weights, index * S);
            if before.is_finite() && after < before * (1.0 - MARGIN) {
                A::write(&block, out);
            }
        }
    }
}

/// Weights of the error, see [`gmat_core::quant::RowKernel::weigh_row`].
pub(crate) fn weigh<A, const K: usize, const S: usize, const BYTES: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [f32],
) where
    A: AffineK<K, S, BYTES>,
{
    let mut importance = importance.map(|importance| importance.chunks(LEN));
    for (x, out) in x.chunks(LEN).zip(out.chunks_mut(LEN)) {
        let importance = importance.as_mut().and_then(Iterator::next);
        let steps = lockstep::transpose::<S, K>(x);
        let weights = weights::<A, S, K, S, BYTES>(x, &steps, importance);
        for (j, out) in out.chunks_mut(K).enumerate() {
            for (out, weights) in out.iter_mut().zip(&weights) {
                *out = weights[j];
            }
        }
    }
}

/// Weights for the groups of some super-blocks.
#[inline(always)]
fn weights<A, const N: usize, const K: usize, const S: usize, const BYTES: usize>(
    x: &[f32],
    steps: &Steps<N, K>,
    importance: Option<&[f32]>,
) -> Steps<N, K>
where
    A: AffineK<K, S, BYTES>,
{
    let Some(importance) = importance else {
        return A::plain_weights(steps);
    };
    let mut spread = [0.0; N];
    for (x, spread) in x.chunks(LEN).zip(spread.chunks_mut(S)) {
        spread.fill(A::SPREAD * lockstep::sum_of_squares(x) / 256.0);
    }
    lockstep::weigh(steps, &lockstep::transpose(importance), &spread)
}

/// What standard mode has written.
#[inline(always)]
fn start<A, const N: usize, const K: usize, const S: usize, const BYTES: usize>(
    blocks: &[[u8; BYTES]],
) -> State<N>
where
    A: AffineK<K, S, BYTES>,
{
    let levels = Levels { scale: [0.0; N], min: [0.0; N] };
    let mut state = State { d: [0.0; N], dmin: [0.0; N], levels, error: [f32::INFINITY; N] };
    for (index, block) in blocks.iter().enumerate() {
        let block = A::read(block);
        for j in 0..S {
            let lane = index * S + j;
            state.d[lane] = read_f16(block.d);
            state.dmin[lane] = read_f16(block.dmin);
            state.levels.scale[lane] = block.scales[j].into();
            state.levels.min[lane] = block.mins[j].into();
        }
    }
    state
}

/// The best that was found, for each super-block.
#[inline(always)]
fn search<const N: usize, const K: usize, const S: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    start: &State<N>,
    goal: Goal,
    limits: &Limits,
) -> State<N> {
    let effort = Effort::for_metric(goal.metric);
    let mut best = *start;
    let lines = window::lines(x, w, start, limits);
    for &factor in effort.starts {
        let mut state = *start;
        if factor != 1.0 {
            for lane in 0..N {
                state.d[lane] = half(factor * start.d[lane]);
                state.dmin[lane] = half(factor * start.dmin[lane]);
            }
            state.levels = window::nearest_levels(&lines, &state, limits);
        }
        state.error = totals::<N, S>(&window::narrow(x, w, &mut state, limits));
        keep_better(&mut best, &state);
    }
    let mut state = best;
    window::refit::<N, K, S>(x, w, &mut state, limits);
    state.error = totals::<N, S>(&window::wide(x, w, &mut state, limits));
    keep_better(&mut best, &state);
    for _ in 0..effort.narrow {
        window::refit::<N, K, S>(x, w, &mut state, limits);
        state.error = totals::<N, S>(&window::narrow(x, w, &mut state, limits));
        keep_better(&mut best, &state);
    }
    if goal.lambda > 0.0 {
        let mut state = best;
        let choices = window::choices(x, w, &state, limits);
        smooth::path::<N, S>(&choices, goal.lambda, &mut state);
        window::refit::<N, K, S>(x, w, &mut state, limits);
        state.error = totals::<N, S>(&window::here(x, w, &state, limits));
        keep_better(&mut best, &state);
    }
    best
}

/// The nearest half-precision value.
#[inline(always)]
fn half(value: f32) -> f32 {
    f16_value(f16_bits(value))
}

/// Takes over super-blocks with less error.
#[inline(always)]
fn keep_better<const N: usize>(best: &mut State<N>, state: &State<N>) {
    for lane in 0..N {
        let better = state.error[lane] < best.error[lane];
        for (best, new) in [
            (&mut best.d, &state.d),
            (&mut best.dmin, &state.dmin),
            (&mut best.levels.scale, &state.levels.scale),
            (&mut best.levels.min, &state.levels.min),
            (&mut best.error, &state.error),
        ] {
            best[lane] = choose(better, new[lane], best[lane]);
        }
    }
}

/// Sums over the groups of each super-block, for all of them.
#[inline(always)]
fn totals<const N: usize, const S: usize>(errors: &[f32; N]) -> [f32; N] {
    let mut totals = [0.0; N];
    for (errors, totals) in errors.as_chunks::<S>().0.iter().zip(totals.as_chunks_mut::<S>().0) {
        *totals = [errors.iter().sum(); S];
    }
    totals
}

/// The super-block whose groups start at lane `first`.
#[inline(always)]
fn block<const N: usize, const K: usize, const S: usize>(
    x: &[f32; LEN],
    state: &State<N>,
    first: usize,
    top: u8,
) -> Block<S> {
    let (d, dmin) = (state.d[first], state.dmin[first]);
    let mut block = Block {
        d: f16_bits(d).to_le_bytes(),
        dmin: f16_bits(dmin).to_le_bytes(),
        scales: [0; S],
        mins: [0; S],
        codes: [0; LEN],
    };
    for (j, (x, codes)) in
        x.as_chunks::<K>().0.iter().zip(block.codes.as_chunks_mut::<K>().0).enumerate()
    {
        let levels = &state.levels;
        let (scale, min) = (d * levels.scale[first + j], dmin * levels.min[first + j]);
        block.scales[j] = truncated(levels.scale[first + j]);
        block.mins[j] = truncated(levels.min[first + j]);
        for (code, v) in codes.iter_mut().zip(x) {
            *code = nearest_byte((v + min) / scale, 0, top.cast_signed());
        }
    }
    block
}

/// The weighted error of a block as it will be read, summed without rounding that could matter.
#[inline(always)]
fn error<const N: usize, const K: usize, const S: usize>(
    x: &[f32; LEN],
    block: &Block<S>,
    w: &Steps<N, K>,
    first: usize,
) -> f64 {
    let mut values = [0.0; LEN];
    affine_k::values::<K, S>(block, &mut values);
    let mut errors = [0.0; S];
    for i in 0..K {
        for j in 0..S {
            let difference = f64::from(x[j * K + i]) - f64::from(values[j * K + i]);
            errors[j] += f64::from(w[i][first + j]) * (difference * difference);
        }
    }
    errors.iter().sum()
}
