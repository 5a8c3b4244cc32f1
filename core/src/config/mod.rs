//! What users and models write down: `config.json` of a model, `import_config.json`,
//! `export_config.json`.

pub use self::export::{ExportConfig, Quantization, SizeTarget, Target};
pub use self::import::{DEFAULT_BLOCK_FORMAT, ImportConfig, Mapping, pretty, tensor_id};
pub use self::model::ModelConfig;
pub use self::modes::ScaleOptimization;
pub use self::rules::{Rule, name_pattern};
pub use self::type_spec::TypeSpec;

mod export;
pub(crate) mod fields;
mod import;
pub mod metadata;
mod model;
mod modes;
mod rules;
mod type_spec;
