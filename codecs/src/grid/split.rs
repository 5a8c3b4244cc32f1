//! Three levels for a group of weights: `x ≈ scale * (digit - 1 ± 1/8)`, as the `IQ1` types have it.
//!
//! Sorted by value, the weights with digit 0 come first and those with digit 2 last, so a choice of
//! digits is two cuts in the sorted group, and sums up to each place give what a pair of cuts is
//! worth. All pairs are tried, each with all shifts; the smallest weighted error wins as in
//! [`crate::search::signed`], the first one on ties.

use crate::lockstep::{Steps, choose};

/// What the levels are shifted by.
pub(crate) const SHIFT: f32 = 0.125;
/// Levels shifted up.
pub(crate) const UP: [f32; 3] = [-1.0 + SHIFT, SHIFT, 1.0 + SHIFT];
/// Levels shifted down.
pub(crate) const DOWN: [f32; 3] = [-1.0 - SHIFT, -SHIFT, 1.0 - SHIFT];

/// Result of a search, per lane.
pub(crate) struct Split<const N: usize> {
    /// The scale; it may be negative.
    pub(crate) scale: [f32; N],
    /// How many weights, in order of value, have digit 0.
    pub(crate) low: [u32; N],
    /// How many have digit 0 or 1.
    pub(crate) middle: [u32; N],
    /// Which shifts; from 0 on in the order they are tried in. `NONE` if nothing was found.
    pub(crate) shift: [u32; N],
}

/// No pair of cuts is worth anything.
pub(crate) const NONE: u32 = u32::MAX;

/// A group in ascending order.
pub(crate) struct Sorted<const N: usize, const K: usize> {
    /// Values.
    pub(crate) x: Steps<N, K>,
    /// Weights of the error.
    pub(crate) w: Steps<N, K>,
    /// Where they were.
    pub(crate) from: [[u32; N]; K],
}

/// Sorts each lane; equal values keep their order.
#[inline(always)]
pub(crate) fn sort<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
) -> Sorted<N, K> {
    let mut sorted = Sorted { x: *x, w: *w, from: [[0; N]; K] };
    for (from, i) in sorted.from.iter_mut().zip(0..) {
        *from = [i; N];
    }
    // Batcher's odd-even merge sort: which places are compared does not depend on the values.
    let mut run = 1;
    while run < K {
        let mut step = run;
        while step > 0 {
            for i in 0..K - step {
                let in_order = i >= step % run
                    && (i - step % run) / step % 2 == 0
                    && i / (2 * run) == (i + step) / (2 * run);
                if in_order {
                    exchange(&mut sorted, i, i + step);
                }
            }
            step /= 2;
        }
        run *= 2;
    }
    sorted
}

/// Puts places `i` and `j > i` in order.
#[inline(always)]
fn exchange<const N: usize, const K: usize>(sorted: &mut Sorted<N, K>, i: usize, j: usize) {
    for lane in 0..N {
        let (a, b) = (sorted.x[i][lane], sorted.x[j][lane]);
        let (from_a, from_b) = (sorted.from[i][lane], sorted.from[j][lane]);
        let (w_a, w_b) = (sorted.w[i][lane], sorted.w[j][lane]);
        let swap = (a > b) | ((a == b) & (from_a > from_b));
        sorted.x[i][lane] = choose(swap, b, a);
        sorted.x[j][lane] = choose(swap, a, b);
        sorted.w[i][lane] = choose(swap, w_b, w_a);
        sorted.w[j][lane] = choose(swap, w_a, w_b);
        let mask = u32::from(swap).wrapping_neg() & (from_a ^ from_b);
        sorted.from[i][lane] = from_a ^ mask;
        sorted.from[j][lane] = from_b ^ mask;
    }
}

/// The best so far.
struct Best<const N: usize> {
    split: Split<N>,
    score: [f32; N],
}

impl<const N: usize> Best<N> {
    #[inline(always)]
    fn new() -> Self {
        let split = Split { scale: [0.0; N], low: [0; N], middle: [0; N], shift: [NONE; N] };
        Self { split, score: [-f32::MAX; N] }
    }

    /// Takes over what is better.
    #[inline(always)]
    fn update(&mut self, along: &[f32; N], square: &[f32; N], low: u32, middle: u32, shift: u32) {
        for lane in 0..N {
            let (a, s) = (along[lane], square[lane]);
            let better = (s > 0.0) & (a * a > self.score[lane] * s);
            let scale = a / s;
            self.split.scale[lane] = choose(better, scale, self.split.scale[lane]);
            self.score[lane] = choose(better, scale * a, self.score[lane]);
            self.split.low[lane] = if better { low } else { self.split.low[lane] };
            self.split.middle[lane] = if better { middle } else { self.split.middle[lane] };
            self.split.shift[lane] = if better { shift } else { self.split.shift[lane] };
        }
    }
}

/// The best cuts with one shift for the whole group: 0 up, 1 down.
#[inline(always)]
pub(crate) fn whole<const N: usize>(sorted: &Sorted<N, 32>) -> Split<N> {
    const K: usize = 32;
    // Sums of the first `i` are at `i`.
    let (mut sum_x, mut sum_w) = ([[0.0; N]; K + 1], [[0.0; N]; K + 1]);
    for i in 0..K {
        for lane in 0..N {
            sum_x[i + 1][lane] = sum_x[i][lane] + sorted.w[i][lane] * sorted.x[i][lane];
            sum_w[i + 1][lane] = sum_w[i][lane] + sorted.w[i][lane];
        }
    }
    let mut best = Best::new();
    for (low, i) in (0..=K).zip(0..) {
        for (middle, j) in (0..=K).zip(0..).skip(low) {
            for (shift, levels) in [UP, DOWN].iter().enumerate() {
                let (mut along, mut square) = ([0.0; N], [0.0; N]);
                for lane in 0..N {
                    let (a, b, c) = (
                        sum_x[low][lane],
                        sum_x[middle][lane] - sum_x[low][lane],
                        sum_x[K][lane] - sum_x[middle][lane],
                    );
                    along[lane] = a * levels[0] + b * levels[1] + c * levels[2];
                    let (a, b, c) = (
                        sum_w[low][lane],
                        sum_w[middle][lane] - sum_w[low][lane],
                        sum_w[K][lane] - sum_w[middle][lane],
                    );
                    square[lane] = a * levels[0] * levels[0]
                        + b * levels[1] * levels[1]
                        + c * levels[2] * levels[2];
                }
                best.update(&along, &square, i, j, u32::from(shift != 0));
            }
        }
    }
    best.split
}

/// The best cuts with shifts of their own for the weights that were in the first and second half:
/// 0 both up, 1 up and down, 2 down and up, 3 both down.
#[inline(always)]
pub(crate) fn halves<const N: usize>(sorted: &Sorted<N, 16>) -> Split<N> {
    const K: usize = 16;
    /// Differences of squares of neighbouring levels.
    const UPS: [f32; 2] = [UP[0] * UP[0] - UP[1] * UP[1], UP[1] * UP[1] - UP[2] * UP[2]];
    const DOWNS: [f32; 2] =
        [DOWN[0] * DOWN[0] - DOWN[1] * DOWN[1], DOWN[1] * DOWN[1] - DOWN[2] * DOWN[2]];
    let (mut sum_x, mut sum_w) = ([[[0.0; N]; K + 1]; 2], [[[0.0; N]; K + 1]; 2]);
    for half in 0..2 {
        for i in 0..K {
            for lane in 0..N {
                let here = (sorted.from[i][lane] >= 8) == (half == 1);
                let product = sorted.w[i][lane] * sorted.x[i][lane];
                let (x, w) = (sum_x[half][i][lane], sum_w[half][i][lane]);
                sum_x[half][i + 1][lane] = choose(here, x + product, x);
                sum_w[half][i + 1][lane] = choose(here, w + sorted.w[i][lane], w);
            }
        }
    }
    let mut best = Best::new();
    for (low, i) in (0..=K).zip(0..) {
        for (middle, j) in (0..=K).zip(0..).skip(low) {
            // Levels are one apart, so that sums over three pieces become those up to the cuts.
            let (mut along_up, mut along_down) = ([[0.0; N]; 2], [[0.0; N]; 2]);
            let (mut square_up, mut square_down) = ([[0.0; N]; 2], [[0.0; N]; 2]);
            for half in 0..2 {
                for lane in 0..N {
                    let cuts = sum_x[half][low][lane] + sum_x[half][middle][lane];
                    let all = sum_x[half][K][lane];
                    along_up[half][lane] = all * UP[2] - cuts;
                    along_down[half][lane] = all * DOWN[2] - cuts;
                    let all = sum_w[half][K][lane];
                    let (a, b) = (sum_w[half][low][lane], sum_w[half][middle][lane]);
                    square_up[half][lane] = all * UP[2] * UP[2] + a * UPS[0] + b * UPS[1];
                    square_down[half][lane] = all * DOWN[2] * DOWN[2] + a * DOWNS[0] + b * DOWNS[1];
                }
            }
            for shift in 0..4 {
                let (mut along, mut square) = ([0.0; N], [0.0; N]);
                let first = if shift < 2 {
                    (&along_up[0], &square_up[0])
                } else {
                    (&along_down[0], &square_down[0])
                };
                let second = if shift % 2 == 0 {
                    (&along_up[1], &square_up[1])
                } else {
                    (&along_down[1], &square_down[1])
                };
                for lane in 0..N {
                    along[lane] = first.0[lane] + second.0[lane];
                    square[lane] = first.1[lane] + second.1[lane];
                }
                best.update(&along, &square, i, j, shift);
            }
        }
    }
    best.split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorting_is_stable() {
        let x: Steps<2, 32> = std::array::from_fn(|i| {
            let v = [5.0, -1.0, 0.0, 5.0, -0.0, 3.0, -1.0][i * i % 7];
            [v, 31.0 - f32::from(u8::try_from(i).unwrap_or(0))]
        });
        let w: Steps<2, 32> = std::array::from_fn(|i| [f32::from(u8::try_from(i).unwrap_or(0)); 2]);
        let sorted = sort(&x, &w);
        for lane in 0..2 {
            let mut expected: Vec<usize> = (0..32).collect();
            expected.sort_by(|a, b| x[*a][lane].partial_cmp(&x[*b][lane]).expect("numbers"));
            for (i, from) in expected.iter().enumerate() {
                assert_eq!(sorted.from[i][lane] as usize, *from, "place {i}");
                assert_eq!(
                    (sorted.x[i][lane], sorted.w[i][lane]),
                    (x[*from][lane], w[*from][lane])
                );
            }
        }
    }
}
