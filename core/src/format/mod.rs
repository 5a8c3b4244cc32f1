//! File formats: bytes to structs and back. No I/O happens here, but that importance matrices are read
//! piece by piece from the folder they are given.

pub mod gguf;
pub mod imatrix;
pub mod safetensors;
pub mod store;
pub mod tokens;
