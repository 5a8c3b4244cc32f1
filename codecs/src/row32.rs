//! What the types with blocks of 32 weights share when there is importance: the weights of the
//! searches.

use crate::block32::LEN;
use crate::lockstep::{self, Steps, sum_of_squares};

/// Mean square of a row, summed in order.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "row lengths are rounded like this in the format")]
pub(crate) fn mean_square(x: &[f32]) -> f32 {
    sum_of_squares(x) / x.len() as f32
}

/// Up to `N` blocks as lanes, and their weights.
#[inline(always)]
pub(crate) fn weigh<const N: usize>(
    x: &[[f32; LEN]],
    importance: &[[f32; LEN]],
    spread: f32,
) -> (Steps<N, LEN>, Steps<N, LEN>) {
    let steps = lockstep::transpose(x.as_flattened());
    let importance = lockstep::transpose(importance.as_flattened());
    let weights = lockstep::weigh(&steps, &importance, &[spread; N]);
    (steps, weights)
}
