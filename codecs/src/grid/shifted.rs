//! Groups of the `IQ1` types: from the best cuts to points of the grid.

use std::sync::OnceLock;

use crate::grid::fit::{among, nearest_of};
use crate::grid::near::Near;
use crate::grid::points::IQ1;
use crate::grid::split::{DOWN, NONE, Sorted, Split, UP};
use crate::lockstep::Steps;

/// Weights of a point.
const OCTET: usize = 8;
/// Octets in the largest group.
const OCTETS: usize = 4;

/// The grid of `iq1_s` and `iq1_m`.
pub(crate) fn near() -> &'static Near<8, 3> {
    static NEAR: OnceLock<Near<8, 3>> = OnceLock::new();
    NEAR.get_or_init(|| Near::new(&IQ1, 3))
}

/// What is found for a group.
#[derive(Clone, Copy, Default)]
pub(crate) struct Group {
    /// The scale, not negative.
    pub(crate) scale: f32,
    /// Indexes of the points.
    pub(crate) points: [u16; OCTETS],
    /// Which of them have their levels shifted down.
    pub(crate) down: [bool; OCTETS],
}

/// Levels of an octet.
#[inline(always)]
pub(crate) fn levels(down: bool) -> &'static [f32; 3] {
    if down { &DOWN } else { &UP }
}

/// Finds the points of one lane; `down` says what a shift means for each octet.
#[inline(always)]
pub(crate) fn settle<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    sorted: &Sorted<N, K>,
    split: &Split<N>,
    lane: usize,
    down: impl Fn(u32, usize) -> bool,
) -> Group {
    if split.shift[lane] == NONE {
        return Group::default();
    }
    let near = near();
    let negative = split.scale[lane] < 0.0;
    let mut group = Group { scale: split.scale[lane], ..Group::default() };
    let mut digits = [0; K];
    for (place, from) in (0..).zip(&sorted.from) {
        let digit = u8::from(place >= split.low[lane]) + u8::from(place >= split.middle[lane]);
        digits[from[lane] as usize % K] = if negative { 2 - digit } else { digit };
    }
    if negative {
        group.scale = -group.scale;
    }
    let mut all_on_grid = true;
    let mut points = [[0; OCTET]; OCTETS];
    for k in 0..K / OCTET {
        group.down[k] = down(split.shift[lane], k) != negative;
        let levels = levels(group.down[k]);
        let terms: [[f32; 3]; OCTET] = std::array::from_fn(|i| {
            levels.map(|level| {
                let difference = group.scale * level - x[OCTET * k + i][lane];
                w[OCTET * k + i][lane] * difference * difference
            })
        });
        let key = (0..OCTET).rev().fold(0, |key, i| 3 * key + u32::from(digits[OCTET * k + i]));
        all_on_grid &= near.on_grid(key);
        let nearest = (0..OCTET).all(|i| is_nearest(&terms[i], digits[OCTET * k + i]));
        group.points[k] = near.index(if nearest {
            nearest_of(near.chunks(key), &terms)
        } else {
            among::<8>(near.all(key), |i, digit| terms[i][digit.min(2)])
        });
        points[k] = IQ1[usize::from(group.points[k])];
    }
    if !all_on_grid {
        let (mut along, mut square) = (0.0, 0.0);
        for i in 0..K {
            let q = levels(group.down[i / OCTET])[usize::from(points[i / OCTET][i % OCTET])];
            let wq = w[i][lane] * q;
            along += wq * x[i][lane];
            square += wq * q;
        }
        if along > 0.0 && square > 0.0 {
            group.scale = along / square;
        }
    }
    group
}

/// Whether errors grow with the distance from a digit, so that the shortcut of [`crate::grid::near`]
/// may be taken. The best cuts are such that they do, but for rounding and weights that count
/// nothing.
#[inline(always)]
fn is_nearest(terms: &[f32; 3], digit: u8) -> bool {
    let [a, b, c] = *terms;
    match digit {
        0 => (a <= b) & (b <= c),
        1 => (b <= a) & (b <= c),
        _ => (c <= b) & (b <= a),
    }
}
