//! The searches of trellis mode, see [`gmat_core::quant::Search`].

pub(crate) mod affine;
pub(crate) mod line;
pub(crate) mod signed;

/// How much less an error has to be to count, relatively: more than what rounding does to a sum of
/// 256 terms in double precision.
pub(crate) const MARGIN: f64 = 1e-9;
