//! What a model is, from headers and small files only: a SafeTensors model, a store, or GGUF files.

mod facts;
mod histogram;

pub use self::facts::{Facts, TokenizerFacts};
pub use self::histogram::{Histogram, MAX_BINS};

use serde_json::Value as Json;
use uuid::Uuid;

use crate::config::{ModelConfig, metadata};
use crate::error::{Result, ResultExt};
use crate::format::gguf::{self, GgufModel};
use crate::format::tokens;
use crate::io::{Files, SmallFiles, read_small};
use crate::registry::Registry;
use crate::source::{Model, Pick};
use crate::store::{FromBase, METADATA, Record, SOURCE_KEYS, Store, TOKENS, tensor_file};
use crate::tensor::{DType, Shape};
use crate::token::{self, TokenizerOptions, Vocab};

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// File name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// Of `__metadata__` or a config.
    Json(Json),
    /// Of a GGUF file.
    Gguf(gguf::Value),
}

/// One tensor.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Its type as people know it (`BF16`, `q4_k`, `type 77`).
    pub kind: String,
    /// Dimensions in the order of its format: fastest first in GGUF files, else slowest first.
    pub dims: Vec<u64>,
    /// Elements.
    pub elems: u64,
    /// Bytes in the file; none for types that we do not know.
    pub bytes: Option<u64>,
    /// Name of the file that it is in.
    pub file: String,
    /// What only some formats know.
    pub details: Details,
    pub(crate) data: Data,
}

/// What is known of a tensor beyond name, type and size.
#[derive(Debug, Clone)]
pub enum Details {
    /// Of a SafeTensors file.
    Source,
    /// Of a store: id and record.
    Stored(Uuid, Box<Record>),
    /// Of a GGUF file: the type id.
    Gguf(u32),
}

/// Where the elements of a tensor are.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// At an offset of its file, row after row.
    Plain { dtype: DType, shape: Shape, offset: u64 },
    /// In row groups of a tensor file.
    Stored,
    /// Of a type that we do not know.
    Unknown,
}

/// What there is.
#[derive(Debug, Clone)]
pub struct Contents {
    /// `SafeTensors`, `GMAT store` or `GGUF`.
    pub format: &'static str,
    /// Files with tensors, in order; of a store just its folder.
    pub files: Vec<FileEntry>,
    /// Metadata, in the order of the file.
    pub keys: Vec<(String, Key)>,
    /// Tensors, in the order of the file or of the source.
    pub tensors: Vec<Tensor>,
    /// What the model is.
    pub facts: Facts,
    /// What is wrong with it.
    pub warnings: Vec<String>,
}

impl Contents {
    /// A SafeTensors model.
    ///
    /// # Errors
    /// Like [`Model::open`].
    pub fn safetensors(files: &dyn Files, pick: Pick<'_>, registry: &Registry) -> Result<Self> {
        let model = Model::open(files, pick)?;
        let mut warnings = model.notes.clone();
        let config = optional(config(files), &mut warnings).flatten();
        let block = metadata::extract(config.as_ref(), &model.metadata);
        let mut facts = Facts::of_config(&block);
        let vocab = vocabulary(files, config.as_ref(), registry);
        facts.tokenizer =
            optional(vocab, &mut warnings).flatten().map(|vocab| TokenizerFacts::of_vocab(&vocab));
        let tensors = model.tensors.iter().map(|tensor| {
            let file = model.shards.get(tensor.shard).map(|shard| shard.name.clone());
            let (info, offset) = (&tensor.info, tensor.offset);
            Ok(Tensor {
                name: info.name.clone(),
                kind: info.dtype.to_string(),
                dims: info.shape.dims().to_vec(),
                elems: info.shape.elems(),
                bytes: Some(info.byte_len()?),
                file: file.unwrap_or_default(),
                details: Details::Source,
                data: Data::Plain { dtype: info.dtype, shape: info.shape.clone(), offset },
            })
        });
        let tensors = tensors.collect::<Result<_>>()?;
        let shards = model.shards.iter();
        let files = shards.map(|shard| FileEntry { name: shard.name.clone(), bytes: shard.len });
        let text = |(key, text)| (key, Key::Json(Json::String(text)));
        Ok(Self {
            format: "SafeTensors",
            files: files.collect(),
            keys: model.metadata.into_iter().map(text).collect(),
            tensors,
            facts,
            warnings,
        })
    }

    /// A store.
    ///
    /// # Errors
    /// `Malformed` if a record makes no sense.
    pub fn store(store: &Store<'_>) -> Result<Self> {
        let files = store.files();
        let metadata = &store.metadata;
        let mut warnings = Vec::new();
        let mut tensors = Vec::new();
        for (id, record) in metadata.in_order() {
            let Ok((folder, file)) = store.location(id, record).and_then(|at| store.file(at))
            else {
                // Once is enough.
                if warnings.is_empty() {
                    warnings.push(store.base_missing().to_string());
                }
                tensors.push(stored(id, record, tensor_file(id))?);
                continue;
            };
            let place = folder.place(&file);
            match folder.len(&file) {
                Ok(Some(len)) if len == record.stored_bytes => {}
                Ok(Some(len)) => warnings.push(format!(
                    "{place} has {len} bytes, metadata.json says {}",
                    record.stored_bytes
                )),
                Ok(None) => warnings.push(format!("missing tensor: {place}")),
                Err(error) => warnings.push(error.to_string()),
            }
            tensors.push(stored(id, record, file)?);
        }
        let given = &metadata.config.metadata;
        let mut facts = Facts::of_config(given);
        facts.name.clone_from(&metadata.model.name);
        let mut keys: Vec<_> =
            given.iter().map(|(key, value)| (key.clone(), Key::Json(value.clone()))).collect();
        let read = |bytes: Option<Vec<u8>>| bytes.map(|bytes| tokens::read(&bytes)).transpose();
        let vocab = read_small(files, TOKENS).and_then(read);
        let vocab = vocab.context(|| format!("file `{}`", files.place(TOKENS)));
        facts.tokenizer =
            optional(vocab, &mut warnings).flatten().map(|vocab| TokenizerFacts::of_vocab(&vocab));
        let source = optional(store.source_keys(), &mut warnings).flatten();
        if let Some(meta) = source {
            facts = Facts::of_gguf(&meta);
            let source = meta.entries().iter().cloned();
            keys.extend(source.map(|(key, value)| (key, Key::Gguf(value))));
        }
        let own = metadata.tensors.values();
        let own = own.filter(|record| !matches!(record.from_base, Some(FromBase::Same(_))));
        let bytes = own.map(|record| record.stored_bytes).fold(0, u64::saturating_add);
        let small = [METADATA, TOKENS, SOURCE_KEYS].iter();
        let small = small.filter_map(|name| files.len(name).ok().flatten());
        let bytes = small.fold(bytes, u64::saturating_add);
        let files = vec![FileEntry { name: files.place(""), bytes }];
        Ok(Self { format: "GMAT store", files, keys, tensors, facts, warnings })
    }

    /// A GGUF model, with all files of a split.
    ///
    /// # Errors
    /// Like [`GgufModel::open`].
    pub fn gguf(files: &dyn Files, file: &str) -> Result<Self> {
        let model = GgufModel::open(files, file)?;
        let mut warnings = Vec::new();
        if let Err(error) = model.complete() {
            warnings.push(error.message().to_owned());
        }
        let mut tensors = Vec::new();
        for part in &model.parts {
            for (tensor, len) in part.gguf.tensors.iter().zip(&part.lens) {
                let shape = tensor.shape()?;
                let offset = part.gguf.data_start.saturating_add(tensor.offset);
                let ty = tensor.ty();
                if ty.is_none() {
                    warnings.push(format!(
                        "tensor `{}` is of type {}, which this program does not know",
                        tensor.name, tensor.ggml_type
                    ));
                }
                let kind = ty.map(|ty| ty.name().to_owned());
                tensors.push(Tensor {
                    name: tensor.name.clone(),
                    kind: kind.unwrap_or_else(|| format!("type {}", tensor.ggml_type)),
                    dims: tensor.dims.clone(),
                    elems: shape.elems(),
                    bytes: *len,
                    file: part.name.clone(),
                    details: Details::Gguf(tensor.ggml_type),
                    data: match ty.and_then(DType::from_ggml) {
                        Some(dtype) => Data::Plain { dtype, shape, offset },
                        None => Data::Unknown,
                    },
                });
            }
        }
        let parts = model.parts.iter();
        let files = parts.map(|part| FileEntry { name: part.name.clone(), bytes: part.len });
        let (files, meta) = (files.collect(), model.meta().cloned().unwrap_or_default());
        let facts = Facts::of_gguf(&meta);
        let keys = meta.into_entries().into_iter().map(|(key, value)| (key, Key::Gguf(value)));
        Ok(Self { format: "GGUF", files, keys: keys.collect(), tensors, facts, warnings })
    }
}

/// A tensor of a store.
fn stored(id: Uuid, record: &Record, file: String) -> Result<Tensor> {
    let shape = record.info()?.shape;
    let (dtype, format) = (&record.dtype, &record.block_format);
    let kind = match (record.from_base, format.as_str()) {
        (Some(FromBase::Same(_)), "raw") => format!("{dtype} in base"),
        (Some(FromBase::Same(_)), format) => format!("{dtype} as {format} in base"),
        (Some(FromBase::Difference(_)), _) => format!("{dtype} as difference"),
        (None, "raw") => dtype.clone(),
        (None, format) => format!("{dtype} as {format}"),
    };
    Ok(Tensor {
        name: record.name.clone(),
        kind,
        dims: shape.dims().to_vec(),
        elems: shape.elems(),
        bytes: Some(record.stored_bytes),
        file,
        details: Details::Stored(id, Box::new(record.clone())),
        data: Data::Stored,
    })
}

/// What could be read; otherwise a warning: what lies beside the weights must not hide them.
fn optional<T>(read: Result<T>, warnings: &mut Vec<String>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            warnings.push(error.to_string());
            None
        }
    }
}

fn config(files: &dyn Files) -> Result<Option<ModelConfig>> {
    let json = read_small(files, "config.json")?;
    let config = json.as_deref().map(ModelConfig::parse).transpose();
    config.context(|| format!("file `{}`", files.place("config.json")))
}

fn vocabulary(
    files: &dyn Files,
    config: Option<&ModelConfig>,
    registry: &Registry,
) -> Result<Option<Vocab>> {
    let (small, none) = (SmallFiles(files), ModelConfig::default());
    let Some(source) = token::detect(registry.tokenizers(), &small)? else { return Ok(None) };
    source.read(&small, config.unwrap_or(&none), &TokenizerOptions::default()).map(Some)
}
