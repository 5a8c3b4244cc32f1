//! One choice for each of many items, within a budget, for the least damage: the multiple-choice
//! knapsack problem.
//!
//! The choices of an item that can be part of an optimum of the relaxed problem (Lagrange multiplier
//! on the budget) lie on the lower convex hull of its (size, damage) points. Going along all hulls
//! at once by falling gain per byte passes through these optima; what is left of the budget when
//! the next step does not fit is then spent by single exchanges. H. Kellerer, U. Pferschy,
//! D. Pisinger, "Knapsack Problems", chapter 11.

use std::cmp::Ordering;

/// One way to take an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) bytes: u64,
    pub(super) damage: f64,
}

/// The index of the choice for each item, or `None` if even the smallest ones exceed the budget.
/// An item without choices gets 0.
pub(super) fn solve(items: &[Vec<Choice>], budget: u64) -> Option<Vec<usize>> {
    let hulls: Vec<Vec<usize>> = items.iter().map(|choices| hull(choices)).collect();
    let mut taken: Vec<usize> =
        hulls.iter().map(|hull| hull.first().copied().unwrap_or(0)).collect();
    let mut used = 0u64;
    for (choices, &at) in items.iter().zip(&taken) {
        used = used.checked_add(choices.get(at).map_or(0, |choice| choice.bytes))?;
    }
    let mut left = budget.checked_sub(used)?;
    for step in steps(items, &hulls) {
        let Some(taken) = taken.get_mut(step.item) else { continue };
        // A hull is left for good where a step does not fit: the next one starts from its end.
        if *taken == step.from && step.bytes <= left {
            *taken = step.to;
            left -= step.bytes;
        }
    }
    while let Some((item, to, bytes)) = best_exchange(items, &taken, left) {
        if let Some(taken) = taken.get_mut(item) {
            *taken = to;
        }
        left -= bytes;
    }
    Some(taken)
}

/// The choices on the lower convex hull, by size; of equal ones the first.
fn hull(choices: &[Choice]) -> Vec<usize> {
    let mut order: Vec<(usize, &Choice)> = choices.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| a.bytes.cmp(&b.bytes).then(a.damage.total_cmp(&b.damage)));
    let mut hull: Vec<(usize, &Choice)> = Vec::new();
    for (at, choice) in order {
        if hull.last().is_some_and(|(_, last)| choice.damage >= last.damage) {
            continue;
        }
        while let [.., (_, a), (_, b)] = hull.as_slice() {
            if gain(a, b) > gain(b, choice) {
                break;
            }
            hull.pop();
        }
        hull.push((at, choice));
    }
    hull.into_iter().map(|(at, _)| at).collect()
}

/// Damage saved per byte.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn gain(from: &Choice, to: &Choice) -> f64 {
    (from.damage - to.damage) / to.bytes.saturating_sub(from.bytes) as f64
}

struct Step {
    item: usize,
    from: usize,
    to: usize,
    bytes: u64,
    gain: f64,
}

/// The steps along all hulls, best first.
fn steps(items: &[Vec<Choice>], hulls: &[Vec<usize>]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (item, (choices, hull)) in items.iter().zip(hulls).enumerate() {
        for pair in hull.windows(2) {
            let &[from, to] = pair else { continue };
            let (Some(a), Some(b)) = (choices.get(from), choices.get(to)) else { continue };
            steps.push(Step { item, from, to, bytes: b.bytes - a.bytes, gain: gain(a, b) });
        }
    }
    // Stable: equal steps in the order of the items. Along one hull, gains fall.
    steps.sort_by(|a, b| b.gain.partial_cmp(&a.gain).unwrap_or(Ordering::Equal));
    steps
}

/// The exchange of one item's choice that saves most damage within the bytes that are left, and
/// its bytes.
fn best_exchange(items: &[Vec<Choice>], taken: &[usize], left: u64) -> Option<(usize, usize, u64)> {
    let mut best: Option<(f64, (usize, usize, u64))> = None;
    for (item, (choices, &now)) in items.iter().zip(taken).enumerate() {
        let Some(now) = choices.get(now) else { continue };
        for (to, choice) in choices.iter().enumerate() {
            let bytes = choice.bytes.saturating_sub(now.bytes);
            let saved = now.damage - choice.damage;
            if bytes <= left && saved > best.as_ref().map_or(0.0, |(most, _)| *most) {
                // A smaller choice with less damage is never left out by the hulls.
                best = Some((saved, (item, to, bytes)));
            }
        }
    }
    best.map(|(_, exchange)| exchange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(points: &[(u64, f64)]) -> Vec<Choice> {
        points.iter().map(|&(bytes, damage)| Choice { bytes, damage }).collect()
    }

    fn total(items: &[Vec<Choice>], taken: &[usize]) -> (u64, f64) {
        let chosen = items.iter().zip(taken).map(|(choices, &at)| choices[at]);
        chosen.fold((0, 0.0), |(b, d), choice| (b + choice.bytes, d + choice.damage))
    }

    #[test]
    fn hulls_leave_out_what_is_never_best() {
        let choices = item(&[(10, 8.0), (20, 7.5), (30, 1.0), (25, 9.0), (40, 1.0), (50, 0.0)]);
        assert_eq!(hull(&choices), [0, 2, 5]);
        assert_eq!(hull(&[]), Vec::<usize>::new());
    }

    #[test]
    fn budgets() {
        let items = [item(&[(10, 8.0), (30, 1.0)]), item(&[(10, 5.0), (20, 1.0), (40, 0.5)])];
        assert_eq!(solve(&items, 19), None);
        assert_eq!(solve(&items, 20), Some(vec![0, 0]));
        assert_eq!(solve(&items, 30), Some(vec![0, 1]));
        assert_eq!(solve(&items, 49), Some(vec![0, 1]));
        assert_eq!(solve(&items, 50), Some(vec![1, 1]));
        assert_eq!(solve(&items, 70), Some(vec![1, 2]));
        // Nothing to choose.
        assert_eq!(solve(&[Vec::new()], 0), Some(vec![0]));
    }

    #[test]
    fn near_the_optimum_of_all_combinations() {
        let mut state = 5u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 40
        };
        for _ in 0..50 {
            let items: Vec<Vec<Choice>> = (0..6)
                .map(|_| {
                    let scale = 1.0 + (next() % 9) as f64;
                    (1..5u32)
                        .map(|k| Choice {
                            bytes: u64::from(k) * 100 + next() % 30,
                            damage: scale * 4f64.powi(-k.cast_signed()),
                        })
                        .collect()
                })
                .collect();
            let budget = 1500;
            let taken = solve(&items, budget).expect("it fits");
            let (bytes, damage) = total(&items, &taken);
            assert!(bytes <= budget);
            let mut best = f64::INFINITY;
            for code in 0..4usize.pow(6) {
                let taken: Vec<usize> = (0..6).map(|at| code / 4usize.pow(at) % 4).collect();
                let (bytes, damage) = total(&items, &taken);
                if bytes <= budget {
                    best = best.min(damage);
                }
            }
            assert!(damage <= 1.15 * best, "{damage} against {best}");
        }
    }
}
