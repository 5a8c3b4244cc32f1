//! One tensor of an export: its entry in the file, and where its values come from.

use crate::error::{Error, Result, ResultExt};
use crate::export::importance::Weights;
use crate::export::model::Placed;
use crate::export::pieces::Piece;
use crate::format::gguf::TensorEntry;
use crate::ggml::GgmlType;
use crate::quant::QuantType;
use crate::registry::Registry;
use crate::store::Store;

/// One tensor of the output.
pub(crate) struct Output {
    pub(crate) entry: TensorEntry,
    pub(crate) quant: &'static dyn QuantType,
    pub(crate) weights: Weights,
    /// Whether its bytes are those of the store.
    pub(crate) verbatim: bool,
    pub(crate) data: Data,
}

impl Output {
    /// Whether it holds weights, and not other data that came with the model.
    pub(crate) fn holds_weights(&self) -> bool {
        GgmlType::from_id(self.entry.ggml_type).is_none_or(GgmlType::holds_weights)
    }
}

/// Where its values come from.
pub(crate) enum Data {
    /// Tensors of the store, whose rows follow each other.
    Stored(Vec<Piece>),
    /// Computed from the config.
    Generated(Vec<f32>),
}

/// The tensor of the output that is made of tensors of a store.
///
/// # Errors
/// `Shape` if it has more than four dimensions, or is not whole blocks; what reading the store says.
pub(crate) fn stored(
    store: &Store<'_>,
    tensor: Placed<'_>,
    dims: Vec<u64>,
    quant: &'static dyn QuantType,
    weights: Weights,
    verbatim: bool,
    registry: &Registry,
) -> Result<Output> {
    let (elems, rank) = (tensor.shape.elems(), tensor.shape.rank());
    if rank > 4 {
        return Err(Error::shape(format!(
            "tensor `{}` has {rank} dimensions; GGUF files hold at most 4",
            tensor.name
        ))
        .with_hint("import without it (`\"include\": false`)"));
    }
    let len = quant.block().len_of(elems).ok_or_else(|| {
        Error::shape(format!(
            "tensor `{}` has {elems} elements, which are not whole blocks of `{}`",
            tensor.name,
            quant.name()
        ))
    })?;
    let mut pieces: Vec<Piece> = Vec::with_capacity(tensor.pieces.len());
    for piece in tensor.pieces {
        let first = pieces.last().map_or(0, |before| before.rows.end);
        let place = || format!("tensor `{}`", piece.record.name);
        let rows = store.rows(piece.id, piece.record)?;
        pieces.push(Piece::new(rows, &piece, first, verbatim, registry).context(place)?);
    }
    Ok(Output {
        entry: TensorEntry { name: tensor.name, dims, ggml_type: quant.ggml_type(), len },
        quant,
        weights,
        verbatim,
        data: Data::Stored(pieces),
    })
}
