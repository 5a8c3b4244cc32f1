//! What users and models write down: `config.json` of a model, `import_config.json`,
//! `export_config.json`.

pub use self::model::ModelConfig;

pub mod metadata;
mod model;
