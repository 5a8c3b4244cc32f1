//! The searches for scales that the quantization types share.
//!
//! Each is what ggml's reference quantizer computes, operation by operation, for many groups of
//! weights at once (see [`crate::lockstep`]).

pub(crate) mod affine;
pub(crate) mod levels;
pub(crate) mod refine;
pub(crate) mod signed;
pub(crate) mod table;
