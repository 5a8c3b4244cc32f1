//! Bytes of elements, and of stored rows, as values. Quantized types need the registry: what their
//! blocks mean is known to codecs alone.

use crate::block::{BlockFormat, GroupShape};
use crate::convert::to_f32;
use crate::error::{Error, Result};
use crate::format::store::Index;
use crate::quant::QuantType;
use crate::registry::Registry;
use crate::tensor::DType;

/// How elements of a type become `f32`.
#[derive(Clone, Copy)]
pub(crate) struct Elements {
    dtype: DType,
    quant: Option<&'static dyn QuantType>,
}

impl Elements {
    /// Of a type.
    ///
    /// # Errors
    /// `Unsupported` for a quantized type without codec.
    pub(crate) fn new(dtype: DType, registry: &Registry) -> Result<Self> {
        let DType::Ggml(ty) = dtype else { return Ok(Self { dtype, quant: None }) };
        let quant = registry.quant(ty.name()).filter(|quant| quant.block() == ty.block());
        match quant {
            Some(quant) => Ok(Self { dtype, quant: Some(quant) }),
            None => Err(Error::unsupported(format!(
                "blocks of `{dtype}` cannot be read: this build has no codec for that type"
            ))),
        }
    }

    /// Values of whole rows.
    ///
    /// # Errors
    /// `Shape` if lengths do not fit; `Unsupported` for types that do not hold weights.
    pub(crate) fn to_f32(self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        match self.quant {
            Some(quant) => quant.dequantize(bytes, out),
            None => to_f32(self.dtype, bytes, out),
        }
    }
}

/// How rows of a tensor of the store become `f32`.
#[derive(Clone, Copy)]
pub(crate) struct RowDecoder {
    format: &'static dyn BlockFormat,
    elements: Elements,
}

impl RowDecoder {
    /// For the rows of the tensor with that index.
    ///
    /// # Errors
    /// `Config` for an unknown block format; `Unsupported` for a quantized type without codec.
    pub(crate) fn new(index: &Index, registry: &Registry) -> Result<Self> {
        let format = registry.block(&index.format)?;
        Ok(Self { format, elements: Elements::new(index.dtype, registry)? })
    }

    /// Whether [`Self::restore`] gives back what the source had.
    pub(crate) fn is_lossless(self) -> bool {
        self.format.is_lossless()
    }

    /// The blocks of a row group of a quantized tensor, as they were in the source; `out` has exactly
    /// the right length.
    ///
    /// # Errors
    /// As [`BlockFormat::restore`].
    pub(crate) fn restore(self, bytes: &[u8], shape: GroupShape, out: &mut [u8]) -> Result<()> {
        let mut blocks = Vec::new();
        self.format.restore(bytes, shape, &mut blocks)?;
        if blocks.len() != out.len() {
            return Err(Error::shape(format!("{} bytes, expected {}", blocks.len(), out.len())));
        }
        out.copy_from_slice(&blocks);
        Ok(())
    }

    /// Decodes a row group to `out`, which has `rows * cols` elements.
    ///
    /// # Errors
    /// As [`BlockFormat::decode`].
    pub(crate) fn decode(self, bytes: &[u8], shape: GroupShape, out: &mut [f32]) -> Result<()> {
        if self.elements.quant.is_none() {
            return self.format.decode(bytes, shape, out);
        }
        let mut blocks = Vec::new();
        self.format.restore(bytes, shape, &mut blocks)?;
        self.elements.to_f32(&blocks, out)
    }
}
