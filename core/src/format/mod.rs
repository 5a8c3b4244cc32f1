//! File formats: bytes to structs and back. No I/O happens here.

pub mod gguf;
pub mod safetensors;
pub mod store;
pub mod tokens;
