//! What the types share that store groups of weights as points of a grid (`IQ1`, `IQ2`, `IQ3`).
//!
//! Each is what ggml's reference quantizer computes, operation by operation; see
//! [`crate::lockstep`] for how several groups are worked on at once.

pub(crate) mod digits;
pub(crate) mod fit;
pub(crate) mod near;
pub(crate) mod points;
pub(crate) mod scheme;
pub(crate) mod shifted;
pub(crate) mod signs;
pub(crate) mod split;
