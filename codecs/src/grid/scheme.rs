//! What the `IQ2` and `IQ3` types do with a tile of super-blocks.

use crate::grid::fit::{Group, PARTS, Refit, fit};
use crate::grid::near::Near;
use crate::grid::signs::{OCTET, OCTETS, split};
use crate::lockstep::{self, Steps};
use crate::round::nearest_in;
use crate::search::levels;
use crate::superblock::{LEN, TILE, sums_of_squares};

/// How one of these types searches. Groups have `K` weights, points of the grid `D` digits below
/// `L`.
pub(crate) trait Scheme<const D: usize, const L: usize>: 'static {
    /// What the largest magnitude of a group is tried on: numbers around `2 L - 1`.
    const TRIALS: &'static [f32];
    /// Groups whose largest magnitude is below this are taken for zeros.
    const NEGLIGIBLE: f32;
    /// Mean squares count this much in the weights.
    const SPREAD: f32;
    /// Whether the number of minus signs of eight weights has to be even.
    const EVEN: bool;
    /// Whether trials start from the scale that codes without a grid would have, and not from the
    /// largest magnitude.
    const PREPARED: bool = false;
    /// What is done for the final scale.
    const REFIT: Refit;

    /// The grid.
    fn near() -> &'static Near<D, L>;

    /// Weights of the error without importance; `spread` is a multiple of the mean square.
    fn weigh<const N: usize, const K: usize>(x: &Steps<N, K>, spread: &[f32; N]) -> Steps<N, K>;
}

/// `2 L - 1` plus `-count` to `count` times `step`.
pub(crate) const fn trials<const COUNT: usize>(centre: f32, step: f32) -> [f32; COUNT] {
    let mut trials = [0.0; COUNT];
    let mut k = 0;
    while k < COUNT {
        trials[k] = centre + (k as f32 - (COUNT / 2) as f32) * step;
        k += 1;
    }
    trials
}

/// What is found for a tile.
pub(crate) struct Found {
    /// Scales of groups, none negative; zero for groups of zeros.
    pub(crate) scales: [[f32; LEN / 16]; TILE],
    /// Indexes of the points, in the order of the weights.
    pub(crate) indexes: [[u16; LEN / 4]; TILE],
    /// Sign bits of octets.
    pub(crate) signs: [[u8; LEN / OCTET]; TILE],
}

/// Searches up to `TILE` super-blocks: `N` groups of `K` weights are prepared at a time, and each
/// makes up to `T` trials. `R` is the smallest power of two that is not below `L`.
#[inline(always)]
pub(crate) fn search<
    S,
    const N: usize,
    const T: usize,
    const K: usize,
    const D: usize,
    const L: usize,
    const R: usize,
>(
    x: &[f32],
    importance: Option<&[f32]>,
) -> Found
where
    S: Scheme<D, L>,
{
    let mut found =
        Found { scales: [[0.0; 16]; TILE], indexes: [[0; 64]; TILE], signs: [[0; 32]; TILE] };
    let near = S::near();
    let spread = sums_of_squares(x).map(|sum| S::SPREAD * sum / 256.0);
    let groups = LEN / K;
    let mut terms = [[[0.0; T]; R]; D];
    for (round, values) in x.chunks(N * K).enumerate() {
        let first = round * N;
        let steps = lockstep::transpose::<N, K>(values);
        let of_lane = std::array::from_fn(|lane| spread[(first + lane) / groups % TILE]);
        let weights = match importance {
            None => S::weigh(&steps, &of_lane),
            Some(all) => {
                let importance = all.chunks(N * K).nth(round).unwrap_or_default();
                lockstep::weigh(&steps, &lockstep::transpose(importance), &of_lane)
            }
        };
        let (magnitudes, signs) = split(&steps, &weights, S::EVEN);
        let start = prepare::<S, N, K, D, L>(&magnitudes, &weights);
        for lane in 0..values.len() / K {
            let (block, group) = ((first + lane) / groups, (first + lane) % groups);
            if !start.live[lane] {
                continue;
            }
            let prepared = Group::<K>::new(
                std::array::from_fn(|i| magnitudes[i][lane]),
                std::array::from_fn(|i| weights[i][lane]),
            );
            let (reach, scale) = (start.reach[lane], start.scale[lane]);
            let fit = fit::<T, K, D, L, R>(
                &prepared,
                near,
                S::TRIALS,
                reach,
                scale,
                S::REFIT,
                &mut terms,
            );
            // Scales are stored without a sign.
            let flip = if fit.scale < 0.0 { u32::MAX } else { 0 };
            found.scales[block][group] = if flip == 0 { fit.scale } else { -fit.scale };
            for part in 0..K / D {
                found.indexes[block][group * (K / D) + part] = near.index(fit.codes[part]);
            }
            for k in 0..K / OCTET {
                let [signs, ..] = (signs[k][lane] ^ flip).to_le_bytes();
                found.signs[block][group * (K / OCTET) + k] = signs;
            }
        }
    }
    found
}

/// Where trials start from.
struct Start<const N: usize> {
    /// What trials map to their numbers.
    reach: [f32; N],
    /// The scale if no trial is good for anything.
    scale: [f32; N],
    /// Whether the group is not taken for zeros.
    live: [bool; N],
}

/// Finds where trials start from.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "levels are few")]
fn prepare<S, const N: usize, const K: usize, const D: usize, const L: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
) -> Start<N>
where
    S: Scheme<D, L>,
{
    let mut start = Start { reach: x[0], scale: [0.0; N], live: [false; N] };
    for x in x {
        for (reach, x) in start.reach.iter_mut().zip(x) {
            *reach = if *reach > *x { *reach } else { *x };
        }
    }
    for lane in 0..N {
        start.live[lane] = start.reach[lane] >= S::NEGLIGIBLE;
        start.scale[lane] = start.reach[lane] / (2 * L - 1) as f32;
    }
    if S::PREPARED {
        start.scale = levels::fit(x, w, L.to_le_bytes()[0] + 1).scale;
        for lane in 0..N {
            start.reach[lane] = start.scale[lane] * L as f32;
            start.live[lane] &= start.reach[lane] > 0.0;
        }
    }
    start
}

/// The common scale before its rounding, and levels for it: `scale ≈ d * (2 level + 1)`. None if all
/// scales are zero.
#[inline(always)]
pub(crate) fn levels_of<const G: usize>(
    scales: &[f32; 16],
    highest: f32,
    top: i32,
) -> Option<(f32, [u8; G])> {
    let max = scales.iter().fold(0.0, |max, s| if max > *s { max } else { *s });
    if max == 0.0 {
        return None;
    }
    let d = max / highest;
    let inverse = 1.0 / d;
    let mut levels = [0; G];
    for (level, scale) in levels.iter_mut().zip(scales) {
        *level = nearest_in(0.5 * (inverse * scale - 1.0), 0, top).to_le_bytes()[0];
    }
    Some((d, levels))
}

const _: () = assert!(PARTS * 4 == 32 && OCTETS * OCTET == 32);
