//! Everything that plugs into gmat: block formats, quantization types, architectures, tokenizers,
//! containers.
//!
//! Each codec is one file in `block/`, `quant/`, `arch/`, `token/` or `container/`; the build script
//! finds it. Files beside those folders hold what several codecs of a family share.

mod affine_k;
mod base64;
mod block32;
mod decoder;
mod fp4;
mod grid;
mod hf;
mod lanes;
mod lockstep;
mod lossless;
pub mod narrow;
mod pre;
mod protobuf;
mod round;
mod row32;
mod search;
mod short_name;
mod simd;
mod spm;
mod superblock;
mod trellis;
mod trits;
mod words;

include!(concat!(env!("OUT_DIR"), "/codecs.rs"));

/// The number of codecs compiled in. Calling it is what makes a linker keep them all: without an
/// opaque use of every file's anchor, wasm linkers drop their registrations silently.
#[must_use]
pub fn link() -> usize {
    std::hint::black_box(ALL).iter().map(|entries| **entries).sum()
}
