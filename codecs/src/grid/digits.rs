//! Rounding weights to digits of a point: `(factor * x - 1) / 2`, limited to what a digit can be.

use crate::round::nearest_in;

/// What rounding a part gives.
pub(crate) struct Seen<const T: usize> {
    /// The key of the point.
    pub(crate) key: [u32; T],
    /// Whether the shortcut of [`crate::grid::near`] may not be taken: all ones or zero.
    pub(crate) odd: [u32; T],
}

/// Distance from halfway between two digits that is certainly larger than what rounding of floats
/// can do to a weight, if scaled weights are [`ORDINARY`].
const CLEAR: f32 = 1e-4;
/// Scaled weights below this are of ordinary size.
const ORDINARY: f32 = 256.0;

/// Whether all scaled weights are of ordinary size; false if there is anything that is not a number.
#[inline(always)]
pub(crate) fn is_ordinary<const K: usize>(x: &[f32; K], factor: f32) -> bool {
    let largest = x.iter().fold(0, |largest, x| x.abs().to_bits().max(largest));
    f32::from_bits(largest) * factor < ORDINARY
}

/// Rounds a part to digits; if weights are `ordinary`, faster.
#[inline(always)]
pub(crate) fn look<const T: usize, const K: usize, const D: usize, const L: usize>(
    x: &[f32; K],
    part: usize,
    factors: &[f32; T],
    ordinary: bool,
) -> Seen<T> {
    if ordinary {
        round::<T, K, D, L>(x, part, factors)
    } else {
        round_any::<T, K, D, L>(x, part, factors)
    }
}

/// [`look`] for ordinary weights.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "digits are small")]
fn round<const T: usize, const K: usize, const D: usize, const L: usize>(
    x: &[f32; K],
    part: usize,
    factors: &[f32; T],
) -> Seen<T> {
    /// Adding this leaves no bits after the point (see [`crate::round`]).
    const SHIFT: f32 = 12_582_912.0;
    let mut seen = Seen { key: [0; T], odd: [0; T] };
    let mut clearance = [1.0; T];
    for i in (0..D).rev() {
        let x = x[part * D + i];
        for t in 0..T {
            let at = 0.5 * (factors[t] * x - 1.0);
            let digit = at + SHIFT;
            let digit = if digit > SHIFT { digit } else { SHIFT };
            let digit = if digit < SHIFT + (L - 1) as f32 { digit } else { SHIFT + (L - 1) as f32 };
            seen.key[t] = seen.key[t] * (top::<L>() + 1).cast_unsigned()
                + (digit.to_bits() - SHIFT.to_bits());
            let from_half = ((at - (digit - SHIFT)).abs() - 0.5).abs();
            clearance[t] = if from_half < clearance[t] { from_half } else { clearance[t] };
        }
    }
    for (odd, clearance) in seen.odd.iter_mut().zip(clearance) {
        *odd = u32::from(clearance <= CLEAR).wrapping_neg();
    }
    seen
}

/// [`look`] for any weights.
#[cold]
#[inline(never)]
fn round_any<const T: usize, const K: usize, const D: usize, const L: usize>(
    x: &[f32; K],
    part: usize,
    factors: &[f32; T],
) -> Seen<T> {
    let mut seen = Seen { key: [0; T], odd: [u32::MAX; T] };
    for i in (0..D).rev() {
        let x = x[part * D + i];
        for (key, factor) in seen.key.iter_mut().zip(factors) {
            let digit = nearest_in(0.5 * (factor * x - 1.0), 0, top::<L>());
            *key = *key * (top::<L>() + 1).cast_unsigned() + digit.cast_unsigned();
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
