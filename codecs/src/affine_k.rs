//! What `q2_k`, `q4_k` and `q5_k` share: super-blocks of 256 weights in `S` groups of `K`, a scale
//! and a minimum per group, themselves small integers times two half-precision factors.
//!
//! `x = d * scale[group] * code - dmin * min[group]`
//!
//! Three stages for each tile of super-blocks: scales and minima of all groups by
//! [`crate::search::affine`]; levels for them, without importance by rounding to the largest, with
//! it by [`crate::search::levels`]; and codes anew for the scales as they are stored.

use crate::lockstep::{self, Steps};
use crate::narrow::{read_f16, store_f16};
use crate::round::{nearest, nearest_byte};
use crate::search::affine::{self, Spec};
use crate::search::levels;
use crate::superblock::{self, LEN, TILE, refuse_large, sums_of_squares};

/// What a type decides.
pub(crate) trait AffineK<const K: usize, const S: usize, const BYTES: usize> {
    /// The largest level of scales and minima.
    const LEVELS: u8;
    /// What levels are limited to without importance, and with it. The searches give levels up to
    /// `LEVELS`, but now and then a scale below zero, whose level wraps around in a byte.
    const LIMITS: (u8, u8);
    /// The search without importance.
    const PLAIN: Spec;
    /// The search with importance.
    const WEIGHTED: Spec;
    /// How many mean squares of the super-block are added to a square in the weights.
    const SPREAD: f32;

    /// Weights of the error without importance.
    fn plain_weights<const N: usize>(x: &Steps<N, K>) -> Steps<N, K>;

    /// Levels as they can be read back from the block: where one has too many bits, they end up in
    /// others.
    fn stored(scales: &[u8; S], mins: &[u8; S]) -> ([u8; S], [u8; S]);

    /// Lays out a super-block.
    fn write(block: &Block<S>, out: &mut [u8; BYTES]);

    /// The inverse of [`Self::write`].
    fn read(block: &[u8; BYTES]) -> Block<S>;
}

/// A quantized super-block, before it is packed.
pub(crate) struct Block<const S: usize> {
    /// Factor of the scales, as stored.
    pub(crate) d: [u8; 2],
    /// Factor of the minima, as stored.
    pub(crate) dmin: [u8; 2],
    /// Levels of the scales.
    pub(crate) scales: [u8; S],
    /// Levels of the minima.
    pub(crate) mins: [u8; S],
    /// Codes in the order of the weights.
    pub(crate) codes: [u8; LEN],
}

/// Results of the first stage for all groups of a tile; see [`affine::Fit`].
struct Groups<const S: usize> {
    scale: [[f32; S]; TILE],
    /// Minus the minimum, as it is stored.
    min: [[f32; S]; TILE],
    weight: [[f32; S]; TILE],
    factor: [[f32; S]; TILE],
    base: [[f32; S]; TILE],
}

/// Results of the second stage: the factors before rounding, and the levels.
struct Levels<const S: usize> {
    d: [f32; TILE],
    dmin: [f32; TILE],
    scales: [[u8; S]; TILE],
    mins: [[u8; S]; TILE],
}

/// Quantizes a row.
#[inline(always)]
pub(crate) fn quantize<A, const N: usize, const K: usize, const S: usize, const BYTES: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) where
    A: AffineK<K, S, BYTES>,
{
    let mut importance = importance.map(|importance| importance.chunks(TILE * LEN));
    let out = out.as_chunks_mut::<BYTES>().0;
    for (x, out) in x.chunks(TILE * LEN).zip(out.chunks_mut(TILE)) {
        let importance = importance.as_mut().and_then(Iterator::next);
        let groups = fit_groups::<A, N, K, S, BYTES>(x, importance);
        let (mut levels, limit) = match importance {
            None => (plain_levels(&groups, A::LEVELS), A::LIMITS.0),
            Some(_) => (weighted_levels(&groups, A::LEVELS), A::LIMITS.1),
        };
        for (index, (x, out)) in x.as_chunks::<LEN>().0.iter().zip(out).enumerate() {
            let scales = levels.scales[index].map(|level| level.min(limit));
            let mins = levels.mins[index].map(|level| level.min(limit));
            (levels.scales[index], levels.mins[index]) = A::stored(&scales, &mins);
            A::write(&finish::<K, S>(x, index, &groups, &levels, A::PLAIN.top), out);
        }
    }
}

/// The first stage.
#[inline(always)]
fn fit_groups<A, const N: usize, const K: usize, const S: usize, const BYTES: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
) -> Groups<S>
where
    A: AffineK<K, S, BYTES>,
{
    let mut groups = Groups {
        scale: [[0.0; S]; TILE],
        min: [[0.0; S]; TILE],
        weight: [[0.0; S]; TILE],
        factor: [[0.0; S]; TILE],
        base: [[0.0; S]; TILE],
    };
    let spread = match importance {
        Some(_) => sums_of_squares(x).map(|sum| A::SPREAD * sum / 256.0),
        None => [0.0; TILE],
    };
    for (round, values) in x.chunks(N * K).enumerate() {
        let first = round * N;
        let steps = lockstep::transpose::<N, K>(values);
        let (weights, spec) = match importance {
            None => (A::plain_weights(&steps), &A::PLAIN),
            Some(importance) => {
                let importance = importance.chunks(N * K).nth(round).unwrap_or_default();
                let importance = lockstep::transpose::<N, K>(importance);
                let mut of_lane = [0.0; N];
                for (lane, of_lane) in of_lane.iter_mut().enumerate() {
                    *of_lane = spread[(first + lane) / S % TILE];
                }
                (lockstep::weigh(&steps, &importance, &of_lane), &A::WEIGHTED)
            }
        };
        let mut fit = affine::fit(&steps, &weights, spec);
        for min in &mut fit.min {
            *min = -*min;
        }
        for (lanes, all) in [
            (&fit.scale, &mut groups.scale),
            (&fit.min, &mut groups.min),
            (&fit.weight, &mut groups.weight),
            (&fit.factor, &mut groups.factor),
            (&fit.base, &mut groups.base),
        ] {
            lockstep::store(lanes, all.as_flattened_mut().get_mut(first..).unwrap_or_default());
        }
    }
    groups
}

/// The second stage without importance: the largest scale and minimum get the largest level.
#[inline(always)]
fn plain_levels<const S: usize>(groups: &Groups<S>, top: u8) -> Levels<S> {
    let mut levels =
        Levels { d: [0.0; TILE], dmin: [0.0; TILE], scales: [[0; S]; TILE], mins: [[0; S]; TILE] };
    for index in 0..TILE {
        (levels.d[index], levels.scales[index]) = to_largest(&groups.scale[index], top);
        (levels.dmin[index], levels.mins[index]) = to_largest(&groups.min[index], top);
    }
    levels
}

/// Levels relative to the largest value, and the factor that belongs to them.
#[inline(always)]
fn to_largest<const S: usize>(values: &[f32; S], top: u8) -> (f32, [u8; S]) {
    let largest = values.iter().fold(0.0, |max, v| if *v > max { *v } else { max });
    let limit = f32::from(top);
    let inverse = if largest > 0.0 { limit / largest } else { 0.0 };
    let mut levels = [0; S];
    for (level, value) in levels.iter_mut().zip(values) {
        [*level, ..] = nearest(inverse * value).to_le_bytes();
    }
    (largest / limit, levels)
}

/// The second stage with importance: super-blocks are lanes now.
#[inline(always)]
fn weighted_levels<const S: usize>(groups: &Groups<S>, top: u8) -> Levels<S> {
    let weight = lockstep::transpose::<TILE, S>(groups.weight.as_flattened());
    let scale = levels::fit(&lockstep::transpose(groups.scale.as_flattened()), &weight, top);
    let min = levels::fit(&lockstep::transpose(groups.min.as_flattened()), &weight, top);
    let mut levels =
        Levels { d: scale.scale, dmin: min.scale, scales: [[0; S]; TILE], mins: [[0; S]; TILE] };
    for index in 0..TILE {
        for j in 0..S {
            levels.scales[index][j] = scale.levels[j][index];
            levels.mins[index][j] = min.levels[j][index];
        }
    }
    levels
}

/// The third stage: codes for the scales and minima as they are stored.
#[inline(always)]
fn finish<const K: usize, const S: usize>(
    x: &[f32; LEN],
    index: usize,
    groups: &Groups<S>,
    levels: &Levels<S>,
    top: u8,
) -> Block<S> {
    let (d, d_value) = store_f16(refuse_large(x, levels.d[index]));
    let (dmin, dmin_value) = store_f16(levels.dmin[index]);
    let (scales, mins) = (levels.scales[index], levels.mins[index]);
    let mut codes = [0; LEN];
    let rows = x.as_chunks::<K>().0.iter().zip(codes.as_chunks_mut::<K>().0);
    for (j, (x, codes)) in rows.enumerate() {
        let scale = d_value * f32::from(scales[j]);
        if scale == 0.0 {
            // No code makes a difference now; the format's reference keeps those of the search.
            let (factor, base) = (groups.factor[index][j], groups.base[index][j]);
            for (code, v) in codes.iter_mut().zip(x) {
                *code = affine::code(*v, factor, base, top);
            }
        } else {
            let min = dmin_value * f32::from(mins[j]);
            for (code, v) in codes.iter_mut().zip(x) {
                *code = nearest_byte((v + min) / scale, 0, top.cast_signed());
            }
        }
    }
    Block { d, dmin, scales, mins, codes }
}

/// Values of super-blocks.
#[inline(always)]
pub(crate) fn dequantize<A, const K: usize, const S: usize, const BYTES: usize>(
    bytes: &[u8],
    out: &mut [f32],
) where
    A: AffineK<K, S, BYTES>,
{
    let blocks = bytes.as_chunks::<BYTES>().0;
    for (block, out) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
        values::<K, S>(&A::read(block), out);
    }
}

/// Values of a super-block.
#[inline(always)]
pub(crate) fn values<const K: usize, const S: usize>(block: &Block<S>, out: &mut [f32; LEN]) {
    let (d, dmin) = (read_f16(block.d), read_f16(block.dmin));
    let (mut scale, mut min) = ([0.0; S], [0.0; S]);
    for j in 0..S {
        scale[j] = d * f32::from(block.scales[j]);
        min[j] = dmin * f32::from(block.mins[j]);
    }
    superblock::values::<K, S>(&block.codes, 0.0, &scale, &min, out);
}
