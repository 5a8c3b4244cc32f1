//! Export: the store becomes a GGUF file, or several.

pub use self::damage::Damage;
pub use self::explain::Decision;
pub use self::importance::Importance;
pub use self::model::effective_config;
pub use self::plan::{ExportOptions, ExportPlan};
pub use self::report::Report;
pub use self::suggest::{Suggestion, suggest};
pub use self::types::{KEEP, check_type};

mod basis;
mod check;
mod damage;
mod explain;
mod fit;
mod importance;
mod keep;
mod model;
mod pieces;
mod plan;
mod remarks;
mod report;
mod rows;
mod run;
mod split;
mod suggest;
mod types;
mod vendor;
mod verbatim;
