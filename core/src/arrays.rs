//! Models as arrays for NumPy and JAX: every tensor of a source, in a container that other programs
//! read (see [`crate::container`]).
//!
//! The layout of what is written is TensorPort's: shards up to a size, a `manifest.json`, a script that
//! loads them.

mod cast;
mod entry;
mod manifest;
mod plan;
mod resume;
mod run;
mod verify;

pub use self::cast::Precision;
pub use self::entry::Origin;
pub use self::manifest::{
    FileRecord, Identity, MANIFEST, Manifest, NOTES, Options, ShardEntry, TensorEntry,
};
pub use self::plan::{ArrayOptions, ArrayPlan, Mxfp4};
pub use self::run::Done;
pub use self::verify::{Difference, verify};
