//! Super-blocks, whose groups have scales `d * level`, `level` a small integer and `d` of the
//! super-block.
//!
//! Groups are lanes while their weights are looked at, super-blocks are lanes in what follows from
//! that. First the best scale of each group by itself, then the `d` that has levels closest to
//! these, then for each group the level with the smallest measured error in a window of three
//! around the closest one, then the least-squares `d` for the codes of these, and so on.
//!
//! *Smooth levels.* Of the levels in the window, also the path through all groups with the smallest
//! sum of errors and prices is followed (Viterbi), the price of a step between neighbours being
//! `lambda / 100` of the mean error of a group. Since levels cost the same bits however smooth they
//! are, that path only counts where it has no more error in the end.

use gmat_core::quant::{Goal, Metric};

use crate::lockstep::{Steps, choose, sum, sum_of_squares, transpose, weigh};
use crate::superblock::{LEN, TILE, sums_of_squares};
use crate::trellis::signed::path::{self, Choice};
use crate::trellis::signed::{Codes, Equal, Trials, is_lower, measure, measure_all, seek};

/// Weights in a tile of super-blocks.
const TILE_LEN: usize = TILE * LEN;
/// Groups in a tile, if they are of 16 weights.
const GROUPS: usize = TILE_LEN / 16;

/// [`Layout::ENDS`] for levels of six bits.
pub(crate) const ENDS: &[f32] =
    &[-32.0, -31.0, -30.0, -29.0, -28.0, -33.0, -34.0, -26.0, 31.0, 30.0, 32.0, 28.0];

/// What the search needs to know about a type whose super-blocks have `G` groups.
pub(crate) trait Layout<const G: usize, const BYTES: usize> {
    /// What codes stand for.
    type Codes: Codes;
    /// Levels are from `-LIMIT` to `LIMIT - 1`.
    const LIMIT: f32;
    /// Whether the weight of an error is `importance * sqrt(spread + x^2)`, `spread` twice the mean
    /// square of the super-block, or else the importance; which is 1 if there is none.
    const SPREAD: bool;
    /// See [`seek`].
    const TRIALS: Trials;
    /// Levels that the scale of largest magnitude is tried on.
    const ENDS: &'static [f32];
    /// How often levels are looked for and `d` is refined.
    const ROUNDS: usize;

    /// `d` and levels of a block.
    fn read(block: &[u8; BYTES]) -> (f32, [f32; G]);

    /// Fills a block; `d` has half precision.
    fn write(x: &[f32; LEN], d: f32, levels: &[f32; G], block: &mut [u8; BYTES]);
}

/// The weights of a row, see [`Layout::SPREAD`].
pub(crate) fn weights<L: Layout<G, BYTES>, const G: usize, const BYTES: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [f32],
) {
    gmat_core::quant::importance_or_one(importance, out);
    if L::SPREAD {
        for (x, out) in x.chunks(LEN).zip(out.chunks_mut(LEN)) {
            let spread = spread(sum_of_squares(x));
            for (out, x) in out.iter_mut().zip(x) {
                *out *= (spread + x * x).sqrt();
            }
        }
    }
}

/// Twice the mean square.
#[inline(always)]
fn spread(sum_of_squares: f32) -> f32 {
    sum_of_squares * (2.0 / 256.0)
}

/// Improves a row; `K` weights are a group.
#[inline(always)]
pub(crate) fn improve<
    L: Layout<G, BYTES>,
    const N: usize,
    const K: usize,
    const G: usize,
    const BYTES: usize,
>(
    x: &[f32],
    importance: Option<&[f32]>,
    goal: Goal,
    out: &mut [u8],
) {
    let lambda = goal.lambda;
    let (mut steps, mut weights) = ([0.0; TILE_LEN], [0.0; TILE_LEN]);
    let mut importance = importance.map(|importance| importance.chunks(TILE_LEN));
    let out = out.as_chunks_mut::<BYTES>().0;
    for (x, out) in x.chunks(TILE_LEN).zip(out.chunks_mut(TILE)) {
        let importance = importance.as_mut().and_then(Iterator::next);
        load::<L, N, K, G, BYTES>(x, importance, goal.metric, &mut steps, &mut weights);
        let mut old = Scales { d: [0.0; TILE], levels: [[0.0; TILE]; G] };
        for (index, block) in out.iter().enumerate().take(TILE) {
            let (d, levels) = L::read(block);
            old.d[index] = d;
            for (lanes, level) in old.levels.iter_mut().zip(levels) {
                lanes[index] = level;
            }
        }
        // Rows may end before the tile does.
        let groups = x.len() / K;
        let Trials { plain, weighted } = L::TRIALS;
        let more = goal.metric == Metric::Squares;
        let trials = if importance.is_some() || more { weighted } else { plain };
        let rounds = if more { L::ROUNDS + 2 } else { L::ROUNDS };
        let (new, better) = if L::SPREAD || importance.is_some() {
            search::<L, false, N, K, G, BYTES>(
                &steps, &weights, groups, &old, trials, rounds, lambda,
            )
        } else {
            search::<L, true, N, K, G, BYTES>(
                &steps, &weights, groups, &old, trials, rounds, lambda,
            )
        };
        for (index, (x, block)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
            if better[index] {
                let mut levels = [0.0; G];
                for (level, lanes) in levels.iter_mut().zip(&new.levels) {
                    *level = lanes[index];
                }
                L::write(x, new.d[index], &levels, block);
            }
        }
    }
}

/// Brings values and weights of a tile in step.
#[inline(always)]
fn load<L: Layout<G, BYTES>, const N: usize, const K: usize, const G: usize, const BYTES: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    metric: Metric,
    steps: &mut [f32; TILE_LEN],
    weights: &mut [f32; TILE_LEN],
) {
    let spread_out = L::SPREAD && metric == Metric::Ggml;
    let mut spreads = if spread_out { sums_of_squares(x) } else { [0.0; TILE] };
    for sum in &mut spreads {
        *sum = spread(*sum);
    }
    let all = in_steps_mut::<N, K>(steps).iter_mut().zip(in_steps_mut::<N, K>(weights));
    for (round, (values, (steps, weights))) in x.chunks(N * K).zip(all).enumerate() {
        *steps = transpose(values);
        let importance = match importance {
            Some(all) => transpose(all.chunks(N * K).nth(round).unwrap_or_default()),
            None => [[1.0; N]; K],
        };
        if spread_out {
            let mut spread = [0.0; N];
            for lane in 0..N {
                spread[lane] = spreads[(round * N + lane) / G % TILE];
            }
            *weights = weigh(steps, &importance, &spread);
        } else {
            *weights = importance;
        }
    }
}

/// What super-blocks hold besides codes; super-blocks are lanes.
struct Scales<const G: usize> {
    d: [f32; TILE],
    levels: Steps<TILE, G>,
}

/// Finds better scales; also says where they are better.
#[inline(always)]
fn search<
    L: Layout<G, BYTES>,
    const EQUAL: bool,
    const N: usize,
    const K: usize,
    const G: usize,
    const BYTES: usize,
>(
    x: &[f32; TILE_LEN],
    w: &[f32; TILE_LEN],
    groups: usize,
    old: &Scales<G>,
    trials: &[f32],
    rounds: usize,
    lambda: f32,
) -> (Scales<G>, [bool; TILE]) {
    let before = errors::<L::Codes, EQUAL, N, K, G>(x, w, groups, &old.d, &old.levels);
    let before = sum(&before);
    let (mut scales, mut squares) = ([0.0; GROUPS], [0.0; GROUPS]);
    let steps = in_steps::<N, K>(x).iter().zip(in_steps::<N, K>(w));
    let lanes = in_lanes_mut::<N>(&mut scales).iter_mut().zip(in_lanes_mut::<N>(&mut squares));
    for ((x, w), (scales, squares)) in steps.zip(lanes).take(groups.div_ceil(N)) {
        let found = if EQUAL {
            seek::<L::Codes, Equal, N, K>(x, &Equal, trials)
        } else {
            seek::<L::Codes, Steps<N, K>, N, K>(x, w, trials)
        };
        (*scales, *squares) = (found.scale, found.square);
    }
    let scales = transpose::<TILE, G>(&scales);
    let mut d = path::common(&scales, &transpose::<TILE, G>(&squares), L::ENDS, L::LIMIT);
    let mut levels = path::closest(&scales, &d, L::LIMIT);
    let mut best = Scales { d, levels };
    let mut least = [f32::INFINITY; TILE];
    for _ in 0..rounds {
        // Without a closure: one that is not inlined is compiled without vector instructions.
        let below = path::moved(&levels, -1.0, L::LIMIT);
        let above = path::moved(&levels, 1.0, L::LIMIT);
        let window = [
            choices::<L::Codes, EQUAL, N, K, G>(x, w, groups, &d, levels),
            choices::<L::Codes, EQUAL, N, K, G>(x, w, groups, &d, below),
            choices::<L::Codes, EQUAL, N, K, G>(x, w, groups, &d, above),
        ];
        let picked = path::best(&window);
        let total = sum(&picked.error);
        keep(&d, &picked.levels, &total, &mut best, &mut least);
        if lambda > 0.0 {
            let smooth = path::smoothest(&window, &path::prices(&total, lambda, G));
            let d = path::least_squares(&smooth);
            let error = errors::<L::Codes, EQUAL, N, K, G>(x, w, groups, &d, &smooth.levels);
            keep(&d, &smooth.levels, &sum(&error), &mut best, &mut least);
        }
        d = path::least_squares(&picked);
        levels = picked.levels;
        let error = errors::<L::Codes, EQUAL, N, K, G>(x, w, groups, &d, &levels);
        keep(&d, &levels, &sum(&error), &mut best, &mut least);
    }
    let mut better = [false; TILE];
    for lane in 0..TILE {
        better[lane] = is_lower(least[lane], before[lane]);
    }
    (best, better)
}

/// Remembers what has less error.
#[inline(always)]
fn keep<const G: usize>(
    d: &[f32; TILE],
    levels: &Steps<TILE, G>,
    error: &[f32; TILE],
    best: &mut Scales<G>,
    least: &mut [f32; TILE],
) {
    let mut better = [false; TILE];
    for lane in 0..TILE {
        better[lane] = error[lane] < least[lane];
        least[lane] = choose(better[lane], error[lane], least[lane]);
        best.d[lane] = choose(better[lane], d[lane], best.d[lane]);
    }
    for (best, levels) in best.levels.iter_mut().zip(levels) {
        for lane in 0..TILE {
            best[lane] = choose(better[lane], levels[lane], best[lane]);
        }
    }
}

/// Errors of all groups for the scales `d * level`.
#[inline(always)]
fn errors<C: Codes, const EQUAL: bool, const N: usize, const K: usize, const G: usize>(
    x: &[f32; TILE_LEN],
    w: &[f32; TILE_LEN],
    groups: usize,
    d: &[f32; TILE],
    levels: &Steps<TILE, G>,
) -> Steps<TILE, G> {
    let scales = products(d, levels);
    let mut errors = [0.0; GROUPS];
    let rounds = in_steps::<N, K>(x).iter().zip(in_steps::<N, K>(w));
    let lanes = in_lanes::<N>(&scales).iter().zip(in_lanes_mut::<N>(&mut errors));
    for ((x, w), (scales, errors)) in rounds.zip(lanes).take(groups.div_ceil(N)) {
        *errors = if EQUAL {
            measure::<C, Equal, N, K>(x, &Equal, scales)
        } else {
            measure::<C, Steps<N, K>, N, K>(x, w, scales)
        };
    }
    transpose(&errors)
}

/// [`errors`], and what the next `d` needs.
#[inline(always)]
fn choices<C: Codes, const EQUAL: bool, const N: usize, const K: usize, const G: usize>(
    x: &[f32; TILE_LEN],
    w: &[f32; TILE_LEN],
    groups: usize,
    d: &[f32; TILE],
    levels: Steps<TILE, G>,
) -> Choice<G> {
    let scales = products(d, &levels);
    let (mut errors, mut alongs, mut squares) = ([0.0; GROUPS], [0.0; GROUPS], [0.0; GROUPS]);
    let rounds = in_steps::<N, K>(x).iter().zip(in_steps::<N, K>(w));
    let sums = in_lanes_mut::<N>(&mut errors)
        .iter_mut()
        .zip(in_lanes_mut::<N>(&mut alongs))
        .zip(in_lanes_mut::<N>(&mut squares));
    let lanes = in_lanes::<N>(&scales).iter().zip(sums);
    for ((x, w), (scales, ((errors, alongs), squares))) in
        rounds.zip(lanes).take(groups.div_ceil(N))
    {
        let all = if EQUAL {
            measure_all::<C, Equal, N, K>(x, &Equal, scales)
        } else {
            measure_all::<C, Steps<N, K>, N, K>(x, w, scales)
        };
        (*errors, *alongs, *squares) = (all.error, all.along, all.square);
    }
    Choice {
        levels,
        error: transpose(&errors),
        along: transpose(&alongs),
        square: transpose(&squares),
    }
}

/// Scales of groups, in the order of groups.
#[inline(always)]
fn products<const G: usize>(d: &[f32; TILE], levels: &Steps<TILE, G>) -> [f32; GROUPS] {
    let mut scales = [0.0; GROUPS];
    for (index, scales) in scales.as_chunks_mut::<G>().0.iter_mut().enumerate().take(TILE) {
        for (scale, lanes) in scales.iter_mut().zip(levels) {
            *scale = d[index] * lanes[index];
        }
    }
    scales
}

/// A tile as rounds of `N` groups.
#[inline(always)]
fn in_steps<const N: usize, const K: usize>(flat: &[f32; TILE_LEN]) -> &[Steps<N, K>] {
    flat.as_chunks::<N>().0.as_chunks::<K>().0
}

/// See [`in_steps`].
#[inline(always)]
fn in_steps_mut<const N: usize, const K: usize>(flat: &mut [f32; TILE_LEN]) -> &mut [Steps<N, K>] {
    flat.as_chunks_mut::<N>().0.as_chunks_mut::<K>().0
}

/// One number for each group, as those rounds.
#[inline(always)]
fn in_lanes<const N: usize>(flat: &[f32; GROUPS]) -> &[[f32; N]] {
    flat.as_chunks::<N>().0
}

/// See [`in_lanes`].
#[inline(always)]
fn in_lanes_mut<const N: usize>(flat: &mut [f32; GROUPS]) -> &mut [[f32; N]] {
    flat.as_chunks_mut::<N>().0
}
