//! Export: the store becomes a GGUF file, or several.

pub use self::explain::Decision;
pub use self::importance::Importance;
pub use self::plan::{ExportOptions, ExportPlan};
pub use self::suggest::{Suggestion, suggest};

mod check;
mod explain;
mod importance;
mod model;
mod plan;
mod run;
mod split;
mod suggest;
mod types;
