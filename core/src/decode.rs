//! Bytes of elements, and of stored rows, as values. Quantized types need the registry: what their
//! blocks mean is known to codecs alone.

use crate::block::{BlockFormat, GroupShape};
use crate::convert::to_f32;
use crate::error::{Error, Result, ResultExt};
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

/// A row group as it is stored, and that of the base, if it tells what differs from that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) own: &'a [u8],
    pub(crate) base: Option<&'a [u8]>,
}

/// How rows of a tensor of the store become the bytes that the source had.
#[derive(Clone, Copy)]
pub(crate) struct Restorer {
    format: &'static dyn BlockFormat,
    /// Format of the base.
    base: Option<&'static dyn BlockFormat>,
}

impl Restorer {
    /// For the rows of the tensor with that index, and of the one it differs from.
    ///
    /// # Errors
    /// `Config` for an unknown block format.
    pub(crate) fn new(index: &Index, base: Option<&Index>, registry: &Registry) -> Result<Self> {
        let format = registry.block(&index.format)?;
        let base = base.map(|base| registry.block(&base.format)).transpose()?;
        Ok(Self { format, base })
    }

    /// Whether what comes out is what the source had.
    pub(crate) fn is_lossless(self) -> bool {
        self.format.is_lossless()
    }

    /// Appends the source bytes of a row group.
    ///
    /// # Errors
    /// As [`BlockFormat::restore`].
    pub(crate) fn source(
        self,
        stored: Stored<'_>,
        shape: GroupShape,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match (self.base, stored.base) {
            (Some(format), Some(bytes)) => {
                let mut base = Vec::new();
                format.restore(bytes, shape, &mut base).context(|| "base")?;
                self.format.restore_against(stored.own, &base, shape, out)
            }
            (None, None) => self.format.restore(stored.own, shape, out),
            _ => Err(Error::shape("rows and those that they differ from do not belong together")),
        }
    }
}

/// How rows of a tensor of the store become `f32`.
#[derive(Clone, Copy)]
pub(crate) struct RowDecoder {
    restorer: Restorer,
    elements: Elements,
}

impl RowDecoder {
    /// For the rows of the tensor with that index, and of the one it differs from.
    ///
    /// # Errors
    /// `Config` for an unknown block format; `Unsupported` for a quantized type without codec.
    pub(crate) fn new(index: &Index, base: Option<&Index>, registry: &Registry) -> Result<Self> {
        let restorer = Restorer::new(index, base, registry)?;
        Ok(Self { restorer, elements: Elements::new(index.dtype, registry)? })
    }

    /// Appends the source bytes of a row group.
    ///
    /// # Errors
    /// As [`BlockFormat::restore`].
    pub(crate) fn source(
        self,
        stored: Stored<'_>,
        shape: GroupShape,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.restorer.source(stored, shape, out)
    }

    /// Whether [`Self::restore`] gives back what the source had.
    pub(crate) fn is_lossless(self) -> bool {
        self.restorer.is_lossless()
    }

    /// The blocks of a row group of a quantized tensor, as they were in the source; `out` has exactly
    /// the right length.
    ///
    /// # Errors
    /// As [`BlockFormat::restore`].
    pub(crate) fn restore(
        self,
        stored: Stored<'_>,
        shape: GroupShape,
        out: &mut [u8],
    ) -> Result<()> {
        let mut blocks = Vec::new();
        self.source(stored, shape, &mut blocks)?;
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
    pub(crate) fn decode(
        self,
        stored: Stored<'_>,
        shape: GroupShape,
        out: &mut [f32],
    ) -> Result<()> {
        if self.elements.quant.is_none() && self.restorer.base.is_none() {
            return self.restorer.format.decode(stored.own, shape, out);
        }
        let mut source = Vec::new();
        self.source(stored, shape, &mut source)?;
        self.elements.to_f32(&source, out)
    }
}
