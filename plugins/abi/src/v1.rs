//! Version 1 of the interface. Frozen: plugins in use were compiled with it.

#[doc(hidden)]
pub mod calls;
mod describe;
#[doc(hidden)]
pub mod text;

use alloc::string::String;

/// The version.
pub const ABI: u32 = 1;
/// Name of the custom section with the descriptor.
pub const SECTION: &str = "gmat:plugin";

/// What went wrong, in words for the user: a short lowercase fragment.
pub type Failure = String;

/// Whole rows of a tensor.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The values, row after row; all of them are finite numbers.
    pub values: &'a [f32],
    /// Values in a row, a multiple of the weights in a block.
    pub cols: usize,
}

/// A quantization type: rows become blocks.
pub trait Quantizer: Sized {
    /// Makes it from its parameters, the text of a JSON object, which is empty (`""`) if the user gave
    /// none.
    ///
    /// # Errors
    /// What is wrong with the parameters.
    fn new(params: &str) -> Result<Self, Failure>;

    /// Writes the blocks of all rows; `out` has exactly the right length. `importance` has a weight of
    /// at least zero for every column. Rows must not depend on each other.
    ///
    /// # Errors
    /// Why it cannot be done.
    fn quantize(
        &self,
        rows: Rows<'_>,
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), Failure>;

    /// The values of blocks, for types with an id of their own; those that fill blocks of ggml are
    /// never asked.
    ///
    /// # Errors
    /// What is wrong with the blocks.
    fn dequantize(&self, blocks: &[u8], out: &mut [f32]) -> Result<(), Failure> {
        let _ = (blocks, out);
        Err(Failure::from("this type is not read back by the plugin"))
    }
}

/// A block format of the store: row groups become bytes and values again.
pub trait BlockFormat {
    /// Writes a row group; returns the number of bytes. `out` is as long as the descriptor allows.
    ///
    /// # Errors
    /// Why it cannot be done.
    fn encode(rows: Rows<'_>, out: &mut [u8]) -> Result<usize, Failure>;

    /// Reads `out.len() / cols` rows of a row group. The bytes may be anything.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn decode(bytes: &[u8], cols: usize, out: &mut [f32]) -> Result<(), Failure>;
}
