//! The native host of plugins: finds modules, compiles them, and runs them in a sandbox.
//!
//! What a plugin may do is decided in `engine`; what its answers are worth, by `gmat_core::plugin`.

mod cache;
mod engine;
mod find;
mod guest;

pub use self::cache::Cache;
pub use self::find::{Found, Place, find, open};
pub use self::guest::{Load, NativeGuest};
