//! Tensors that are quantized already, from a quantized checkpoint or a GGUF file: they keep their type
//! and their bytes.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::export::explain::Decision;
use crate::export::model::Placed;
use crate::export::types::Wish;
use crate::export::verbatim::{can_copy, stored_type};
use crate::ggml::GgmlType;
use crate::recipe::FileType;
use crate::registry::Registry;

/// The type of a tensor that is quantized already, which it keeps unless somebody asks for another:
/// quantizing it once more would only lose.
///
/// # Errors
/// `Malformed` if the store is damaged.
pub(crate) fn stays(tensor: &Placed<'_>, registry: &Registry) -> Result<Option<Wish>> {
    let Some(ty) = stored_type(tensor)?.filter(|ty| ty.is_quantized()) else { return Ok(None) };
    let ty = ty.name();
    let wish =
        || Wish { ty, vendor: None, by: "stored", text: format!("quantized already, as `{ty}`") };
    Ok(can_copy(tensor, false, registry)?.then(wish))
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
    let quantized = |decision: &&Decision| {
        let ty = GgmlType::from_name(decision.ty);
        decision.by == "stored" && ty.is_some_and(GgmlType::is_quantized)
    };
    for decision in decisions.iter().filter(quantized) {
        *kept.entry(decision.ty).or_default() += 1;
    }
    let note = |(ty, count): (&str, usize)| match count {
        1 => format!("1 tensor stays `{ty}`: it is quantized already"),
        _ => format!("{count} tensors stay `{ty}`: they are quantized already"),
    };
    kept.into_iter().map(note).collect()
}
