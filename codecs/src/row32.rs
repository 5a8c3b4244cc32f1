//! What the types with blocks of 32 weights share when there is importance: the weights of the
//! searches.

use gmat_core::quant::{Metric, importance_or_one};

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

/// [`weigh`], or importance alone.
#[inline(always)]
pub(crate) fn weigh_for<const N: usize>(
    metric: Metric,
    x: &[[f32; LEN]],
    importance: &[[f32; LEN]],
    spread: f32,
) -> (Steps<N, LEN>, Steps<N, LEN>) {
    match metric {
        Metric::Ggml => weigh(x, importance, spread),
        Metric::Squares => {
            let steps = lockstep::transpose(x.as_flattened());
            (steps, lockstep::transpose(importance.as_flattened()))
        }
    }
}

/// The weights of [`weigh`] for a row; without importance all are 1.
pub(crate) fn weights_of_row(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
    importance_or_one(importance, out);
    if importance.is_some() {
        let spread = mean_square(x);
        for (out, x) in out.iter_mut().zip(x) {
            *out *= (spread + x * x).sqrt();
        }
    }
}
