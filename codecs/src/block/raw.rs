//! `raw`: the source bytes, verbatim.
//!
//! ```text
//! byte 0 ..= n-1   elements in row order, little-endian, as in the source; quantized ones as the
//!                  blocks of their GGUF type; n is rows times the bytes of a row
//! ```
//!
//! Value: what the source's element type says (`gmat_core::convert`); the exact bytes can be
//! restored. The definition is `docs/block-formats.md`, section 1.
//!
//! Accepted name: `raw`. Limits: none; every element type, and every shape whose rows are whole
//! blocks. Decoding to `f32` needs a floating point type; blocks of a quantized type are restored
//! and decoded by its codec.

use gmat_core::block::{BlockFormat, EncodeInput, GroupShape};
use gmat_core::{DType, Error, Result, convert};

gmat_core::register_block!(Raw);

struct Raw;

impl Raw {
    /// Checks that `bytes` is exactly the elements of `shape`.
    fn check(&self, bytes: &[u8], shape: GroupShape) -> Result<()> {
        let expected = self.max_len(shape).ok_or_else(|| {
            Error::limit(format!("{} rows of {} are too many", shape.rows, shape.cols))
        })?;
        if bytes.len() == expected {
            return Ok(());
        }
        Err(Error::malformed(format!(
            "{} bytes where {} rows of {} {} elements take {expected}",
            bytes.len(),
            shape.rows,
            shape.cols,
            shape.dtype
        ))
        .context(format!("byte {} of a row group in `raw`", bytes.len().min(expected))))
    }
}

impl BlockFormat for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn summary(&self) -> &'static str {
        "source bytes as they are, of any element type"
    }

    fn accepts(&self, _dtype: DType) -> bool {
        true
    }

    fn is_lossless(&self) -> bool {
        true
    }

    fn max_len(&self, shape: GroupShape) -> Option<usize> {
        shape.byte_len()
    }

    fn encode(&self, input: EncodeInput<'_>, out: &mut Vec<u8>) -> Result<()> {
        let EncodeInput { values, bytes, dtype, rows, cols } = input;
        let elems = rows.checked_mul(cols);
        // Values say the same as the bytes, or the caller has mixed something up; types that do not
        // hold weights have none.
        let values_fit = values.is_empty() && !dtype.holds_weights() || elems == Some(values.len());
        let bytes_fit = self.max_len(GroupShape { dtype, rows, cols }) == Some(bytes.len());
        if !(values_fit && bytes_fit) {
            return Err(Error::shape(format!(
                "{} bytes and {} values are not {rows} rows of {cols} {dtype} elements",
                bytes.len(),
                values.len()
            )));
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn decode(&self, bytes: &[u8], shape: GroupShape, out: &mut [f32]) -> Result<()> {
        if shape.rows.checked_mul(shape.cols) != Some(out.len()) {
            return Err(Error::shape(format!(
                "{} values are not {} rows of {}",
                out.len(),
                shape.rows,
                shape.cols
            )));
        }
        self.check(bytes, shape)?;
        convert::to_f32(shape.dtype, bytes, out)
    }

    fn restore(&self, bytes: &[u8], shape: GroupShape, out: &mut Vec<u8>) -> Result<()> {
        self.check(bytes, shape)?;
        out.extend_from_slice(bytes);
        Ok(())
    }
}
