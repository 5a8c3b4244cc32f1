//! Why every tensor of an export has the type it has.

use uuid::Uuid;

use crate::export::importance::Weights;
use crate::export::output::Output;
use crate::export::types::Wish;
use crate::recipe::{Choice, FileType, Why};

/// What one tensor becomes, and who decided it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Ids of the stored tensors that it is made of: what `per_tensor` names.
    pub ids: Vec<Uuid>,
    /// Name in the source; none if the tensor is computed from the config.
    pub source: Option<String>,
    /// GGUF name.
    pub name: String,
    /// Dimensions, slowest first.
    pub shape: Vec<u64>,
    /// Tensor type.
    pub ty: &'static str,
    /// Bits per weight of the type.
    pub bits: f64,
    /// Bytes in the file, without padding.
    pub bytes: u64,
    /// Whether an importance matrix weighs its columns.
    pub weighted: bool,
    /// Kind of the decision: `option` (`--tensor-type`), `per_tensor`, `expert_rule`, `rule`,
    /// `target` (for a size), `stored` (the type that it is stored in), `recipe`, `kept` (F32, as
    /// runtimes want it), `fallback` (for its row length) or `generated`.
    pub by: &'static str,
    /// The decision in words.
    pub why: String,
}

impl Decision {
    pub(crate) fn new(
        source: Option<String>,
        ids: Vec<Uuid>,
        output: &Output,
        file_type: FileType,
        choice: &Choice,
        wish: Option<&Wish>,
    ) -> Self {
        let asked = |before: &str| wish.map_or(String::new(), |w| format!("{before}{}", w.text));
        let (by, why) = match choice.why {
            Why::KeptF32 { reason, overridden: false } => ("kept", reason.to_owned()),
            Why::KeptF32 { reason, overridden: true } => {
                ("kept", format!("{reason}{}", asked(", in spite of ")))
            }
            Why::Stored => ("stored", "the type that it is stored in".to_owned()),
            Why::Default => ("recipe", format!("`{file_type}`")),
            Why::Role(role) => ("recipe", format!("`{file_type}`: {role}")),
            Why::Override => (wish.map_or("per_tensor", |wish| wish.by), asked("")),
            Why::Fallback { wanted } => {
                let cols = output.entry.dims.first().copied().unwrap_or(1);
                ("fallback", format!("rows of {cols} do not fit `{wanted}`{}", asked(" from ")))
            }
        };
        Self { ids, by, why, ..Self::of(source, output) }
    }

    pub(crate) fn generated(output: &Output) -> Self {
        Self {
            by: "generated",
            why: "computed from the config".to_owned(),
            ..Self::of(None, output)
        }
    }

    fn of(source: Option<String>, output: &Output) -> Self {
        Self {
            ids: Vec::new(),
            source,
            name: output.entry.name.clone(),
            shape: output.entry.dims.iter().rev().copied().collect(),
            ty: output.quant.name(),
            bits: output.quant.block().bits(),
            bytes: output.entry.len,
            weighted: matches!(output.weights, Weights::Matrix(_)),
            by: "",
            why: String::new(),
        }
    }

    /// The layer of the tensor, if its name says so (`blk.N…`).
    #[must_use]
    pub fn layer(&self) -> Option<u32> {
        layer_of(&self.name)
    }

    /// Number of weights.
    #[must_use]
    pub fn elems(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, &dim| product.saturating_mul(dim))
    }
}

/// The layer in the name of a tensor (`blk.N…`).
pub(crate) fn layer_of(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}
