//! Which levels the groups of super-blocks get, and which `d`. Super-blocks are lanes here, groups
//! are steps.

use crate::lockstep::{Steps, choose};
use crate::narrow::{f16_bits, f16_value};
use crate::round::{Quick, Rounding};
use crate::superblock::TILE;
use crate::trellis::signed::inverse;

/// One level for each group, and what was measured with it.
pub(crate) struct Choice<const G: usize> {
    pub(crate) levels: Steps<TILE, G>,
    pub(crate) error: Steps<TILE, G>,
    /// `Σ w x q`.
    pub(crate) along: Steps<TILE, G>,
    /// `Σ w q^2`.
    pub(crate) square: Steps<TILE, G>,
}

impl<const G: usize> Choice<G> {
    /// Takes what another choice has for a group, where that is wanted.
    #[inline(always)]
    fn take(&mut self, j: usize, wanted: &[bool; TILE], other: &Self) {
        for (lane, wanted) in wanted.iter().copied().enumerate() {
            self.levels[j][lane] = choose(wanted, other.levels[j][lane], self.levels[j][lane]);
            self.error[j][lane] = choose(wanted, other.error[j][lane], self.error[j][lane]);
            self.along[j][lane] = choose(wanted, other.along[j][lane], self.along[j][lane]);
            self.square[j][lane] = choose(wanted, other.square[j][lane], self.square[j][lane]);
        }
    }

    /// A copy.
    #[inline(always)]
    fn copy(&self) -> Self {
        let Self { levels, error, along, square } = *self;
        Self { levels, error, along, square }
    }
}

/// The `d` whose multiples are closest to the scales, by `Σ square * (scale - d * level)^2`: an upper
/// bound of what the rounding to levels adds to the error. Tried are those that put the scale of
/// largest magnitude on `ends`; the best one is then fitted to its levels.
#[inline(always)]
pub(crate) fn common<const G: usize>(
    scales: &Steps<TILE, G>,
    squares: &Steps<TILE, G>,
    ends: &[f32],
    limit: f32,
) -> [f32; TILE] {
    let mut extreme = [0.0f32; TILE];
    for scale in scales {
        for lane in 0..TILE {
            let larger = scale[lane].abs() > extreme[lane].abs();
            extreme[lane] = choose(larger, scale[lane], extreme[lane]);
        }
    }
    let (mut best, mut least) = ([0.0; TILE], [f32::INFINITY; TILE]);
    for end in ends {
        let (mut d, mut factor, mut cost) = ([0.0; TILE], [0.0; TILE], [0.0; TILE]);
        for lane in 0..TILE {
            d[lane] = extreme[lane] * (1.0 / end);
            factor[lane] = inverse(d[lane]);
        }
        for j in 0..G {
            for lane in 0..TILE {
                let scale = scales[j][lane];
                let off = scale - d[lane] * level(factor[lane] * scale, limit);
                cost[lane] += squares[j][lane] * off * off;
            }
        }
        for lane in 0..TILE {
            let better = cost[lane] < least[lane];
            least[lane] = choose(better, cost[lane], least[lane]);
            best[lane] = choose(better, d[lane], best[lane]);
        }
    }
    let levels = closest(scales, &best, limit);
    let mut along = *squares;
    for j in 0..G {
        for lane in 0..TILE {
            along[j][lane] *= scales[j][lane];
        }
    }
    fitted(&levels, &along, squares)
}

/// Nearest integer from `-limit` to `limit - 1`.
#[inline(always)]
fn level(x: f32, limit: f32) -> f32 {
    Quick::within(x, -limit, limit - 1.0)
}

/// The levels closest to the scales.
#[inline(always)]
pub(crate) fn closest<const G: usize>(
    scales: &Steps<TILE, G>,
    d: &[f32; TILE],
    limit: f32,
) -> Steps<TILE, G> {
    let mut factor = [0.0; TILE];
    for lane in 0..TILE {
        factor[lane] = inverse(d[lane]);
    }
    let mut levels = [[0.0; TILE]; G];
    for j in 0..G {
        for lane in 0..TILE {
            levels[j][lane] = level(factor[lane] * scales[j][lane], limit);
        }
    }
    levels
}

/// Levels a step further, as far as there are any.
#[inline(always)]
pub(crate) fn moved<const G: usize>(
    levels: &Steps<TILE, G>,
    step: f32,
    limit: f32,
) -> Steps<TILE, G> {
    let mut moved = [[0.0; TILE]; G];
    for j in 0..G {
        for lane in 0..TILE {
            moved[j][lane] = level(levels[j][lane] + step, limit);
        }
    }
    moved
}

/// The `d` with the least error for the codes that were measured, as it is stored.
#[inline(always)]
pub(crate) fn least_squares<const G: usize>(choice: &Choice<G>) -> [f32; TILE] {
    fitted(&choice.levels, &choice.along, &choice.square)
}

/// `Σ level * along / Σ level^2 * square` in half precision.
#[inline(always)]
fn fitted<const G: usize>(
    levels: &Steps<TILE, G>,
    along: &Steps<TILE, G>,
    square: &Steps<TILE, G>,
) -> [f32; TILE] {
    let (mut above, mut below) = ([0.0; TILE], [0.0; TILE]);
    for j in 0..G {
        for lane in 0..TILE {
            above[lane] += levels[j][lane] * along[j][lane];
            below[lane] += levels[j][lane] * levels[j][lane] * square[j][lane];
        }
    }
    let mut d = [0.0; TILE];
    for lane in 0..TILE {
        d[lane] = f16_value(f16_bits(above[lane] / below[lane]));
    }
    d
}

/// For each group the choice with the least error, the first one on ties.
#[inline(always)]
pub(crate) fn best<const G: usize>(window: &[Choice<G>; 3]) -> Choice<G> {
    let [first, others @ ..] = window;
    let mut best = first.copy();
    for other in others {
        for j in 0..G {
            let mut wanted = [false; TILE];
            for (lane, wanted) in wanted.iter_mut().enumerate() {
                *wanted = other.error[j][lane] < best.error[j][lane];
            }
            best.take(j, &wanted, other);
        }
    }
    best
}

/// Price of a step of the level: `lambda` hundredths of the mean error of a group.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "groups are few")]
pub(crate) fn prices(total: &[f32; TILE], lambda: f32, groups: usize) -> [f32; TILE] {
    let factor = lambda / (100.0 * groups as f32);
    let mut prices = [0.0; TILE];
    for lane in 0..TILE {
        prices[lane] = total[lane] * factor;
    }
    prices
}

/// The path with the smallest sum of errors and of prices of steps between neighbours.
#[inline(always)]
pub(crate) fn smoothest<const G: usize>(window: &[Choice<G>; 3], price: &[f32; TILE]) -> Choice<G> {
    let mut costs = [[0.0; TILE]; 3];
    // Where the best path to each choice of a group comes from.
    let mut from = [[[0.0; TILE]; 3]; G];
    for (j, from) in from.iter_mut().enumerate() {
        let before = costs;
        for (to, choice) in window.iter().enumerate() {
            // The first group has no neighbour before it, and nothing has been paid yet.
            let neighbour = j.saturating_sub(1);
            let mut least = [f32::INFINITY; TILE];
            let mut source = [0.0; TILE];
            for ((number, previous), before) in [0.0, 1.0, 2.0].into_iter().zip(window).zip(&before)
            {
                for lane in 0..TILE {
                    let step = (choice.levels[j][lane] - previous.levels[neighbour][lane]).abs();
                    let step = if j == 0 { 0.0 } else { step };
                    let cost = before[lane] + price[lane] * step;
                    let better = cost < least[lane];
                    least[lane] = choose(better, cost, least[lane]);
                    source[lane] = choose(better, number, source[lane]);
                }
            }
            for lane in 0..TILE {
                costs[to][lane] = least[lane] + choice.error[j][lane];
            }
            from[to] = source;
        }
    }
    let [first, second, third] = window;
    let mut path = first.copy();
    let mut at = [0.0; TILE];
    for lane in 0..TILE {
        let [a, b, c] = [costs[0][lane], costs[1][lane], costs[2][lane]];
        let two = if (b < a) & (b <= c) { 1.0 } else { 0.0 };
        at[lane] = if (c < a) & (c < b) { 2.0 } else { two };
    }
    for (j, from) in from.iter().enumerate().rev() {
        let mut is = [[false; TILE]; 2];
        for lane in 0..TILE {
            is[0][lane] = at[lane] == 1.0;
            is[1][lane] = at[lane] == 2.0;
            let other = choose(is[1][lane], from[2][lane], from[0][lane]);
            at[lane] = choose(is[0][lane], from[1][lane], other);
        }
        path.take(j, &is[0], second);
        path.take(j, &is[1], third);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: usize = 5;

    /// Errors around 1 from a fixed sequence, levels around `middle` of each group.
    fn window() -> [Choice<GROUPS>; 3] {
        let mut state = 7u32;
        let mut next = move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            f32::from_bits(0x3f80_0000 | state >> 9)
        };
        [0.0, -1.0, 1.0].map(|step| {
            let zeros = [[0.0; TILE]; GROUPS];
            let mut choice = Choice { levels: zeros, error: zeros, along: zeros, square: zeros };
            for (j, middle) in [3.0, -20.0, 5.0, 6.0, 6.0].into_iter().enumerate() {
                for lane in 0..TILE {
                    choice.levels[j][lane] = middle + step;
                    choice.error[j][lane] = next();
                    choice.along[j][lane] = next();
                    choice.square[j][lane] = next();
                }
            }
            choice
        })
    }

    fn cost(levels: &[f32], errors: &[f32], price: f32) -> f32 {
        let steps: f32 = levels.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
        errors.iter().sum::<f32>() + price * steps
    }

    #[test]
    fn the_smoothest_path_is_the_cheapest_of_all() {
        let window = window();
        for price in [0.0, 0.01, 0.1, 1.0, 100.0] {
            let path = smoothest(&window, &[price; TILE]);
            for lane in 0..TILE {
                let mut least = f32::INFINITY;
                for number in 0..3usize.pow(5) {
                    let at = |j: u32| &window[number / 3usize.pow(j) % 3];
                    let levels = [0, 1, 2, 3, 4].map(|j| at(j).levels[j as usize][lane]);
                    let errors = [0, 1, 2, 3, 4].map(|j| at(j).error[j as usize][lane]);
                    least = least.min(cost(&levels, &errors, price));
                }
                let levels = path.levels.map(|levels| levels[lane]);
                let found = cost(&levels, &path.error.map(|error| error[lane]), price);
                assert!((found - least).abs() <= 1e-5 * least, "{price}: {found}, {least}");
            }
        }
    }

    #[test]
    fn without_a_price_it_is_the_best_choice_of_each_group() {
        let window = window();
        let (path, best) = (smoothest(&window, &[0.0; TILE]), best(&window));
        assert_eq!((path.levels, path.error), (best.levels, best.error));
        assert_eq!((path.along, path.square), (best.along, best.square));
        for (j, errors) in best.error.iter().enumerate() {
            for (lane, error) in errors.iter().enumerate() {
                assert!(window.iter().all(|choice| *error <= choice.error[j][lane]));
            }
        }
    }

    #[test]
    fn multiples_of_something_are_seen_to_be() {
        let (levels, d) = ([-32.0, 7.0, -1.0, 0.0, 31.0], 0.125);
        let scales = levels.map(|level| [d * level; TILE]);
        let found = common(&scales, &[[1.0; TILE]; GROUPS], &[-30.0, -32.0, 31.0], 32.0);
        assert_eq!(found, [d; TILE]);
        assert_eq!(closest(&scales, &found, 32.0), levels.map(|level| [level; TILE]));
        assert_eq!(moved(&[[31.0; TILE], [-32.0; TILE]], 1.0, 32.0), [[31.0; TILE], [-31.0; TILE]]);
    }
}
