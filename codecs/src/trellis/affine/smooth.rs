//! The smoothest of equally good choices: a path through the scales of a super-block's groups that
//! counts the steps between neighbours.

use crate::trellis::affine::State;
use crate::trellis::affine::window::{Choice, Choices};

/// Takes for each group one of its choices, so that the errors of the groups plus `lambda`
/// hundredths of the mean error per step between scales of neighbours are least (Viterbi's
/// algorithm with one state per choice).
#[inline(always)]
pub(crate) fn path<const N: usize, const S: usize>(
    choices: &Choices<N>,
    lambda: f32,
    state: &mut State<N>,
) {
    for first in (0..N).step_by(S) {
        let price = lambda / 100.0 * state.error[first] / S as f32;
        // For each group and choice: the choice of the group before on the cheapest way there.
        let mut before = [[0; 3]; S];
        let mut costs = choices.0.each_ref().map(|choice| choice.error[first]);
        for (j, before) in before.iter_mut().enumerate().skip(1) {
            let lane = first + j;
            let reached = costs;
            for (k, choice) in choices.0.iter().enumerate() {
                let mut cheapest = f32::INFINITY;
                for (from, cost) in reached.iter().enumerate() {
                    let step = choice.levels.scale[lane] - choices.0[from].levels.scale[lane - 1];
                    let cost = cost + price * step.abs();
                    if cost < cheapest {
                        (cheapest, before[k]) = (cost, from);
                    }
                }
                costs[k] = cheapest + choice.error[lane];
            }
        }
        let mut last = 0;
        for k in 1..3 {
            if costs[k] < costs[last] {
                last = k;
            }
        }
        for j in (0..S).rev() {
            let Choice { levels, .. } = &choices.0[last];
            state.levels.scale[first + j] = levels.scale[first + j];
            state.levels.min[first + j] = levels.min[first + j];
            last = before[j][last];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trellis::affine::window::Levels;

    const GROUPS: usize = 8;

    /// Two super-blocks with errors and scales from a fixed sequence.
    fn choices() -> Choices<{ 2 * GROUPS }> {
        let mut state = 5u32;
        let mut next = move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            f32::from_bits(0x3f80_0000 | state >> 9) - 1.0
        };
        let mut middle = [0.0; 2 * GROUPS];
        for scale in &mut middle {
            *scale = (30.0 + 8.0 * next()).floor();
        }
        Choices([0.0, -1.0, 1.0].map(|step| Choice {
            levels: Levels { scale: middle.map(|scale| scale + step), min: middle },
            error: middle.map(|_| 1.0 + 0.1 * next()),
        }))
    }

    /// Error and price of a super-block with the given choices of its groups.
    fn cost(choices: &Choices<{ 2 * GROUPS }>, first: usize, price: f32, taken: &[usize]) -> f32 {
        let (mut cost, mut last) = (0.0, None);
        for (j, k) in taken.iter().enumerate() {
            let scale = choices.0[*k].levels.scale[first + j];
            let step = last.map_or(0.0, |last: f32| (scale - last).abs());
            cost += choices.0[*k].error[first + j] + price * step;
            last = Some(scale);
        }
        cost
    }

    #[test]
    fn no_path_is_cheaper() {
        let choices = choices();
        for lambda in [0.3, 20.0, 1000.0] {
            let zero = [0.0; 2 * GROUPS];
            let levels = Levels { scale: zero, min: zero };
            let mut state = State { d: zero, dmin: zero, levels, error: [8.0; 2 * GROUPS] };
            path::<{ 2 * GROUPS }, GROUPS>(&choices, lambda, &mut state);
            let price = lambda / 100.0;
            for first in [0, GROUPS] {
                let taken: Vec<usize> = (first..first + GROUPS)
                    .map(|lane| {
                        let scale = state.levels.scale[lane];
                        let same = |choice: &Choice<_>| choice.levels.scale[lane] == scale;
                        choices.0.iter().position(same).expect("one of the choices")
                    })
                    .collect();
                let found = cost(&choices, first, price, &taken);
                for number in 0..3usize.pow(8) {
                    let other: Vec<usize> = (0..8).map(|j| number / 3usize.pow(j) % 3).collect();
                    assert!(found <= cost(&choices, first, price, &other) + 1e-4, "{lambda}");
                }
            }
        }
    }
}
