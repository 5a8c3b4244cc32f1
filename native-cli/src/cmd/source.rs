//! A model to be imported, or that a store was imported from, with everything beside its weights.

use std::path::{Path, PathBuf};

use gmat_core::config::ModelConfig;
use gmat_core::export::{Manifest, manifest_name};
use gmat_core::format::gguf::{SUFFIX, shard_number};
use gmat_core::io::read_small;
use gmat_core::source::Model;
use gmat_core::store::ModelFiles;
use gmat_core::{Registry, Result, ResultExt};

use super::beside::{model_files, tokenizer};
use super::import::Input;
use crate::folder::Folder;
use crate::report::Console;

/// An open model: headers and `config.json` have been read.
pub(super) struct Source {
    pub(super) input: Input,
    pub(super) folder: Folder,
    pub(super) model: Model,
    pub(super) config: Option<ModelConfig>,
    pub(super) config_json: Option<Vec<u8>>,
}

impl Source {
    /// Opens the model that a path means.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let input = Input::find(path)?;
        let folder = Folder::new(&input.folder);
        let mut model = input.open(&folder)?;
        // Keys of a GGUF file say all that is to be known; what else is in its folder may be of
        // another model.
        let config_json = match model.keys {
            Some(_) => None,
            None => read_small(&folder, "config.json")?,
        };
        let config = config_json.as_deref().map(ModelConfig::parse).transpose();
        let config =
            config.context(|| format!("file `{}`", folder.path().join("config.json").display()))?;
        model.resolve(&folder, config.as_ref())?;
        Ok(Self { input, folder, model, config, config_json })
    }

    /// Whether it is a GGUF file.
    pub(super) fn is_gguf(&self) -> bool {
        self.model.keys.is_some()
    }

    /// The manifest beside a GGUF file, if gmat wrote it. A file of that name that is none says
    /// nothing.
    pub(super) fn manifest(&self) -> Result<Option<(PathBuf, Manifest)>> {
        let Some(file) = self.input.gguf() else { return Ok(None) };
        let name = manifest_name(&output_name(file));
        let text = read_small(&self.folder, &name)?;
        let manifest = text.and_then(|text| Manifest::parse(&text).ok());
        Ok(manifest.map(|manifest| (self.folder.path().join(name), manifest)))
    }

    /// The bytes of `tokens.bin`, if there is a tokenizer, and the files that are kept verbatim.
    pub(super) fn beside(
        &self,
        pre: Option<&str>,
        registry: &Registry,
        console: &mut Console,
    ) -> Result<(Option<Vec<u8>>, ModelFiles)> {
        if self.is_gguf() {
            return Ok((None, ModelFiles::default()));
        }
        let tokens = tokenizer(pre, &self.folder, registry, self.config.as_ref(), console)?;
        Ok((tokens, model_files(&self.folder, self.config_json.clone())?))
    }
}

/// The name that an output was given: that of the file, without the numbers of a split.
pub(super) fn output_name(file: &str) -> String {
    match shard_number(file, SUFFIX) {
        Some((stem, ..)) => format!("{stem}{SUFFIX}"),
        None => file.to_owned(),
    }
}
