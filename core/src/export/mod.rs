//! Export: the store becomes a GGUF file, or several.

pub use self::plan::{ExportOptions, ExportPlan};
pub use self::suggest::{Suggestion, suggest};

mod check;
mod model;
mod plan;
mod run;
mod split;
mod suggest;
