//! The best scale of a group of weights, and the grid points for it: `x ≈ scale * (2 digit + 1)`.
//!
//! For each of some scales the weights are rounded to digits, and where a part of the group is then
//! not on the grid, the [nearest](crate::grid::near) grid point takes its place. The least-squares
//! scale for these points is computed; the smallest weighted error wins as in
//! [`crate::search::signed`]. In the end parts are chosen anew for the scale that won, and the scale
//! for them.
//!
//! Lanes are trials here, not groups: the trials of a group differ so little that many of them round
//! a part to the same point, and these look at the same candidates.

use crate::grid::digits::{Seen, is_ordinary, look};
use crate::grid::near::{CHUNK, Code, Near, bits};
use crate::grid::points::EIGHT;

/// Parts in the largest group: each is one point of the grid.
pub(crate) const PARTS: usize = 8;
/// Trials that look for the nearest point together.
const BAND: usize = LANES as usize;
/// The same, to count trials with.
const LANES: u32 = 16;

/// Errors of each digit of a part: `weight * (scale * (2 digit + 1) - x)^2`. There are `R` rows per
/// weight, one for each value the bits of a digit can have.
pub(crate) type Terms<const T: usize, const D: usize, const R: usize> = [[[f32; T]; R]; D];

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

/// Result of [`fit`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Fit {
    /// The scale; it may be negative.
    pub(crate) scale: f32,
    /// The point of each part.
    pub(crate) codes: [Code; PARTS],
}

/// A group: magnitudes, weights of the error and what follows from them.
pub(crate) struct Group<const K: usize> {
    x: [f32; K],
    w: [f32; K],
    /// Square roots of the weights: what the choice of a point counts.
    roots: [f32; K],
    /// `w * x`.
    weighted: [f32; K],
}

impl<const K: usize> Group<K> {
    /// Prepares a group.
    #[inline(always)]
    pub(crate) fn new(x: [f32; K], w: [f32; K]) -> Self {
        let (mut roots, mut weighted) = ([0.0; K], [0.0; K]);
        for i in 0..K {
            roots[i] = w[i].sqrt();
            weighted[i] = w[i] * x[i];
        }
        Self { x, w, roots, weighted }
    }
}

/// Finds scale and points. Trials map `reach` to the given numbers; `scale` is taken if no trial is
/// good for anything. `terms` is room to work in.
#[inline(always)]
pub(crate) fn fit<
    const T: usize,
    const K: usize,
    const D: usize,
    const L: usize,
    const R: usize,
>(
    group: &Group<K>,
    near: &Near<D, L>,
    trials: &[f32],
    reach: f32,
    scale: f32,
    policy: Refit,
    terms: &mut Terms<T, D, R>,
) -> Fit {
    let (mut factors, mut scales) = ([0.0; T], [0.0; T]);
    // Lanes without a trial repeat the last one.
    let last = trials.last().copied().unwrap_or_default();
    for (t, factor) in factors.iter_mut().enumerate() {
        *factor = trials.get(t).copied().unwrap_or(last);
    }
    for t in 0..T {
        factors[t] /= reach;
        scales[t] = 1.0 / factors[t];
    }
    let values = values::<T, R>(&scales);
    let ordinary = is_ordinary(&group.x, last / reach);
    let mut codes = [[0; T]; PARTS];
    let mut off = [0u32; PARTS];
    let (mut along, mut square) = ([0.0; T], [0.0; T]);
    for part in 0..K / D {
        let seen = look::<T, K, D, L>(&group.x, part, &factors, ordinary);
        fill::<T, K, D, L, R>(terms, group, part, &values);
        off[part] = pick(near, terms, &seen, trials.len(), &mut codes[part]);
        sums::<T, K, D>(group, part, &codes[part], &mut along, &mut square);
    }
    let mut fit = Fit { scale, ..Fit::default() };
    let (mut best, mut winner) = (0.0, None);
    for t in 0..trials.len().min(T) {
        let (a, s) = (along[t], square[t]);
        if s > 0.0 && a * a > best * s {
            fit.scale = a / s;
            best = fit.scale * a;
            winner = Some(t);
        }
    }
    let mut again = [policy != Refit::Off; PARTS];
    let mut any = policy == Refit::All;
    match winner {
        None => any |= policy == Refit::AllIfAnyOff,
        Some(t) => {
            for part in 0..K / D {
                let [low, high, ..] = codes[part][t].to_le_bytes();
                fit.codes[part] = u16::from_le_bytes([low, high]);
                let off = off[part] >> t & 1 == 1;
                any |= off;
                again[part] |= off;
            }
        }
    }
    if any && fit.scale > 0.0 {
        refit::<K, D, L, R>(group, near, &again, &mut fit);
    }
    fit
}

/// The last step: parts anew for the scale, and the scale for them.
#[inline(always)]
fn refit<const K: usize, const D: usize, const L: usize, const R: usize>(
    group: &Group<K>,
    near: &Near<D, L>,
    again: &[bool; PARTS],
    fit: &mut Fit,
) {
    let factor = [1.0 / fit.scale];
    let values = values::<1, R>(&[fit.scale]);
    let mut terms = [[[0.0; 1]; R]; D];
    let ordinary = is_ordinary(&group.x, factor[0]);
    let (mut along, mut square) = ([0.0], [0.0]);
    for (part, again) in again.iter().enumerate().take(K / D) {
        if *again {
            let seen = look::<1, K, D, L>(&group.x, part, &factor, ordinary);
            fill::<1, K, D, L, R>(&mut terms, group, part, &values);
            let exact = seen.odd[0] == 0;
            fit.codes[part] = match (exact, D) {
                (true, EIGHT) => {
                    let of = |i: usize| std::array::from_fn(|digit| terms[i % D][digit % R][0]);
                    nearest_of(near.chunks(seen.key[0]), &std::array::from_fn(of))
                }
                (true, _) => among::<D>(near.few(seen.key[0]), |i, digit| terms[i][digit][0]),
                (false, _) => among::<D>(near.all(seen.key[0]), |i, digit| terms[i][digit][0]),
            };
        }
        let code = [fit.codes[part].into()];
        sums::<1, K, D>(group, part, &code, &mut along, &mut square);
    }
    if square[0] > 0.0 {
        fit.scale = along[0] / square[0];
    }
}

/// What all digits stand for.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "digits are small")]
fn values<const T: usize, const R: usize>(scales: &[f32; T]) -> [[f32; T]; R] {
    let mut values = [[0.0; T]; R];
    for (digit, values) in values.iter_mut().enumerate() {
        for t in 0..T {
            values[t] = scales[t] * (2 * digit + 1) as f32;
        }
    }
    values
}

/// The errors of all digits.
#[inline(always)]
fn fill<const T: usize, const K: usize, const D: usize, const L: usize, const R: usize>(
    terms: &mut Terms<T, D, R>,
    group: &Group<K>,
    part: usize,
    values: &[[f32; T]; R],
) {
    for (i, terms) in terms.iter_mut().enumerate() {
        let (x, root) = (group.x[part * D + i], group.roots[part * D + i]);
        // One long loop: of two, the compiler would unroll the inner one and make vectors of digits.
        for (term, value) in
            terms.as_flattened_mut().iter_mut().zip(values.as_flattened()).take(T * L)
        {
            let difference = value - x;
            *term = root * difference * difference;
        }
    }
}

/// Adds a part to `Σ w x q` and `Σ w q^2`.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "digits are small")]
fn sums<const T: usize, const K: usize, const D: usize>(
    group: &Group<K>,
    part: usize,
    codes: &[u32; T],
    along: &mut [f32; T],
    square: &mut [f32; T],
) {
    for i in 0..D {
        let (weighted, w) = (group.weighted[part * D + i], group.w[part * D + i]);
        for t in 0..T {
            let digit = codes[t] >> (bits(D) * i) & ((1 << bits(D)) - 1);
            let q = (2 * digit + 1).cast_signed() as f32;
            along[t] += weighted * q;
            square[t] += w * q * q;
        }
    }
}

/// The nearest grid points for all trials of a part; returns a bit for each trial that rounding gave
/// a point off the grid for.
#[inline(always)]
fn pick<const T: usize, const D: usize, const L: usize, const R: usize>(
    near: &Near<D, L>,
    terms: &Terms<T, D, R>,
    seen: &Seen<T>,
    trials: usize,
    codes: &mut [u32; T],
) -> u32 {
    // As the scale grows, no digit ever returns to what it was: equal points are in a row. A bit for
    // each that is not equal to the one before.
    let mut new = 0u32;
    for t in 1..T {
        new |= u32::from(seen.key[t] != seen.key[t - 1]) << t;
    }
    let trials = u32::try_from(trials).unwrap_or(32).min(32);
    new &= u32::MAX >> (32 - trials);
    let mut off = 0;
    let mut from = 0;
    loop {
        let to = if new == 0 { trials } else { new.trailing_zeros() };
        let key = seen.key[from as usize];
        if !near.on_grid(key) {
            off |= (u32::MAX << from) & (u32::MAX >> (32 - to));
        }
        let list = near.few(key);
        let bands = codes.as_chunks_mut::<BAND>().0.iter_mut().enumerate();
        for ((band, codes), first) in bands.zip((0..).step_by(BAND)) {
            if first < to && first + LANES > from {
                among_band::<T, D, R>(list, terms, band, from.saturating_sub(first), codes);
            }
        }
        if new == 0 {
            break;
        }
        new &= new - 1;
        from = to;
    }
    let odd = seen.odd.iter().fold(0, |any, odd| any | odd);
    if odd != 0 {
        again(near, terms, seen, codes);
    }
    off
}

/// The nearest point for [`BAND`] trials, kept from lane `from` on.
#[inline(always)]
fn among_band<const T: usize, const D: usize, const R: usize>(
    list: &[Code],
    terms: &Terms<T, D, R>,
    band: usize,
    from: u32,
    codes: &mut [u32; BAND],
) {
    let mut best = [f32::INFINITY; BAND];
    let mut winner = [u32::from(list.first().copied().unwrap_or(0)); BAND];
    for code in list {
        let mut error = [0.0; BAND];
        for (i, terms) in terms.iter().enumerate() {
            let row = &terms[usize::from(code >> (bits(D) * i)) & (R - 1)];
            let Some(row) = row.as_chunks::<BAND>().0.get(band) else { continue };
            for t in 0..BAND {
                error[t] += row[t];
            }
        }
        for t in 0..BAND {
            let better = error[t] < best[t];
            best[t] = if better { error[t] } else { best[t] };
            winner[t] = if better { u32::from(*code) } else { winner[t] };
        }
    }
    for (t, (code, winner)) in (0..).zip(codes.iter_mut().zip(winner)) {
        let keep = u32::from(t < from).wrapping_neg();
        *code = (*code & keep) | (winner & !keep);
    }
}

/// The trials that need whole lists. They are rare.
#[cold]
#[inline(never)]
fn again<const T: usize, const D: usize, const L: usize, const R: usize>(
    near: &Near<D, L>,
    terms: &Terms<T, D, R>,
    seen: &Seen<T>,
    codes: &mut [u32; T],
) {
    for t in 0..T {
        if seen.odd[t] != 0 {
            codes[t] = among::<D>(near.all(seen.key[t]), |i, digit| terms[i][digit][t]).into();
        }
    }
}

/// The first of the candidates with the smallest error.
#[inline(always)]
pub(crate) fn among<const D: usize>(list: &[Code], terms: impl Fn(usize, usize) -> f32) -> Code {
    let mut best = (f32::INFINITY, list.first().copied().unwrap_or(0));
    for code in list {
        let digit = |i: usize| usize::from(code >> (bits(D) * i)) & ((1 << bits(D)) - 1);
        let error = (0..D).fold(0.0, |error, i| error + terms(i, digit(i)));
        if error < best.0 {
            best = (error, *code);
        }
    }
    best.1
}

/// The candidate with the smallest error, the first one on ties, for points of three levels.
#[inline(always)]
pub(crate) fn nearest_of(chunks: &[[Code; CHUNK]], terms: &[[f32; 3]; 8]) -> Code {
    let mut best = (u32::MAX, 0);
    for chunk in chunks {
        let mut errors = [0.0; CHUNK];
        for k in 0..CHUNK {
            let code = u32::from(chunk[k]);
            for (i, term) in terms.iter().enumerate() {
                // Chosen in arithmetic: the compiler would choose an address.
                let [a, b, c] = term.map(f32::to_bits);
                let one = (code >> (2 * i) & 1).wrapping_neg();
                let two = (code >> (2 * i + 1) & 1).wrapping_neg();
                errors[k] += f32::from_bits(a ^ (one & (a ^ b)) ^ (two & (a ^ c)));
            }
        }
        // No error is negative, so their bits have the same order.
        let errors = errors.map(f32::to_bits);
        let least = errors.iter().fold(u32::MAX, |least, error| least.min(*error));
        if least < best.0 {
            let at = errors.iter().position(|error| *error == least).unwrap_or(0);
            best = (least, chunk[at]);
        }
    }
    best.1
}
