//! Block formats: how the store encodes the rows of a tensor.

use crate::error::{Error, Result};
use crate::plugin::Plugin;
use crate::tensor::DType;

/// Whole rows of one tensor on their way into the store.
#[derive(Debug, Clone, Copy)]
pub struct EncodeInput<'a> {
    /// The rows as `f32`, row-major, `rows * cols` of them; empty for types that do not hold
    /// weights.
    pub values: &'a [f32],
    /// The same rows as they are in the source, little-endian.
    pub bytes: &'a [u8],
    /// Element type of `bytes`.
    pub dtype: DType,
    /// Number of rows.
    pub rows: usize,
    /// Elements per row.
    pub cols: usize,
}

/// What a decoder has to know about the rows it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupShape {
    /// Element type of the source.
    pub dtype: DType,
    /// Number of rows.
    pub rows: usize,
    /// Elements per row.
    pub cols: usize,
}

impl GroupShape {
    /// Bytes of these rows in the source; `None` if rows are not whole blocks of a quantized type,
    /// or the number overflows `usize`.
    #[must_use]
    pub fn byte_len(self) -> Option<usize> {
        let row = self.dtype.byte_len(self.cols as u64)?;
        usize::try_from(row).ok()?.checked_mul(self.rows)
    }
}

/// One encoding of tensor rows in the store. Called once per row group.
///
/// Implementations are stateless; everything they need is in the arguments.
pub trait BlockFormat: Sync {
    /// The name in configs and files, in the documented spelling (`B8x8`).
    fn name(&self) -> &'static str;

    /// One sentence for lists.
    fn summary(&self) -> &'static str;

    /// Row groups start at a multiple of this many rows (2 for dual-row formats).
    fn granule_rows(&self) -> usize {
        1
    }

    /// Whether tensors of this type can be encoded; others are stored `raw`.
    fn accepts(&self, dtype: DType) -> bool;

    /// Whether decoding gives back the source bytes.
    fn is_lossless(&self) -> bool;

    /// Upper bound of the encoded length in bytes, or `None` if it overflows `usize`.
    fn max_len(&self, shape: GroupShape) -> Option<usize>;

    /// Appends the encoded rows to `out`. Values are finite unless the format is lossless.
    ///
    /// # Errors
    /// `Shape` if the lengths of the input contradict each other; `Unsupported` for a type it does
    /// not accept.
    fn encode(&self, input: EncodeInput<'_>, out: &mut Vec<u8>) -> Result<()>;

    /// Decodes a row group to `out`, which has `rows * cols` elements.
    ///
    /// # Errors
    /// `Malformed`, with the byte offset in the group, if `bytes` is not a valid encoding of that
    /// shape; never panics, whatever the bytes.
    fn decode(&self, bytes: &[u8], shape: GroupShape, out: &mut [f32]) -> Result<()>;

    /// Appends the source bytes of the group to `out`.
    ///
    /// # Errors
    /// `Unsupported` unless the format is lossless; otherwise like [`Self::decode`].
    fn restore(&self, bytes: &[u8], shape: GroupShape, out: &mut Vec<u8>) -> Result<()> {
        let _ = (bytes, shape, out);
        Err(Error::unsupported(format!(
            "block format `{}` does not keep source bytes",
            self.name()
        )))
    }

    /// The plugin that it is from; none if it is built in.
    fn plugin(&self) -> Option<&'static Plugin> {
        None
    }

    /// Whether rows can be encoded as what differs from those of another tensor, their base.
    fn takes_base(&self) -> bool {
        false
    }

    /// Like [`Self::encode`], for rows that have a base: `base` are the source bytes of as many rows of
    /// the same type and length. Takes at most [`Self::max_len`], too.
    ///
    /// # Errors
    /// As [`Self::encode`]; `Shape` if there are more or fewer bytes of the base; `Unsupported` unless
    /// the format takes a base.
    fn encode_against(&self, input: EncodeInput<'_>, base: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let _ = (input, base, out);
        Err(no_base(self.name()))
    }

    /// Like [`Self::restore`], for what [`Self::encode_against`] wrote.
    ///
    /// # Errors
    /// As [`Self::restore`] and [`Self::encode_against`].
    fn restore_against(
        &self,
        bytes: &[u8],
        base: &[u8],
        shape: GroupShape,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let _ = (bytes, base, shape, out);
        Err(no_base(self.name()))
    }
}

fn no_base(name: &str) -> Error {
    Error::unsupported(format!("block format `{name}` knows no differences to a base"))
}
