//! What was picked: a model, a store or a GGUF file.

use gmat_core::inspect::json::object;
use gmat_core::inspect::{Contents, Totals};
use gmat_core::io::{Files, read_exact};
use gmat_core::source::{Pick, gguf_in};
use gmat_core::store::{METADATA, Store};
use gmat_core::{Registry, Result};
use serde_json::{Value as Json, json};

/// What to do with the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A store.
    Store,
    /// SafeTensors: all of the folder, or one file.
    SafeTensors(Option<String>),
    /// The GGUF file of that name.
    Gguf(String),
}

impl Kind {
    /// Tells by names and first bytes. `file` is the one that was picked, if it was only one.
    pub(crate) fn of(files: &dyn Files, file: Option<&str>) -> Result<Self> {
        if files.len(METADATA)?.is_some() {
            return Ok(Self::Store);
        }
        let Some(name) = file else {
            return Ok(match gguf_in(files)? {
                Some(name) => Self::Gguf(name),
                None => Self::SafeTensors(None),
            });
        };
        const MAGIC: &[u8] = b"GGUF";
        let long = files.len(name)?.is_some_and(|len| len >= MAGIC.len() as u64);
        let begins = long && read_exact(files, name, 0, MAGIC.len())? == MAGIC;
        match begins || name.ends_with(".gguf") {
            true => Ok(Self::Gguf(name.to_owned())),
            false => Ok(Self::SafeTensors(Some(name.to_owned()))),
        }
    }

    pub(crate) fn pick(&self) -> Pick<'_> {
        match self {
            Self::SafeTensors(Some(name)) => Pick::File(name),
            _ => Pick::Folder,
        }
    }

    /// All that headers tell, in the form of `gmat inspect --json`; of a store, what it was made against, too.
    pub(crate) fn contents(&self, files: &dyn Files, registry: &Registry) -> Result<Json> {
        let mut base = Json::Null;
        let contents = match self {
            Self::Store => {
                let store = Store::open(files)?;
                let made = store.metadata.made_against.as_ref();
                base = made.map_or(Json::Null, |made| json!({"path": made.path}));
                Contents::store(&store)?
            }
            Self::Gguf(name) => Contents::gguf(files, name)?,
            Self::SafeTensors(_) => Contents::safetensors(files, self.pick(), registry)?,
        };
        let mut shown = object(&contents, &Totals::of(&contents), &[]);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("base".to_owned(), base);
        }
        Ok(shown)
    }
}
