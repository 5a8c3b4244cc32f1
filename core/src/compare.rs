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
use crate::store::Store;

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
    /// Reads both models once. Tensors are matched by name; if one is a GGUF file with other names
    /// than the other, by what the other's tensors become in an export. For that, a checkpoint is
    /// read twice.
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
        // What becomes of a checkpoint in a GGUF file can be told of the store that it would be.
        let checkpoint = match (a.is_checkpoint(), b.is_checkpoint()) {
            (true, false) if b.is_gguf() => Some(a),
            (false, true) if a.is_gguf() => Some(b),
            _ => None,
        };
        let checkpoint = match checkpoint {
            Some(side) if !Pairing::share_names(a, b)? => Some(side),
            _ => None,
        };
        let folder =
            checkpoint.map(|side| side.in_place(registry, budget, progress)).transpose()?;
        let store = folder.as_ref().map(|folder| Store::open(folder)).transpose()?;
        let store = store.map(|store| Side::store(String::new(), store));
        let (from, to) = match &store {
            Some(store) if a.is_checkpoint() => (store, b),
            Some(store) => (a, store),
            None => (a, b),
        };
        let pairing = Pairing::new(from, to, registry)?;
        let (pairs, total) = measure(&pairing, from, to, registry, budget, progress)?;
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
