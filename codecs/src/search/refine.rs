//! Scale and codes of both signs by coordinate descent, as `q3_k` does without importance.
//!
//! Codes start from the scale that maps the largest magnitude to `-limit`; up to five rounds then
//! move single codes to where the least-squares scale of all the others wants them, as long as that
//! lowers the error weighted with `x^2`.

use crate::lockstep::{Steps, choose};
use crate::round::{Exact, Rounding};
use crate::search::signed::NEGLIGIBLE;

/// Result of [`fit`], per lane.
pub(crate) struct Fit<const N: usize, const K: usize> {
    /// The scale; zero for groups of zeros.
    pub(crate) scale: [f32; N],
    /// The codes, counted from `-limit`; zero in groups of zeros.
    pub(crate) codes: [[u8; N]; K],
}

/// Finds scale and codes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "codes are bytes")]
pub(crate) fn fit<const N: usize, const K: usize>(x: &Steps<N, K>, limit: i8) -> Fit<N, K> {
    let limit = f32::from(limit);
    let (mut magnitude, mut extreme) = ([0.0f32; N], [0.0f32; N]);
    for x in x {
        for lane in 0..N {
            let larger = x[lane].abs() > magnitude[lane];
            magnitude[lane] = if larger { x[lane].abs() } else { magnitude[lane] };
            extreme[lane] = if larger { x[lane] } else { extreme[lane] };
        }
    }
    let mut factor = [0.0; N];
    let mut zeros = [false; N];
    for lane in 0..N {
        factor[lane] = -limit / extreme[lane];
        zeros[lane] = magnitude[lane] < NEGLIGIBLE;
    }
    let mut codes = [[0.0; N]; K];
    let (mut along, mut square) = ([0.0; N], [0.0; N]);
    for i in 0..K {
        for lane in 0..N {
            let v = x[i][lane];
            let q = Exact::within(factor[lane] * v, -limit, limit - 1.0);
            let w = v * v;
            codes[i][lane] = q;
            along[lane] += w * v * q;
            square[lane] += w * q * q;
        }
    }
    for _ in 0..5 {
        if !improve(x, &zeros, limit, &mut codes, &mut along, &mut square) {
            break;
        }
    }
    let mut scale = [0.0; N];
    let mut bytes = [[0; N]; K];
    for lane in 0..N {
        let least = if square[lane] > 0.0 { along[lane] / square[lane] } else { 0.0 };
        scale[lane] = if zeros[lane] { 0.0 } else { least };
        for (byte, code) in bytes.iter_mut().zip(&codes) {
            byte[lane] = if zeros[lane] { 0 } else { (code[lane] + limit) as u8 };
        }
    }
    Fit { scale, codes: bytes }
}

/// One round over all values; whether any code changed. Lanes that are done do not change again.
#[inline(always)]
fn improve<const N: usize, const K: usize>(
    x: &Steps<N, K>,
    zeros: &[bool; N],
    limit: f32,
    codes: &mut Steps<N, K>,
    along: &mut [f32; N],
    square: &mut [f32; N],
) -> bool {
    let mut changes = [false; N];
    for i in 0..K {
        for lane in 0..N {
            let (v, old) = (x[i][lane], codes[i][lane]);
            let (a, s) = (along[lane], square[lane]);
            let w = v * v;
            // Sums over the others, and what the best scale for them wants here.
            let a_rest = a - w * v * old;
            let s_rest = s - w * old * old;
            let new = Exact::within(v * s_rest / a_rest, -limit, limit - 1.0);
            let a_new = a_rest + w * v * new;
            let s_new = s_rest + w * new * new;
            let better =
                (a_rest > 0.0) & (new != old) & (s_new > 0.0) & (a_new * a_new * s > a * a * s_new);
            codes[i][lane] = choose(better, new, old);
            along[lane] = choose(better, a_new, a);
            square[lane] = choose(better, s_new, s);
            changes[lane] |= better;
        }
    }
    let mut changed = false;
    for lane in 0..N {
        changed |= changes[lane] & !zeros[lane];
    }
    changed
}
