//! Blocks of 32 weights with a scale of their own: a lane for each block.

use crate::block32::LEN;
use crate::lockstep::{Steps, choose};
use crate::narrow::{f16_bits, f16_value};
use crate::trellis::signed::{Codes, Weights, is_lower, measure, measure_all, seek};

/// Scales as they are stored, and whether they are better than those there were.
pub(crate) struct Better<const N: usize> {
    pub(crate) scale: [f32; N],
    pub(crate) is: [bool; N],
}

/// Looks for better scales than `old`. Of blocks where it finds one, codes are to be rounded anew.
/// `rounds` is how many scales are measured: the one that is found, and then the least-squares scale
/// of the codes that the last one gave.
///
/// Blocks are compared with what they would be with their scale and the nearest codes: they are
/// no better than that.
#[inline(always)]
pub(crate) fn improve<C: Codes, W: Weights, const N: usize>(
    x: &Steps<N, LEN>,
    w: &W,
    old: &[f32; N],
    trials: &[f32],
    rounds: usize,
) -> Better<N> {
    let found = seek::<C, W, N, LEN>(x, w, trials);
    let before = measure::<C, W, N, LEN>(x, w, old);
    let mut scale = stored(&found.scale);
    let mut best = scale;
    let mut least = [f32::INFINITY; N];
    for _ in 1..rounds {
        let all = measure_all::<C, W, N, LEN>(x, w, &scale);
        keep(&scale, &all.error, &mut best, &mut least);
        let mut next = [0.0; N];
        for ((next, along), square) in next.iter_mut().zip(&all.along).zip(&all.square) {
            *next = along / square;
        }
        scale = stored(&next);
    }
    let error = measure::<C, W, N, LEN>(x, w, &scale);
    keep(&scale, &error, &mut best, &mut least);
    let mut is = [false; N];
    for lane in 0..N {
        is[lane] = is_lower(least[lane], before[lane]);
    }
    Better { scale: best, is }
}

/// Remembers scales with less error.
#[inline(always)]
fn keep<const N: usize>(
    scale: &[f32; N],
    error: &[f32; N],
    best: &mut [f32; N],
    least: &mut [f32; N],
) {
    for lane in 0..N {
        let better = error[lane] < least[lane];
        best[lane] = choose(better, scale[lane], best[lane]);
        least[lane] = choose(better, error[lane], least[lane]);
    }
}

/// Scales after storing them in half precision.
#[inline(always)]
fn stored<const N: usize>(scale: &[f32; N]) -> [f32; N] {
    let mut stored = [0.0; N];
    for (stored, scale) in stored.iter_mut().zip(scale) {
        *stored = f16_value(f16_bits(*scale));
    }
    stored
}
