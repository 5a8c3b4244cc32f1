//! Lossless coding of elements: what the block format `lossless` is made of. The bytes are defined in
//! `docs/block-formats.md`, section 3.

mod difference;
mod huffman;
mod input;
mod plane;
mod split;

pub(crate) use self::difference::{read_difference, write_difference};
pub(crate) use self::input::Input;
pub(crate) use self::plane::{read_planes, write_planes};
pub(crate) use self::split::join;

/// The name of the block format.
pub(crate) const NAME: &str = "lossless";
