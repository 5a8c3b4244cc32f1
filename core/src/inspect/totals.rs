//! Sums over the tensors of a model.

use super::{Contents, Tensor};

/// Sums over the tensors of one type.
#[derive(Debug, Clone)]
pub struct Kind {
    /// The type, as tensors have it.
    pub name: String,
    /// Number of tensors.
    pub tensors: usize,
    /// Elements.
    pub elems: u64,
    /// Bytes of tensor data.
    pub bytes: u64,
}

/// Sums over all tensors.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Number of tensors.
    pub tensors: usize,
    /// Elements.
    pub elems: u64,
    /// Bytes of tensor data.
    pub bytes: u64,
    /// Bytes of files.
    pub file_bytes: u64,
    /// By type, the one with most elements first.
    pub kinds: Vec<Kind>,
}

impl Totals {
    /// Of all tensors.
    #[must_use]
    pub fn of(contents: &Contents) -> Self {
        let sum = |of: &dyn Fn(&Tensor) -> u64| {
            contents.tensors.iter().map(of).fold(0, u64::saturating_add)
        };
        let mut kinds: Vec<Kind> = Vec::new();
        for tensor in &contents.tensors {
            let name = &tensor.kind;
            let at = kinds.iter().position(|kind| kind.name == *name).unwrap_or_else(|| {
                kinds.push(Kind { name: name.clone(), tensors: 0, elems: 0, bytes: 0 });
                kinds.len() - 1
            });
            if let Some(kind) = kinds.get_mut(at) {
                kind.tensors += 1;
                kind.elems = kind.elems.saturating_add(tensor.elems);
                kind.bytes = kind.bytes.saturating_add(tensor.bytes.unwrap_or(0));
            }
        }
        kinds.sort_by(|a, b| b.elems.cmp(&a.elems).then_with(|| a.name.cmp(&b.name)));
        Self {
            tensors: contents.tensors.len(),
            elems: sum(&|tensor| tensor.elems),
            bytes: sum(&|tensor| tensor.bytes.unwrap_or(0)),
            file_bytes: contents.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add),
            kinds,
        }
    }
}
