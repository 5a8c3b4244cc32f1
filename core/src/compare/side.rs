//! A model that is compared, open.

use super::reader::Reader;
use super::{Kind, Model as Facts};
use crate::error::{Error, Result};
use crate::format::store::Index;
use crate::import::{InPlace, model_files};
use crate::io::{Files, read_small};
use crate::pipeline::Budget;
use crate::progress::Progress;
use crate::registry::Registry;
use crate::source::Model;
use crate::store::Store;
use crate::tensor::Shape;

/// One of the two models: headers have been read.
pub struct Side<'a> {
    path: String,
    files: &'a dyn Files,
    open: Open<'a>,
    shards: Vec<String>,
}

enum Open<'a> {
    Model(Model),
    Store(Box<Store<'a>>),
}

/// A tensor of one of the models.
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    pub(super) shape: Shape,
    pub(super) reader: Reader<'a>,
}

impl<'a> Side<'a> {
    /// A checkpoint, put together ([`Model::resolve`]), or a GGUF file; `path` is what the user calls
    /// it.
    #[must_use]
    pub fn model(path: String, files: &'a dyn Files, model: Model) -> Self {
        let shards = model.shards.iter().map(|shard| shard.name.clone()).collect();
        Self { path, files, open: Open::Model(model), shards }
    }

    /// A store.
    #[must_use]
    pub fn store(path: String, store: Store<'a>) -> Self {
        Self { path, files: store.files(), open: Open::Store(Box::new(store)), shards: Vec::new() }
    }

    pub(super) fn files(&self) -> &'a dyn Files {
        self.files
    }

    pub(super) fn shards(&self) -> &[String] {
        &self.shards
    }

    /// The store, if it is one.
    pub(super) fn as_store(&self) -> Option<&Store<'a>> {
        match &self.open {
            Open::Store(store) => Some(store),
            Open::Model(_) => None,
        }
    }

    /// Whether it is a GGUF file.
    pub(super) fn is_gguf(&self) -> bool {
        matches!(&self.open, Open::Model(model) if model.keys.is_some())
    }

    /// Whether it is a SafeTensors model.
    pub(super) fn is_checkpoint(&self) -> bool {
        matches!(&self.open, Open::Model(model) if model.keys.is_none())
    }

    /// A checkpoint as the store that it would be.
    ///
    /// # Errors
    /// `Unsupported` if it is none; as [`InPlace::new`].
    pub(super) fn in_place(
        &self,
        registry: &Registry,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<InPlace<'_>> {
        let Open::Model(model) = &self.open else {
            return Err(Error::unsupported("this is a store already"));
        };
        let config = read_small(self.files, "config.json")?;
        let beside = model_files(self.files, config, None)?;
        InPlace::new(model, self.files, beside, registry, budget, progress)
    }

    pub(super) fn format(&self) -> &'static str {
        match &self.open {
            Open::Store(_) => "GMAT store",
            Open::Model(_) if self.is_gguf() => "GGUF",
            Open::Model(_) => "SafeTensors",
        }
    }

    pub(super) fn facts(&self) -> Facts {
        let (tensors, bytes) = match &self.open {
            Open::Store(store) => {
                let records = store.metadata.tensors.values();
                (store.metadata.total_tensors, records.map(|record| record.stored_bytes).sum())
            }
            Open::Model(model) => {
                let lens = model.tensors.iter().map(|tensor| tensor.source_len().unwrap_or(0));
                (model.tensors.len(), lens.sum())
            }
        };
        Facts { path: self.path.clone(), format: self.format(), tensors, bytes }
    }

    /// All tensors, in the order of the model.
    pub(super) fn entries(&self) -> Result<Vec<Entry<'_>>> {
        match &self.open {
            Open::Model(model) => {
                let entries = model.tensors.iter().map(|tensor| {
                    let info = &tensor.info;
                    let ty = match &tensor.derived {
                        Some(derived) => derived.encoding.to_owned(),
                        // As the format calls its types.
                        None if self.is_gguf() => info.dtype.to_string().to_ascii_lowercase(),
                        None => info.dtype.to_string(),
                    };
                    let kind = Kind { name: info.name.clone(), ty, bytes: tensor.source_len()? };
                    let file = self.shards.get(tensor.shard).map_or("", String::as_str);
                    let reader = Reader::Source(tensor, file);
                    Ok(Entry { kind, shape: info.shape.clone(), reader })
                });
                entries.collect()
            }
            Open::Store(store) => {
                let mut entries = Vec::new();
                for (&id, record) in &store.metadata.tensors {
                    let rows = store.rows(id, record)?;
                    let index = &rows.index;
                    let ty = stored_type(index);
                    let (name, bytes) = (record.name.clone(), record.stored_bytes);
                    let (kind, shape) = (Kind { name, ty, bytes }, index.shape.clone());
                    entries.push(Entry { kind, shape, reader: Reader::Stored(Box::new(rows)) });
                }
                // By name: the order of a store is that of random ids.
                entries.sort_by(|a, b| a.kind.name.cmp(&b.kind.name));
                Ok(entries)
            }
        }
    }
}

/// What the type of a tensor of a store is called.
pub(super) fn stored_type(index: &Index) -> String {
    match index.format.as_str() {
        "raw" => index.dtype.to_string(),
        format => format!("{format} of {}", index.dtype),
    }
}
