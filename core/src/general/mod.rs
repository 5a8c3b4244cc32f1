//! What a model is called, who made it and how it wants to be sampled: the `general.*` keys.
//!
//! Definition of the keys: the GGUF specification of the ggml project, "General metadata" and
//! "GGUF naming convention".

pub use self::card::{ModelCard, Origin};
pub use self::keys::{ModelFacts, write};
pub use self::naming::{NameParts, Parameters, size_label, title};

mod card;
mod keys;
mod naming;
mod yaml;
