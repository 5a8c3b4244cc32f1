//! Tensors that are written as they are stored: byte for byte, without a detour over values.

use crate::arch::Change;
use crate::error::{Error, Result};
use crate::export::model::Placed;
use crate::export::types::available;
use crate::ggml::GgmlType;
use crate::quant::{BlockSize, Need, QuantCx, QuantType, importance_or_one};
use crate::recipe::{Choice, Why};
use crate::registry::Registry;
use crate::tensor::DType;

/// The type of GGUF that holds elements like these, plain or in blocks.
fn ggml_type(dtype: DType) -> Option<GgmlType> {
    GgmlType::ALL.iter().copied().find(|ty| DType::from_ggml(*ty) == Some(dtype))
}

/// The type that a tensor has as it is stored; none if there is no such type in GGUF files, or if
/// its parts have different ones.
pub(crate) fn stored_type(tensor: &Placed<'_>) -> Result<Option<GgmlType>> {
    let mut found = None;
    for piece in &tensor.pieces {
        let ty = ggml_type(piece.record.info()?.dtype);
        if ty.is_none() || found.is_some_and(|other| Some(other) != ty) {
            return Ok(None);
        }
        found = ty;
    }
    let cols = tensor.shape.cols();
    Ok(found.filter(|ty| ty.block().len_of(cols).is_some()))
}

/// The type that stands for a stored one where all tensors keep theirs: for what GGUF has no weights
/// of, the next larger one.
pub(crate) fn kept_type(stored: Option<GgmlType>) -> &'static str {
    stored.filter(|ty| ty.holds_weights()).map_or("f32", GgmlType::name)
}

/// What becomes of a tensor: its type and why, what makes blocks of it, and whether its bytes are
/// those of the store. `wanted` tells whether anybody cares for the type that was chosen.
///
/// # Errors
/// `Unsupported` for a type without codec; `Malformed` if the store is damaged.
pub(crate) fn settle(
    tensor: &Placed<'_>,
    choice: Choice,
    wanted: bool,
    from_gguf: bool,
    registry: &Registry,
) -> Result<(Choice, &'static dyn QuantType, bool)> {
    let stored = stored_type(tensor)?;
    let choice = match choice.why {
        _ if wanted => choice,
        // What runtimes do not take is not kept, unless they took it before.
        Why::KeptF32 { reason, .. } if !from_gguf => {
            Choice { why: Why::KeptF32 { reason, overridden: false }, ..choice }
        }
        _ => Choice { ty: kept_type(stored), why: Why::Stored },
    };
    // Data that is no weights can only stay what it is, and so does all that nobody touches.
    let stays = |ty: &GgmlType| !ty.holds_weights() || ty.name() == choice.ty;
    match stored.filter(stays) {
        Some(ty) if can_copy(tensor, from_gguf, registry)? => {
            let why = if ty.name() == choice.ty { choice.why } else { Why::Stored };
            let quant = copied(ty, registry)?;
            Ok((Choice { ty: quant.name(), why }, quant, true))
        }
        _ => Ok((choice, available(choice.ty, registry)?, false)),
    }
}

/// Whether a tensor can be written as it is stored. What came as plain numbers in a SafeTensors file
/// takes the way over values, where it is found out if they are numbers at all.
pub(crate) fn can_copy(tensor: &Placed<'_>, from_gguf: bool, registry: &Registry) -> Result<bool> {
    for piece in &tensor.pieces {
        let info = piece.record.info()?;
        let allowed = from_gguf || matches!(info.dtype, DType::Ggml(_));
        let block = info.dtype.block().elems as u64;
        let whole = piece.taken.is_whole() || piece.taken.keeps_blocks(block);
        let exact = registry.block(&piece.record.block_format)?.is_lossless();
        if !(allowed && exact && piece.change == Change::None && whole) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A type that has no codec, since it does not hold weights: it can be copied, and no more.
struct CopyOnly(GgmlType, &'static str);

static COPY_ONLY: [CopyOnly; 5] = [
    CopyOnly(GgmlType::F64, "f64"),
    CopyOnly(GgmlType::I64, "i64"),
    CopyOnly(GgmlType::I32, "i32"),
    CopyOnly(GgmlType::I16, "i16"),
    CopyOnly(GgmlType::I8, "i8"),
];

/// What stands for a type in the plan of a tensor that is copied.
fn copied(ty: GgmlType, registry: &Registry) -> Result<&'static dyn QuantType> {
    let plain = COPY_ONLY.iter().find(|copy| copy.0 == ty).map(|copy| copy as &dyn QuantType);
    plain.or_else(|| registry.quant(ty.name())).ok_or_else(|| {
        Error::unsupported(format!("this build has no codec for blocks of `{}`", ty.name()))
    })
}

impl CopyOnly {
    fn refused(&self) -> Error {
        Error::unsupported(format!("values of `{}` can only be copied", self.1))
    }
}

impl QuantType for CopyOnly {
    fn name(&self) -> &'static str {
        self.1
    }

    fn ggml_type(&self) -> u32 {
        self.0.id().into()
    }

    fn block(&self) -> BlockSize {
        self.0.block()
    }

    fn importance(&self) -> Need {
        Need::Ignored
    }

    fn quantize(&self, _: &[f32], _: &QuantCx<'_>, _: &mut [u8]) -> Result<()> {
        Err(self.refused())
    }

    fn weights(&self, _: &[f32], cx: &QuantCx<'_>, out: &mut [f32]) -> Result<()> {
        importance_or_one(cx.importance, out);
        Ok(())
    }

    fn dequantize(&self, _: &[u8], _: &mut [f32]) -> Result<()> {
        Err(self.refused())
    }
}
