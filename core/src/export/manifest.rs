//! The manifest of an export: what a file was made of and how, and the hash of every tensor in it.
//!
//! A GGUF file has no place for checksums of its tensors that is written after them; so they are in a
//! small file beside it, from which it can be verified and made once more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{ExportConfig, Rule};
use crate::error::{Error, Result};
use crate::export::finished::Finished;
use crate::export::importance::Importance;
use crate::export::plan::{ExportOptions, ExportPlan};
use crate::store::Metadata;

/// The value of `manifest`, by which the file is known.
const KIND: &str = "gmat export";

/// What is written beside an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `gmat export`.
    pub manifest: String,
    /// Program that wrote the export.
    pub generator: String,
    /// What the store was.
    pub store: StoreHash,
    /// The export config in full, options of the command line included.
    pub config: Value,
    /// What the config has no key for.
    pub options: Options,
    /// The importance matrix, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_matrix: Option<Matrix>,
    /// The files, in order.
    pub files: Vec<FileHash>,
}

/// Which store an export was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHash {
    /// The checksum in its `metadata.json`.
    pub checksum: String,
}

/// Choices that are not in the config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The name that was given to the output.
    pub file_name: String,
    /// Architecture forced by the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// `REGEX=TYPE`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensor_types: Vec<String>,
    /// Whether types that need importance were to do without.
    #[serde(default)]
    pub allow_unweighted: bool,
    /// Whether the file has a tokenizer.
    pub tokenizer: bool,
}

/// An importance matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// How the user called it.
    pub file: String,
    /// BLAKE3 of the file.
    pub blake3: String,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Bytes before the first tensor.
    pub header_bytes: u64,
    /// BLAKE3 of them.
    pub header_blake3: String,
    /// Its tensors, in order.
    pub tensors: Vec<TensorHash>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorHash {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bytes, without padding.
    pub bytes: u64,
    /// BLAKE3 of them.
    pub blake3: String,
}

/// Name of the manifest of an output: `model.manifest.json` of `model.gguf`.
#[must_use]
pub fn manifest_name(output: &str) -> String {
    format!("{}.manifest.json", output.strip_suffix(".gguf").unwrap_or(output))
}

impl Manifest {
    /// The manifest of a finished export.
    ///
    /// # Errors
    /// `Io` if the importance matrix cannot be read.
    pub fn new(
        plan: &ExportPlan<'_>,
        options: &ExportOptions<'_>,
        tokenizer: bool,
        written: &Finished,
    ) -> Result<Self> {
        let matrix = |importance: &Importance<'_>| -> Result<Matrix> {
            let blake3 = importance.hash()?.to_hex().to_string();
            Ok(Matrix { file: importance.given().to_owned(), blake3 })
        };
        let files = plan.files.iter().map(|file| {
            let tensors = file.tensors.clone().filter_map(|tensor| {
                let (output, hash) = (plan.outputs.get(tensor)?, written.0.get(tensor)?);
                Some(TensorHash {
                    name: output.entry.name.clone(),
                    ty: output.quant.name().to_owned(),
                    bytes: output.entry.len,
                    blake3: hash.to_hex().to_string(),
                })
            });
            FileHash {
                name: file.name.clone(),
                bytes: file.len,
                header_bytes: file.header.len() as u64,
                header_blake3: blake3::hash(&file.header).to_hex().to_string(),
                tensors: tensors.collect(),
            }
        });
        Ok(Self {
            manifest: KIND.to_owned(),
            generator: concat!("gmat ", env!("CARGO_PKG_VERSION")).to_owned(),
            store: StoreHash { checksum: plan.store.metadata.checksum().to_owned() },
            config: serde_json::from_str(&plan.config).map_err(not_json)?,
            options: Options {
                file_name: options.file_name.to_owned(),
                arch: options.arch.map(str::to_owned),
                tensor_types: options.tensor_types.iter().map(Rule::to_string).collect(),
                allow_unweighted: options.allow_unweighted,
                tokenizer,
            },
            importance_matrix: options.importance.map(matrix).transpose()?,
            files: files.collect(),
        })
    }

    /// Parses the file.
    ///
    /// # Errors
    /// `Malformed` if it is not a manifest.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(text).map_err(not_json)?;
        match manifest.manifest == KIND {
            true => Ok(manifest),
            false => Err(Error::malformed(format!("`{}` is not a manifest", manifest.manifest))),
        }
    }

    /// Compares the tensors of a GGUF source, as they were read, with those that were written.
    ///
    /// # Errors
    /// `Malformed`, naming the first tensor that is another one.
    pub fn check_source(&self, metadata: &Metadata) -> Result<()> {
        let tensors = self.files.iter().flat_map(|file| &file.tensors);
        let known: BTreeMap<&str, &str> =
            tensors.map(|tensor| (tensor.name.as_str(), tensor.blake3.as_str())).collect();
        for record in metadata.tensors.values() {
            let hash = known.get(record.name.as_str());
            if hash.is_some_and(|hash| *hash != record.source_blake3) {
                return Err(Error::malformed(format!(
                    "tensor `{}` is not the one that was exported",
                    record.name
                ))
                .with_hint(
                    "the file was damaged or changed: export, download or copy it again; if the \
                     change was meant, move the manifest away",
                ));
            }
        }
        Ok(())
    }

    /// The export config that was used.
    ///
    /// # Errors
    /// `Config` if it was changed to something that is none.
    pub fn config(&self) -> Result<ExportConfig> {
        ExportConfig::parse(self.config.to_string().as_bytes())
    }
}

fn not_json(error: serde_json::Error) -> Error {
    Error::malformed("not a manifest of an export").with_source(error)
}
