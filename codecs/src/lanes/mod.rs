//! The engine behind the eight log-domain block formats: lanes of 8 or 16 neighbours share a scale,
//! and every magnitude is a position on a logarithmic ruler below it.
//!
//! `docs/block-formats.md` defines the bytes. Each format is a file in `block/`, which does nothing
//! but name its [`LaneFormat`].

mod decode;
mod encode;
mod format;
mod ruler;

pub(crate) use format::LaneFormat;
