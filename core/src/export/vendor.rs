//! Types of plugins in an export: which tensors get them.

use crate::config::TypeSpec;
use crate::error::{Error, Result};
use crate::ggml::GgmlType;
use crate::quant::QuantType;
use crate::recipe::{Choice, Why};
use crate::registry::Registry;

/// What recipes take a type for that has an id of its own: which tensors must not be quantized, and
/// what becomes of rows that do not fit.
const STAND_IN: GgmlType = GgmlType::Q8_0;

/// A type of a plugin, in the place of a built-in one.
#[derive(Clone, Copy)]
pub(crate) struct Vendor(&'static dyn QuantType);

impl Vendor {
    /// The type of that name, with the parameters of `spec`.
    ///
    /// # Errors
    /// `Plugin` if there is no such plugin, or if it refuses the parameters; `Config` if it takes none.
    pub(crate) fn new(name: &str, spec: &TypeSpec, registry: &Registry) -> Result<Self> {
        let quant = registry.quant(name).ok_or_else(|| {
            let missing = registry.missing_plugin("quantization type", name);
            missing.unwrap_or_else(|| Error::config(format!("`{name}` is not of a plugin")))
        })?;
        match spec.params_text() {
            None => Ok(Self(quant)),
            Some(params) => quant.with_params(&params).map(Self),
        }
    }

    /// The type itself.
    pub(crate) fn quant(self) -> &'static dyn QuantType {
        self.0
    }

    fn layout(self) -> Option<GgmlType> {
        GgmlType::from_id(self.0.ggml_type())
    }

    /// The type that recipes know in its place.
    pub(crate) fn base(self) -> &'static str {
        self.layout().unwrap_or(STAND_IN).name()
    }

    /// Takes the place of what a recipe chose for rows of `cols` weights, if it is the base type.
    ///
    /// # Errors
    /// `Config` if no runtime knows the type, and that is not `allowed`.
    pub(crate) fn replace(
        self,
        choice: Choice,
        quant: &'static dyn QuantType,
        cols: u64,
        allowed: bool,
    ) -> Result<(Choice, &'static dyn QuantType)> {
        let base = self.base();
        let is_base = match choice.why {
            Why::KeptF32 { .. } | Why::Stored => false,
            Why::Fallback { wanted } if self.layout().is_none() => wanted == base,
            _ => choice.ty == base,
        };
        if !is_base {
            return Ok((choice, quant));
        }
        let name = self.0.name();
        if self.0.block().len_of(cols).is_none() {
            return Ok((Choice { why: Why::Fallback { wanted: name }, ..choice }, quant));
        }
        if self.layout().is_none() && !allowed {
            return Err(Error::config(format!(
                "`{name}` has the type id {} of its own, which no runtime of others knows",
                self.0.ggml_type()
            ))
            .with_hint("add --allow-custom-types if the file is for a runtime that does"));
        }
        let why = match choice.why {
            Why::Fallback { .. } => Why::Default,
            why => why,
        };
        Ok((Choice { ty: name, why }, self.0))
    }
}

impl PartialEq for Vendor {
    /// Types with different parameters are different ones; each is made once.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.0, other.0)
    }
}

impl Eq for Vendor {}

impl std::fmt::Debug for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vendor").field(&self.0.name()).finish()
    }
}
