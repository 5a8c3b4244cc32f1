//! Containers: how arrays are written for programs other than llama.cpp.
//!
//! A container only says which bytes surround the elements and, where they are not written as they
//! are in memory, how they look. Lengths follow from types and shapes alone, so that shards are
//! planned before a tensor is read, and everything is appended in order.

use crate::error::Result;
use crate::tensor::{DType, Shape};

/// What one file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// One tensor; the files of a shard share a folder.
    Tensor,
    /// All tensors of a shard.
    Shard,
}

/// One array on its way into a container.
#[derive(Debug, Clone, Copy)]
pub struct ArrayInfo<'a> {
    /// What [`Container::key`] made of the tensor's name.
    pub key: &'a str,
    /// Element type: F16, F32, an integer type or BOOL.
    pub dtype: DType,
    /// Dimensions, slowest first.
    pub shape: &'a Shape,
}

/// A script in the output that reads it.
#[derive(Debug, Clone, Copy)]
pub struct Loader {
    /// File name.
    pub name: &'static str,
    /// The script.
    pub text: &'static str,
}

/// Appends elements, given little-endian, in a container's own form.
pub type Transform = fn(&[u8], &mut Vec<u8>);

/// One output format of `gmat convert`.
pub trait Container: Sync {
    /// The name on the command line, such as `numpy-direct`.
    fn name(&self) -> &'static str;

    /// One sentence for lists.
    fn summary(&self) -> &'static str;

    /// What people call it, such as `NumPy array`.
    fn title(&self) -> &'static str;

    /// What `format` is called in the manifest; `precision` is `float16` or `float32`.
    fn manifest_name(&self, precision: &str) -> String;

    /// How element types are called in the manifest.
    fn dtype_name(&self, dtype: DType) -> &'static str;

    /// What one file holds.
    fn packing(&self) -> Packing;

    /// The end of file names, with its dot.
    fn suffix(&self) -> &'static str;

    /// What a tensor is called inside: its file without suffix, or its key. Two tensors that are
    /// called the same are refused.
    ///
    /// # Errors
    /// `Unsupported` if the container has no way to express the name.
    fn key(&self, tensor: &str) -> Result<String>;

    /// The script that reads the output.
    fn loader(&self) -> Loader;

    /// Bytes before the first of so many arrays of a file.
    ///
    /// # Errors
    /// `Limit` if they are too many.
    fn begin(&self, arrays: usize) -> Result<Vec<u8>>;

    /// Bytes before the elements of an array. Their number does not depend on other arrays.
    ///
    /// # Errors
    /// `Limit` if the array is too large for the container.
    fn head(&self, array: ArrayInfo<'_>) -> Result<Vec<u8>>;

    /// Bytes of one element in the file.
    fn elem_len(&self, dtype: DType) -> u64;

    /// How elements are written; `None` if they are as they are, little-endian.
    fn transform(&self, dtype: DType) -> Option<Transform>;

    /// Bytes after the elements of an array.
    fn tail(&self) -> &'static [u8];

    /// Bytes after the last array of a file.
    fn end(&self) -> &'static [u8];
}

/// NumPy's name of an element type that arrays may have; empty for others.
#[must_use]
pub fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::I8 => "int8",
        DType::U64 => "uint64",
        DType::U32 => "uint32",
        DType::U16 => "uint16",
        DType::U8 => "uint8",
        DType::Bool => "bool",
        _ => "",
    }
}
