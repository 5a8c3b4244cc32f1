//! Tensors that are quantized already, from a quantized checkpoint or a GGUF file: they keep their type
//! and their bytes.

use std::collections::BTreeMap;

use crate::export::explain::Decision;
use crate::export::model::Placed;
use crate::export::pieces;
use crate::export::types::Wish;
use crate::ggml::GgmlType;
use crate::recipe::FileType;
use crate::tensor::DType;

/// Whether a tensor is stored as that type, so that nothing has to be quantized.
pub(crate) fn is_copied(tensor: &Placed<'_>, ty: &str) -> bool {
    tensor.pieces.iter().all(|piece| {
        let dtype = DType::from_name(&piece.record.dtype);
        dtype.is_some_and(|dtype| pieces::is_copied(dtype, &piece.taken, piece.change, ty))
    })
}

/// The type of a tensor that is quantized already, which it keeps unless somebody asks for another:
/// quantizing it once more would only lose.
pub(crate) fn stays(tensor: &Placed<'_>) -> Option<Wish> {
    let stored = DType::from_name(&tensor.pieces.first()?.record.dtype)?;
    let DType::Ggml(ty) = stored else { return None };
    let ty = ty.name();
    let wish = Wish { ty, by: "stored", text: format!("quantized already, as `{ty}`") };
    is_copied(tensor, ty).then_some(wish)
}

/// The file type to write down. A file of plain numbers whose experts stay MXFP4 is called after
/// them, as by the converter of llama.cpp.
pub(crate) fn stated_type(file_type: FileType, decisions: &[Decision]) -> FileType {
    let experts = GgmlType::Mxfp4.name();
    let stays = |decision: &Decision| decision.by == "stored" && decision.ty == experts;
    match !file_type.base().is_quantized() && decisions.iter().any(stays) {
        true => FileType::Mxfp4Moe,
        false => file_type,
    }
}

/// How many tensors keep which type.
pub(crate) fn notes(decisions: &[Decision]) -> Vec<String> {
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    for decision in decisions.iter().filter(|decision| decision.by == "stored") {
        *kept.entry(decision.ty).or_default() += 1;
    }
    let note = |(ty, count): (&str, usize)| match count {
        1 => format!("1 tensor stays `{ty}`: it is quantized already"),
        _ => format!("{count} tensors stay `{ty}`: they are quantized already"),
    };
    kept.into_iter().map(note).collect()
}
