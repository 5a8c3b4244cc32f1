//! How scales are chosen, and what for: names in configs and options.

use serde::Serialize;

use crate::error::{Error, Result, nearest};
use crate::quant::Metric;

/// How scales are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ScaleOptimization {
    /// Joint search, never worse than `Standard`.
    #[default]
    Trellis,
    /// Byte-identical to ggml's reference quantizer.
    Standard,
}

impl ScaleOptimization {
    /// The mode of that name.
    ///
    /// # Errors
    /// `Config`, naming what is allowed.
    pub fn from_name(name: &str) -> Result<Self> {
        let modes = [("trellis", Self::Trellis), ("standard", Self::Standard)];
        one_of("scale_optimization", name, modes)
    }
}

impl Metric {
    /// The metric of that name.
    ///
    /// # Errors
    /// `Config`, naming what is allowed.
    pub fn from_name(name: &str) -> Result<Self> {
        one_of("trellis_metric", name, [("ggml", Self::Ggml), ("squares", Self::Squares)])
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a name stands for, in either case.
fn one_of<T: Copy>(key: &str, name: &str, all: [(&'static str, T); 2]) -> Result<T> {
    if let Some((_, value)) = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok(*value);
    }
    let [first, second] = all.map(|(known, _)| known);
    let error = Error::config(format!("`{key}` is `{name}`, expected `{first}` or `{second}`"));
    Err(match nearest(name, [first, second]) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error,
    })
}
