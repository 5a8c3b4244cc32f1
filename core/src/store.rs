//! The store as a whole: `metadata.json`, `tokens.bin` and one file per tensor.

mod base;
mod finished;
mod flatten;
mod source_keys;
mod sums;

pub use self::base::{FromBase, MadeAgainst};
pub(crate) use self::base::{Location, Rows};
pub(crate) use self::finished::finished_files;
pub use self::flatten::Flattening;
pub use self::source_keys::SOURCE_KEYS;
pub(crate) use self::source_keys::write_source_keys;
pub(crate) use self::sums::{ToCheck, check_groups};

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::config::ImportConfig;
use crate::error::{Error, Result, ResultExt};
use crate::format::store::Index;
use crate::io::{Files, Sink, read_exact, read_small};
use crate::plugin::Identity;
use crate::tensor::{DType, Shape, TensorInfo};

/// Name of the store's folder in the output folder.
pub const FOLDER: &str = "model.gmat";
/// Name of the metadata file.
pub const METADATA: &str = "metadata.json";
/// Name of the tokenizer file.
pub const TOKENS: &str = "tokens.bin";
/// Version of the store's layout.
pub const FORMAT_VERSION: u32 = 3;

/// File name of a tensor in the store.
#[must_use]
pub fn tensor_file(id: Uuid) -> String {
    format!("tensors/{id}.gmat")
}

/// What a tensor was made of on import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeOf {
    /// Encoding in the checkpoint, such as `fp8`.
    pub encoding: String,
    /// Names of the tensors of the checkpoint, codes first.
    pub parts: Vec<String>,
}

/// What `metadata.json` says about one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Block format of the stored rows.
    pub block_format: String,
    /// Element type in the source.
    pub dtype: String,
    /// Source file.
    pub file: String,
    /// What it takes from the store's base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_base: Option<FromBase>,
    /// Share of lanes an octave above the median (see [`crate::stats::LaneTops`]).
    pub importance: f64,
    /// What it was made of, if the checkpoint has it in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<MadeOf>,
    /// Largest finite magnitude.
    pub max_abs: f32,
    /// Name in the source.
    pub name: String,
    /// Elements that are not zero.
    pub nonzero: u64,
    /// Root mean square of the values.
    pub rms: f64,
    /// Dimensions, slowest first.
    pub shape: Vec<u64>,
    /// BLAKE3 of the source bytes, in hexadecimal.
    pub source_blake3: String,
    /// Bytes of the tensor file.
    pub stored_bytes: u64,
}

impl Record {
    /// Name, type and shape.
    ///
    /// # Errors
    /// `Malformed` if type or shape make no sense.
    pub fn info(&self) -> Result<TensorInfo> {
        let dtype = DType::from_name(&self.dtype)
            .ok_or_else(|| Error::malformed(format!("unknown dtype `{}`", self.dtype)))?;
        Ok(TensorInfo {
            name: self.name.clone(),
            dtype,
            shape: Shape::try_new(self.shape.clone())?,
        })
    }
}

/// What came with the weights, verbatim.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFiles {
    /// Further small JSON files that an export may need, by path: `modules.json` and the configs
    /// that it names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, Box<RawValue>>,
    /// `config.json`.
    pub config: Option<Box<RawValue>>,
    /// `generation_config.json`.
    pub generation_config: Option<Box<RawValue>>,
    /// Front matter of `README.md` (the YAML between the two `---` lines).
    pub model_card: Option<String>,
    /// Name of the folder that the model was in.
    pub name: Option<String>,
    /// BLAKE3 of [`SOURCE_KEYS`], in hexadecimal, if the model came as GGUF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_keys: Option<String>,
    /// BLAKE3 of [`TOKENS`], in hexadecimal, if the model has a tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
}

/// `metadata.json`. Keys are written in this (alphabetical) order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metadata {
    /// BLAKE3 of this file with 64 zeros in this place.
    #[serde(default)]
    checksum: String,
    /// The import config in full, automatic ids included.
    #[serde(with = "sorted_config")]
    pub config: ImportConfig,
    /// Version of the store's layout.
    pub format_version: u32,
    /// Program that wrote the store.
    pub generator: String,
    /// The store that this one takes tensors from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_against: Option<MadeAgainst>,
    /// What came with the weights.
    #[serde(default)]
    pub model: ModelFiles,
    /// Plugins whose block formats the tensors are in, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, Identity>,
    /// Source name to id.
    pub tensor_name_map: BTreeMap<String, Uuid>,
    /// Id to everything known about the tensor.
    pub tensors: BTreeMap<Uuid, Record>,
    /// Number of tensors in the store.
    pub total_tensors: usize,
}

/// Where the checksum stands in the text: the first key, since keys are sorted.
const CHECKSUM_START: &str = "{\n  \"checksum\": \"";

impl Metadata {
    /// Metadata of these tensors.
    #[must_use]
    pub fn new(config: ImportConfig, model: ModelFiles, tensors: BTreeMap<Uuid, Record>) -> Self {
        Self {
            checksum: "0".repeat(64),
            config,
            format_version: FORMAT_VERSION,
            generator: concat!("gmat ", env!("CARGO_PKG_VERSION")).to_owned(),
            made_against: None,
            model,
            plugins: BTreeMap::new(),
            tensor_name_map: tensors.iter().map(|(id, t)| (t.name.clone(), *id)).collect(),
            total_tensors: tensors.len(),
            tensors,
        }
    }

    /// Ids and records in the order of the source, as far as the config tells.
    #[must_use]
    pub fn in_order(&self) -> Vec<(Uuid, &Record)> {
        let order = self.config.tensor_map.iter().map(|mapping| mapping.target);
        let mut ids: Vec<Uuid> = order.filter(|id| self.tensors.contains_key(id)).collect();
        let listed: BTreeSet<Uuid> = ids.iter().copied().collect();
        ids.extend(self.tensors.keys().filter(|id| !listed.contains(id)));
        ids.into_iter().filter_map(|id| Some((id, self.tensors.get(&id)?))).collect()
    }

    /// Writes the file. The same metadata always gives the same bytes.
    ///
    /// Written twice, first into the hasher: the text of a model with 100 000 experts is larger than
    /// all that is known about it.
    ///
    /// # Errors
    /// `Malformed` if a number has no JSON form; what the sink says.
    pub fn write(&mut self, sink: &mut dyn Sink) -> Result<()> {
        self.checksum = "0".repeat(64);
        let mut hasher = blake3::Hasher::new();
        write_pretty(self, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        self.checksum = hasher.finalize().to_hex().to_string();
        sink.begin(METADATA, None)?;
        write_pretty(self, |bytes| sink.append(bytes))?;
        sink.finish()
    }

    /// Parses the file.
    ///
    /// # Errors
    /// `Malformed` if it is not JSON of this form or was changed; `Unsupported` if a newer program
    /// wrote it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let failed = |error: Error| {
            error
                .context("failed to parse metadata.json")
                .with_hint("the file is damaged or from another program; import the model again")
        };
        // The version first: a newer layout may have changed anything else.
        #[derive(Deserialize)]
        struct Version {
            format_version: Option<u32>,
        }
        let json = |e: serde_json::Error| Error::malformed("not valid metadata").with_source(e);
        let version: Version = serde_json::from_slice(text).map_err(json).map_err(failed)?;
        match version.format_version {
            Some(FORMAT_VERSION) => {}
            Some(newer) if newer > FORMAT_VERSION => {
                return Err(Error::unsupported(format!(
                    "store format {newer} is newer than {FORMAT_VERSION}, which this program knows"
                ))
                .with_hint("install a newer gmat"));
            }
            _ => {
                return Err(Error::unsupported(
                    "the store was written by the earlier gmat-cli, which this program does not read",
                )
                .with_hint("import the model again"));
            }
        }
        let metadata: Self = serde_json::from_slice(text).map_err(json).map_err(failed)?;
        let start = CHECKSUM_START.len();
        let tail = text.get(start + 64..).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.get(..start).unwrap_or_default()).update(&[b'0'; 64]).update(tail);
        if !text.starts_with(CHECKSUM_START.as_bytes())
            || hasher.finalize().to_hex().as_str() != metadata.checksum
        {
            return Err(failed(Error::malformed(
                "its checksum does not match: the file was changed after import",
            )));
        }
        Ok(metadata)
    }
}

/// Hands the JSON text of a value on in pieces, indented and with a final newline.
fn write_pretty(value: &impl Serialize, put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    struct Pieces<F> {
        put: F,
        failed: Option<Error>,
    }
    impl<F: FnMut(&[u8]) -> Result<()>> io::Write for Pieces<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            (self.put)(bytes).map(|()| bytes.len()).map_err(|error| {
                self.failed = Some(error);
                io::Error::other("the sink refused")
            })
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = io::BufWriter::with_capacity(1 << 16, Pieces { put, failed: None });
    let json = serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from);
    let written = json.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    let (pieces, _) = out.into_parts();
    match (written, pieces.failed) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(error)) => Err(error),
        (Err(e), None) => Err(Error::malformed("cannot be written as JSON").with_source(e)),
    }
}

/// The import config with sorted keys, as all of `metadata.json`.
mod sorted_config {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;
    use uuid::Uuid;

    use crate::config::{ImportConfig, Mapping};

    #[derive(Serialize, Deserialize)]
    struct Config<'a> {
        block_format: Cow<'a, str>,
        metadata: Cow<'a, BTreeMap<String, Value>>,
        source_format: Cow<'a, str>,
        tensor_map: Vec<Line<'a>>,
    }

    #[derive(Serialize, Deserialize)]
    struct Line<'a> {
        include: bool,
        source: Cow<'a, str>,
        target: Uuid,
    }

    pub(super) fn serialize<S: Serializer>(
        config: &ImportConfig,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let lines = config.tensor_map.iter().map(|mapping| Line {
            include: mapping.include,
            source: Cow::Borrowed(&mapping.source),
            target: mapping.target,
        });
        Config {
            block_format: Cow::Borrowed(&config.block_format),
            metadata: Cow::Borrowed(&config.metadata),
            source_format: Cow::Borrowed(&config.source_format),
            tensor_map: lines.collect(),
        }
        .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<ImportConfig, D::Error> {
        let config = Config::deserialize(from)?;
        let lines = config.tensor_map.into_iter().map(|line| Mapping {
            source: line.source.into_owned(),
            target: line.target,
            include: line.include,
        });
        Ok(ImportConfig {
            source_format: config.source_format.into_owned(),
            block_format: config.block_format.into_owned(),
            tensor_map: lines.collect(),
            metadata: config.metadata.into_owned(),
        })
    }
}

/// An open store: metadata read, tensor files not yet.
pub struct Store<'a> {
    files: &'a dyn Files,
    base: Option<Box<Store<'a>>>,
    /// `metadata.json`.
    pub metadata: Metadata,
}

impl<'a> Store<'a> {
    /// Opens the store in a folder. If it was made against a base (see [`Metadata::made_against`]),
    /// tensors are to be had once that was given with [`Self::with_base`].
    ///
    /// # Errors
    /// `Io` if there is none; otherwise like [`Metadata::parse`].
    pub fn open(files: &'a dyn Files) -> Result<Self> {
        let place = files.place(METADATA);
        let text = read_small(files, METADATA)?.ok_or_else(|| {
            Error::new(crate::ErrorKind::Io, format!("no store here: `{place}` does not exist"))
                .with_hint("a store is the `model.gmat` folder that `gmat import` made")
        })?;
        let metadata = Metadata::parse(&text).context(|| format!("file `{place}`"))?;
        Ok(Self { files, base: None, metadata })
    }

    /// The folder.
    #[must_use]
    pub fn files(&self) -> &'a dyn Files {
        self.files
    }

    /// Bytes of a tensor's file, in this store or its base.
    ///
    /// # Errors
    /// `Io` if the file is missing.
    pub fn file_len(&self, id: Uuid, record: &Record) -> Result<u64> {
        let location = self.location(id, record)?;
        let (files, name) = self.file(location)?;
        files.len(&name)?.ok_or_else(|| {
            Error::new(crate::ErrorKind::Io, format!("missing tensor: {}", files.place(&name)))
                .with_hint("the store is incomplete; import the model again")
        })
    }

    /// The index of a tensor's file, in this store or its base, compared with what `metadata.json` says.
    ///
    /// # Errors
    /// `Io` if the file is missing; `Malformed` if it is damaged or of another tensor.
    pub fn index(&self, id: Uuid, record: &Record) -> Result<Index> {
        let location = self.location(id, record)?;
        let (files, name) = self.file(location).context(|| format!("tensor `{}`", record.name))?;
        let place = || format!("tensor `{}`, file `{}`", record.name, files.place(&name));
        let len = self.file_len(id, record).context(place)?;
        let index = Index::read(len, |offset, len| read_exact(files, &name, offset, len))
            .map_err(|error| match len > record.stored_bytes {
                // Whatever else it looks like then.
                true => Error::malformed(format!(
                    "the file has {len} bytes, {} more than were written",
                    len - record.stored_bytes
                ))
                .with_hint("the file changed after it was written; import the model again"),
                false => error,
            })
            .context(place)?;
        let info = record.info().context(place)?;
        let agrees = index.id == location.id()
            && index.dtype == info.dtype
            && index.shape == info.shape
            && index.format == record.block_format
            && len == record.stored_bytes
            && blake3::Hash::from(index.source_hash).to_hex().as_str() == record.source_blake3;
        if !agrees {
            return Err(Error::malformed("the file is not the one that metadata.json describes")
                .context(place())
                .with_hint("files of different imports are mixed; import the model again"));
        }
        Ok(index)
    }
}
