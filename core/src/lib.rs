//! The platform-neutral core of gmat: what a tensor, a codec and a file format are, the plans made
//! of configs and headers, and the pipeline that carries them out. It knows no files, paths, threads
//! of its own, or concrete codecs; front ends bring those.

#![forbid(unsafe_code)]

pub mod arch;
pub mod arrays;
pub mod block;
pub mod compare;
pub mod config;
pub mod container;
pub mod convert;
mod decode;
pub mod error;
pub mod export;
pub mod fmath;
pub mod format;
pub mod general;
pub mod ggml;
pub mod import;
pub mod inspect;
pub mod io;
pub mod limits;
pub mod pipeline;
pub mod plugin;
pub mod progress;
pub mod quant;
pub mod recipe;
pub mod registry;
pub mod resume;
pub mod source;
pub mod stats;
pub mod store;
pub mod tensor;
pub mod token;
pub mod verify;

pub use error::{Error, ErrorKind, Result, ResultExt};
pub use ggml::GgmlType;
pub use registry::{ArchEntry, BlockEntry, ContainerEntry, QuantEntry, Registry, TokenizerEntry};
pub use tensor::{DType, Shape, TensorInfo};

#[doc(hidden)]
pub use inventory;
