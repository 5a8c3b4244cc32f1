//! What was picked, opened: the model with what is beside its weights, or the store with its base.

use gmat_core::config::ModelConfig;
use gmat_core::io::{Files, read_small};
use gmat_core::source::Model;
use gmat_core::store::Store;
use gmat_core::{Result, ResultExt};

use crate::host::PageFiles;
use crate::inspect::Kind;

/// What was picked.
pub(crate) struct Source {
    pub(crate) files: PageFiles,
    pub(crate) kind: Kind,
    /// Name of its folder.
    pub(crate) name: Option<String>,
}

/// A file of importance, see `gmat export --imatrix`.
pub(crate) struct Matrix {
    pub(crate) files: PageFiles,
    pub(crate) name: String,
}

/// A model: headers and `config.json` have been read.
pub(crate) struct Opened {
    pub(crate) model: Model,
    pub(crate) config: Option<ModelConfig>,
    pub(crate) config_json: Option<Vec<u8>>,
}

impl Source {
    /// Opens the model.
    pub(crate) fn open(&self) -> Result<Opened> {
        let files = &self.files;
        let mut model = match &self.kind {
            Kind::Gguf(name) => Model::open_gguf(files, name)?,
            _ => Model::open(files, self.kind.pick())?,
        };
        // Keys of a GGUF file say all; what else is in its folder may be of another model.
        let config_json = match model.keys {
            Some(_) => None,
            None => read_small(files, "config.json")?,
        };
        let config = config_json.as_deref().map(ModelConfig::parse).transpose();
        let config = config.context(|| format!("file `{}`", files.place("config.json")))?;
        model.resolve(files, config.as_ref())?;
        Ok(Opened { model, config, config_json })
    }
}

/// A store, with its base if it has one that was picked.
///
/// # Errors
/// `Io` if it has a base that was not picked.
pub(crate) fn store<'a>(files: &'a dyn Files, base: Option<&'a PageFiles>) -> Result<Store<'a>> {
    let store = Store::open(files)?;
    match (&store.metadata.made_against, base) {
        (None, _) => Ok(store),
        (Some(_), None) => Err(store.base_missing()),
        (Some(_), Some(base)) => store.with_base(base),
    }
}
