//! Options of the page, as JSON texts.

use gmat_core::config::{ExportConfig, Rule};
use gmat_core::{Error, Registry, Result, ResultExt};
use serde::Deserialize;

/// What to import.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ImportOptions {
    /// Block format; that of the config, or what suits the source, if empty.
    pub(crate) block_format: String,
    /// Content of an `import_config.json`.
    pub(crate) config: Option<String>,
    /// Pre-tokenizer, see `gmat import --pre`.
    pub(crate) pre: Option<String>,
}

/// What to export.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExportOptions {
    /// Content of an `export_config.json`.
    pub(crate) config: String,
    /// Whether types are recommended by the importance of tensors, instead of taken from the config.
    pub(crate) recommend: bool,
    /// Name of the output file.
    pub(crate) file_name: String,
    /// Architecture, if not that of the model.
    pub(crate) arch: Option<String>,
    /// Whether to do without tokenizer.
    pub(crate) no_tokenizer: bool,
    /// Whether types that need importance may do without.
    pub(crate) allow_unweighted: bool,
    /// Whether types may be written that only runtimes of one's own load.
    pub(crate) allow_custom_types: bool,
    /// Whether to measure the error of every tensor.
    pub(crate) report: bool,
}

/// Which arrays to write, see `gmat convert`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ArrayOptions {
    /// Name of a container.
    pub(crate) format: String,
    /// `float16` or `float32`.
    pub(crate) precision: String,
    /// `decode` or `raw`.
    pub(crate) mxfp4: String,
    /// Most bytes of a shard.
    pub(crate) shard_size: Option<u64>,
}

pub(crate) fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::config("these options make no sense").with_source(e))
}

impl ExportOptions {
    /// The config, if it is not to be recommended.
    pub(crate) fn config(&self) -> Result<ExportConfig> {
        match self.config.is_empty() {
            true => Ok(ExportConfig::default()),
            false => {
                ExportConfig::parse(self.config.as_bytes()).context(|| "the config of this export")
            }
        }
    }

    pub(crate) fn core<'a>(
        &'a self,
        importance: Option<&'a gmat_core::export::Importance<'a>>,
    ) -> gmat_core::export::ExportOptions<'a> {
        const NONE: &[Rule] = &[];
        gmat_core::export::ExportOptions {
            arch: self.arch.as_deref(),
            file_name: &self.file_name,
            tensor_types: NONE,
            importance,
            allow_unweighted: self.allow_unweighted,
            allow_custom_types: self.allow_custom_types,
        }
    }

    /// Whether some runtime is to load the file.
    pub(crate) fn loadable(&self, registry: &Registry) -> Result<bool> {
        Ok(match self.arch.as_deref() {
            Some(name) => registry.arch(name)?.caveat().is_none(),
            None => true,
        })
    }
}
