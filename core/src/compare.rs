//! Comparing two models tensor by tensor: types, sizes, and how far the values are apart.

mod pairs;
mod reader;
mod side;

pub use self::side::Side;

use serde::Serialize;

use self::pairs::{Pairing, measure};
use crate::error::{Error, Result};
use crate::export::{Damage, Figures};
use crate::pipeline::Budget;
use crate::progress::Progress;
use crate::registry::Registry;

/// One of the models.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// What the user calls it.
    pub path: String,
    /// `SafeTensors`, `GMAT store` or `GGUF`.
    pub format: &'static str,
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
}

/// What a tensor is in one of them.
#[derive(Debug, Clone, Serialize)]
pub struct Kind {
    /// Its name there.
    pub name: String,
    /// Its type, and for stores the block format.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its bytes.
    pub bytes: u64,
}

/// One tensor that both have.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    /// In the first model. A tensor that is made of several there names the first of them.
    pub a: Kind,
    /// In the second one.
    pub b: Kind,
    /// Dimensions, slowest first.
    pub shape: Vec<u64>,
    /// Whether all values are the same.
    pub same: bool,
    /// How far the second one is from the first.
    #[serde(flatten)]
    pub error: Figures,
    #[serde(skip)]
    pub(crate) damage: Damage,
}

/// Two models, compared.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// The first model, from which errors are measured.
    pub a: Model,
    /// The second one.
    pub b: Model,
    /// Tensors that both have, in the order of the second.
    pub pairs: Vec<Pair>,
    /// Names of tensors that only the first has.
    pub only_a: Vec<String>,
    /// Names of tensors that only the second has.
    pub only_b: Vec<String>,
    /// Tensors of one name whose dimensions differ.
    pub other_shape: Vec<String>,
    /// Error over all pairs.
    pub total: Figures,
}

impl Compared {
    /// Reads both models once. Tensors are matched by name; if one is a store and the other a GGUF
    /// file with other names, by what the store's tensors become in an export.
    ///
    /// # Errors
    /// `Unsupported` if names have nothing in common; what reading says; `Cancelled`.
    pub fn of(
        a: &Side<'_>,
        b: &Side<'_>,
        registry: &Registry,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let pairing = Pairing::new(a, b, registry)?;
        let (pairs, total) = measure(&pairing, a, b, registry, budget, progress)?;
        let Pairing { only_a, only_b, other_shape, .. } = pairing;
        let total = Figures::of(&total);
        Ok(Self { a: a.facts(), b: b.facts(), pairs, only_a, only_b, other_shape, total })
    }

    /// As one line of JSON.
    ///
    /// # Errors
    /// `Malformed` if a figure is not finite.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::malformed("cannot be written as JSON").with_source(e))
    }
}
