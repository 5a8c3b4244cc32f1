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
    // Copies, so that the compiler knows what it writes is not what it reads.
    let (x_i, x_j) = (sorted.x[i], sorted.x[j]);
    let (w_i, w_j) = (sorted.w[i], sorted.w[j]);
    let (from_i, from_j) = (sorted.from[i], sorted.from[j]);
    let mut swap = [0; N];
    for lane in 0..N {
        let (a, b) = (x_i[lane], x_j[lane]);
        let wrong = (a > b) | ((a == b) & (from_i[lane] > from_j[lane]));
        swap[lane] = u32::from(wrong).wrapping_neg();
    }
    for lane in 0..N {
        let x = swap[lane] & (x_i[lane].to_bits() ^ x_j[lane].to_bits());
        sorted.x[i][lane] = f32::from_bits(x_i[lane].to_bits() ^ x);
        sorted.x[j][lane] = f32::from_bits(x_j[lane].to_bits() ^ x);
    }
    for lane in 0..N {
        let w = swap[lane] & (w_i[lane].to_bits() ^ w_j[lane].to_bits());
        sorted.w[i][lane] = f32::from_bits(w_i[lane].to_bits() ^ w);
        sorted.w[j][lane] = f32::from_bits(w_j[lane].to_bits() ^ w);
    }
    for lane in 0..N {
        let from = swap[lane] & (from_i[lane] ^ from_j[lane]);
        sorted.from[i][lane] = from_i[lane] ^ from;
        sorted.from[j][lane] = from_j[lane] ^ from;
    }
}

/// The best so far: the scale, what it is worth, and where it was found.
struct Best<const N: usize> {
    scale: [f32; N],
    score: [f32; N],
    /// Shift, `low` and `middle`, six bits each.
    place: [u32; N],
}

impl<const N: usize> Best<N> {
    #[inline(always)]
    fn new() -> Self {
        Self { scale: [0.0; N], score: [-f32::MAX; N], place: [NONE; N] }
    }

    /// Takes over what is better.
    #[inline(always)]
    fn update(&mut self, lane: usize, along: f32, square: f32, place: u32) {
        let better = (square > 0.0) & (along * along > self.score[lane] * square);
        let scale = along / square;
        self.scale[lane] = choose(better, scale, self.scale[lane]);
        self.score[lane] = choose(better, scale * along, self.score[lane]);
        self.place[lane] = if better { place } else { self.place[lane] };
    }

    #[inline(always)]
    fn split(self) -> Split<N> {
        Split {
            scale: self.scale,
            low: self.place.map(|place| place & 63),
            middle: self.place.map(|place| place >> 6 & 63),
            shift: self.place.map(|place| if place == NONE { NONE } else { place >> 12 }),
        }
    }
}

/// The best cuts with one shift for the whole group: 0 up, 1 down.
#[inline(always)]
pub(crate) fn whole<const N: usize>(sorted: &Sorted<N, 32>) -> Split<N> {
    const K: usize = 32;
    // Sums of the first `i` are at `i`, and at the end that of all.
    let (mut sum_x, mut sum_w) = ([[0.0; N]; K + 1], [[0.0; N]; K + 1]);
    for i in 0..K {
        for lane in 0..N {
            sum_x[i + 1][lane] = sum_x[i][lane] + sorted.w[i][lane] * sorted.x[i][lane];
            sum_w[i + 1][lane] = sum_w[i][lane] + sorted.w[i][lane];
        }
    }
    // What the weights above the upper cut give, for both shifts.
    let mut above = [[[0.0; N]; 4]; K + 1];
    for (i, above) in above.iter_mut().enumerate() {
        for lane in 0..N {
            let (x, w) = (sum_x[K][lane] - sum_x[i][lane], sum_w[K][lane] - sum_w[i][lane]);
            above[0][lane] = x * UP[2];
            above[1][lane] = w * UP[2] * UP[2];
            above[2][lane] = x * DOWN[2];
            above[3][lane] = w * DOWN[2] * DOWN[2];
        }
    }
    let mut best = Best::new();
    for (low, i) in (0..=K).zip(0..) {
        // The same below the lower one.
        let mut below = [[0.0; N]; 4];
        for lane in 0..N {
            let (x, w) = (sum_x[low][lane], sum_w[low][lane]);
            below[0][lane] = x * UP[0];
            below[1][lane] = w * UP[0] * UP[0];
            below[2][lane] = x * DOWN[0];
            below[3][lane] = w * DOWN[0] * DOWN[0];
        }
        for (middle, j) in (0..=K).zip(0..).skip(low) {
            let place = i | j << 6;
            for lane in 0..N {
                // Middle levels are opposite, and powers of two: their products are exact.
                let x = (sum_x[middle][lane] - sum_x[low][lane]) * SHIFT;
                let w = (sum_w[middle][lane] - sum_w[low][lane]) * SHIFT * SHIFT;
                let along = below[0][lane] + x + above[middle][0][lane];
                let square = below[1][lane] + w + above[middle][1][lane];
                best.update(lane, along, square, place);
                let along = below[2][lane] - x + above[middle][2][lane];
                let square = below[3][lane] + w + above[middle][3][lane];
                best.update(lane, along, square, place | 1 << 12);
            }
        }
    }
    best.split()
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
    let mut whole = [[0.0; N]; 8];
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
        for lane in 0..N {
            let (x, w) = (sum_x[half][K][lane], sum_w[half][K][lane]);
            whole[4 * half][lane] = x * UP[2];
            whole[4 * half + 1][lane] = w * UP[2] * UP[2];
            whole[4 * half + 2][lane] = x * DOWN[2];
            whole[4 * half + 3][lane] = w * DOWN[2] * DOWN[2];
        }
    }
    let mut best = Best::new();
    for (low, i) in (0..=K).zip(0..) {
        // Levels are one apart, so that sums over three pieces become those up to the cuts.
        let mut below = [[0.0; N]; 4];
        for lane in 0..N {
            below[0][lane] = whole[1][lane] + sum_w[0][low][lane] * UPS[0];
            below[1][lane] = whole[3][lane] + sum_w[0][low][lane] * DOWNS[0];
            below[2][lane] = whole[5][lane] + sum_w[1][low][lane] * UPS[0];
            below[3][lane] = whole[7][lane] + sum_w[1][low][lane] * DOWNS[0];
        }
        for (middle, j) in (0..=K).zip(0..).skip(low) {
            let place = i | j << 6;
            for lane in 0..N {
                let cuts = sum_x[0][low][lane] + sum_x[0][middle][lane];
                let (up, down) = (whole[0][lane] - cuts, whole[2][lane] - cuts);
                let cuts = sum_x[1][low][lane] + sum_x[1][middle][lane];
                let (second_up, second_down) = (whole[4][lane] - cuts, whole[6][lane] - cuts);
                let w = sum_w[0][middle][lane];
                let (w_up, w_down) = (below[0][lane] + w * UPS[1], below[1][lane] + w * DOWNS[1]);
                let w = sum_w[1][middle][lane];
                let (second_w_up, second_w_down) =
                    (below[2][lane] + w * UPS[1], below[3][lane] + w * DOWNS[1]);
                best.update(lane, up + second_up, w_up + second_w_up, place);
                best.update(lane, up + second_down, w_up + second_w_down, place | 1 << 12);
                best.update(lane, down + second_up, w_down + second_w_up, place | 2 << 12);
                best.update(lane, down + second_down, w_down + second_w_down, place | 3 << 12);
            }
        }
    }
    best.split()
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
