//! Export: the store becomes a GGUF file, or several.

pub use self::damage::Damage;
pub use self::explain::Decision;
pub use self::finished::Finished;
pub(crate) use self::finished::hash_of;
pub use self::importance::Importance;
pub use self::manifest::{FileHash, Manifest, manifest_name};
pub use self::model::effective_config;
pub(crate) use self::output::{Data, Output};
pub use self::plan::{ExportOptions, ExportPlan};
pub use self::report::{Figures, Report};
pub(crate) use self::rows::{Input, Rows, Unit, UnitWeights};
pub use self::suggest::{Suggestion, suggest};
pub use self::types::{KEEP, check_type};

mod basis;
mod check;
mod damage;
mod explain;
mod finished;
mod fit;
mod importance;
mod keep;
mod manifest;
mod model;
mod output;
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
