//! The best scale of a group of weights, and the grid points for it: `x ≈ scale * (2 digit + 1)`.
//!
//! For each of some scales the weights are rounded to digits, and where a part of the group is then
//! not on the grid, the [nearest](crate::grid::near) grid point takes its place. The least-squares
//! scale for these points is computed; the smallest weighted error wins as in
//! [`crate::search::signed`]. In the end parts are chosen anew for the scale that won, and the scale
//! for them.

use crate::grid::near::{CHUNK, Code, Near, bits};
use crate::lockstep::{Steps, choose};
use crate::round::nearest;

/// Parts in the largest group: each is one point of the grid.
pub(crate) const PARTS: usize = 8;

/// Errors of each digit of a part: `weight * (scale * (2 digit + 1) - x)^2`.
type Terms<const N: usize, const D: usize, const L: usize> = [[[f32; N]; L]; D];

/// Which parts are chosen anew for the final scale.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refit {
    /// All.
    All,
    /// All, if rounding gave a point off the grid for any of them, or if no scale was found.
    AllIfAnyOff,
    /// Those for which rounding gave a point off the grid.
    Off,
}

/// What is searched.
pub(crate) struct Job<'a, const N: usize, const D: usize, const L: usize> {
    /// The grid.
    pub(crate) near: &'a Near<D, L>,
    /// The trials: each maps `reach` to such a number.
    pub(crate) trials: &'a [f32],
    /// What they start from.
    pub(crate) reach: [f32; N],
    /// The scale if no trial is good for anything.
    pub(crate) scale: [f32; N],
    /// Lanes that are to be worked on.
    pub(crate) live: [bool; N],
    /// What is done in the end.
    pub(crate) refit: Refit,
}

/// Result of [`fit`], per lane.
pub(crate) struct Fit<const N: usize> {
    /// The scale; it may be negative.
    pub(crate) scale: [f32; N],
    /// The point of each part.
    pub(crate) codes: [[u32; N]; PARTS],
}

/// Finds scale and points. `w` are the weights of the error.
#[inline(always)]
pub(crate) fn fit<const N: usize, const K: usize, const D: usize, const L: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    job: &Job<'_, N, D, L>,
) -> Fit<N> {
    let (mut roots, mut weighted) = ([[0.0; N]; K], [[0.0; N]; K]);
    for i in 0..K {
        for lane in 0..N {
            roots[i][lane] = w[i][lane].sqrt();
            weighted[i][lane] = w[i][lane] * x[i][lane];
        }
    }
    let mut best = [0.0; N];
    let mut fit = Fit { scale: job.scale, codes: [[0; N]; PARTS] };
    // All ones where rounding gave a point off the grid.
    let start = if job.refit == Refit::AllIfAnyOff { u32::MAX } else { 0 };
    let mut off = [[start; N]; PARTS];
    for trial in job.trials {
        let (mut factor, mut scale) = ([0.0; N], [0.0; N]);
        for lane in 0..N {
            factor[lane] = trial / job.reach[lane];
            scale[lane] = 1.0 / factor[lane];
        }
        let mut tried = [[0; N]; PARTS];
        let mut tried_off = [[0; N]; PARTS];
        for part in 0..K / D {
            let seen = look::<N, K, D, L>(x, part, &factor);
            let terms = terms::<N, K, D, L>(x, &roots, part, &scale);
            for lane in 0..N {
                if job.live[lane] {
                    let key = seen.key[lane];
                    tried_off[part][lane] = u32::from(job.near.on_grid(key)).wrapping_sub(1);
                    tried[part][lane] = pick(job.near, &terms, &seen, lane).into();
                }
            }
        }
        let (along, square) = sums::<N, K, D>(w, &weighted, &tried);
        for lane in 0..N {
            let (a, s) = (along[lane], square[lane]);
            let better = (s > 0.0) & (a * a > best[lane] * s);
            let least = a / s;
            fit.scale[lane] = choose(better, least, fit.scale[lane]);
            best[lane] = choose(better, least * a, best[lane]);
            let better = u32::from(better).wrapping_neg();
            for part in 0..K / D {
                fit.codes[part][lane] ^= better & (fit.codes[part][lane] ^ tried[part][lane]);
                off[part][lane] ^= better & (off[part][lane] ^ tried_off[part][lane]);
            }
        }
    }
    refit(x, w, &roots, &weighted, job, &mut off, &mut fit);
    fit
}

/// The last step: parts anew for the scale, and the scale for them.
#[inline(always)]
fn refit<const N: usize, const K: usize, const D: usize, const L: usize>(
    x: &Steps<N, K>,
    w: &Steps<N, K>,
    roots: &Steps<N, K>,
    weighted: &Steps<N, K>,
    job: &Job<'_, N, D, L>,
    off: &mut [[u32; N]; PARTS],
    fit: &mut Fit<N>,
) {
    let (mut any, mut factor) = ([0; N], [0.0; N]);
    for lane in 0..N {
        let mut one = u32::from(job.refit == Refit::All).wrapping_neg();
        for off in &*off {
            one |= off[lane];
        }
        any[lane] = if fit.scale[lane] > 0.0 { one } else { 0 };
        factor[lane] = 1.0 / fit.scale[lane];
    }
    for part in 0..K / D {
        let seen = look::<N, K, D, L>(x, part, &factor);
        let terms = terms::<N, K, D, L>(x, roots, part, &fit.scale);
        for lane in 0..N {
            let wanted = (job.refit != Refit::Off) | (off[part][lane] != 0);
            if job.live[lane] & wanted & (any[lane] != 0) {
                fit.codes[part][lane] = pick(job.near, &terms, &seen, lane).into();
            }
        }
    }
    let (along, square) = sums::<N, K, D>(w, weighted, &fit.codes);
    for lane in 0..N {
        let (a, s) = (along[lane], square[lane]);
        let better = (s > 0.0) & (any[lane] != 0);
        fit.scale[lane] = choose(better, a / s, fit.scale[lane]);
    }
}

/// What rounding a part gives.
struct Seen<const N: usize> {
    /// The key of the point.
    key: [u32; N],
    /// Not zero if the shortcut of [`crate::grid::near`] may not be taken.
    odd: [u32; N],
}

/// Rounds a part to digits.
#[inline(always)]
fn look<const N: usize, const K: usize, const D: usize, const L: usize>(
    x: &Steps<N, K>,
    part: usize,
    factor: &[f32; N],
) -> Seen<N> {
    /// Distance from halfway that is certainly larger than what rounding can do to weights of
    /// ordinary size.
    const CLEAR: f32 = 1e-4;
    const ORDINARY: f32 = 256.0;
    let mut seen = Seen { key: [0; N], odd: [0; N] };
    for i in (0..D).rev() {
        for lane in 0..N {
            let at = 0.5 * (factor[lane] * x[part * D + i][lane] - 1.0);
            let digit = nearest(at);
            let digit = if digit < 0 { 0 } else { digit };
            let digit = if digit > top::<L>() { top::<L>() } else { digit };
            seen.key[lane] =
                seen.key[lane] * (top::<L>() + 1).cast_unsigned() + digit.cast_unsigned();
            #[expect(clippy::cast_precision_loss, reason = "digits are small")]
            let from_half = ((at - digit as f32).abs() - 0.5).abs();
            let clear = (from_half > CLEAR) & (at.abs() < ORDINARY);
            seen.odd[lane] |= u32::from(!clear);
        }
    }
    seen
}

/// The largest digit.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "3 or 8")]
const fn top<const L: usize>() -> i32 {
    L as i32 - 1
}

/// The errors of all digits.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "digits are small")]
fn terms<const N: usize, const K: usize, const D: usize, const L: usize>(
    x: &Steps<N, K>,
    roots: &Steps<N, K>,
    part: usize,
    scale: &[f32; N],
) -> Terms<N, D, L> {
    let mut terms = [[[0.0; N]; L]; D];
    for i in 0..D {
        for digit in 0..L {
            for lane in 0..N {
                let difference = scale[lane] * (2 * digit + 1) as f32 - x[part * D + i][lane];
                terms[i][digit][lane] = roots[part * D + i][lane] * difference * difference;
            }
        }
    }
    terms
}

/// `Σ w x q` and `Σ w q^2` for points.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "digits are small")]
fn sums<const N: usize, const K: usize, const D: usize>(
    w: &Steps<N, K>,
    weighted: &Steps<N, K>,
    codes: &[[u32; N]; PARTS],
) -> ([f32; N], [f32; N]) {
    let (mut along, mut square) = ([0.0; N], [0.0; N]);
    for i in 0..K {
        for lane in 0..N {
            let digit = codes[i / D][lane] >> (bits(D) * (i % D)) & ((1 << bits(D)) - 1);
            let q = (2 * digit + 1).cast_signed() as f32;
            along[lane] += weighted[i][lane] * q;
            square[lane] += w[i][lane] * q * q;
        }
    }
    (along, square)
}

/// The nearest grid point of one lane.
#[inline(always)]
fn pick<const N: usize, const D: usize, const L: usize>(
    near: &Near<D, L>,
    terms: &Terms<N, D, L>,
    seen: &Seen<N>,
    lane: usize,
) -> Code {
    let terms: [[f32; L]; D] =
        std::array::from_fn(|i| std::array::from_fn(|digit| terms[i][digit][lane]));
    if seen.odd[lane] != 0 {
        return among_all(near.all(seen.key[lane]), &terms);
    }
    nearest_of(near.few(seen.key[lane]), &terms)
}

/// The candidate with the smallest error, the first one on ties.
#[inline(always)]
pub(crate) fn nearest_of<const D: usize, const L: usize>(
    chunks: &[[Code; CHUNK]],
    terms: &[[f32; L]; D],
) -> Code {
    let mut best = (u32::MAX, 0);
    for chunk in chunks {
        let found = first_least(chunk, terms);
        if found.0 < best.0 {
            best = found;
        }
    }
    best.1
}

/// The first of the candidates with the smallest error, and the bits of that error: no error is
/// negative, so they have the same order.
#[inline(always)]
fn first_least<const D: usize, const L: usize>(
    chunk: &[Code; CHUNK],
    terms: &[[f32; L]; D],
) -> (u32, Code) {
    let mut errors = [0.0; CHUNK];
    for (i, terms) in terms.iter().enumerate() {
        for (error, code) in errors.iter_mut().zip(chunk) {
            *error += terms[usize::from(code >> (bits(D) * i)) & ((1 << bits(D)) - 1)];
        }
    }
    let errors = errors.map(f32::to_bits);
    let least = errors.iter().fold(u32::MAX, |least, error| least.min(*error));
    let at = errors.iter().position(|error| *error == least).unwrap_or(0);
    (least, chunk[at])
}

/// The same for a list of any length. Rarely needed.
#[cold]
#[inline(never)]
fn among_all<const D: usize, const L: usize>(list: &[Code], terms: &[[f32; L]; D]) -> Code {
    let mut best = (f32::INFINITY, list.first().copied().unwrap_or(0));
    for code in list {
        let digit = |i: usize| usize::from(code >> (bits(D) * i)) & ((1 << bits(D)) - 1);
        let error = (0..D).fold(0.0, |error, i| error + terms[i][digit(i)]);
        if error < best.0 {
            best = (error, *code);
        }
    }
    best.1
}
