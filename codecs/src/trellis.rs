//! The searches of trellis mode.

pub(crate) mod signed;
