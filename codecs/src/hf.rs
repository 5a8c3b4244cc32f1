//! Tokenizer files as HuggingFace writes them: what several tokenizer readers share.

pub(crate) mod added;
pub(crate) mod bytes;
pub(crate) mod complete;
pub(crate) mod config;
pub(crate) mod files;
pub(crate) mod json;
pub(crate) mod normalizer;
pub(crate) mod quirks;
pub(crate) mod rows;
pub(crate) mod spaces;
pub(crate) mod special;
pub(crate) mod template;
