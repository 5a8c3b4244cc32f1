//! `manifest.json` of a converted model, and what is noted of shards while it is not complete.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result, ResultExt};
use crate::io::{Files, read_small};

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Folder of the notes about a conversion that is not complete.
pub const NOTES: &str = "progress";
/// The note about the plan.
pub(super) const PLAN_NOTE: &str = "progress/plan.json";

/// The decisions that an output was made by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Name of the output format.
    pub format: String,
    /// `decode` or `raw`.
    pub mxfp4: String,
    /// `float16` or `float32`.
    pub precision: String,
    /// Most bytes of a shard.
    pub shard_size: u64,
}

/// What identifies a conversion: if it is the same, so are all bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// BLAKE3 of the layout: files, names, types, shapes; in hexadecimal.
    pub layout: String,
    /// The decisions.
    pub options: Options,
    /// BLAKE3 of samples of every tensor, or of a store's checksums; in hexadecimal.
    pub source: String,
    /// `safetensors`, `gguf` or `gmat`.
    pub source_format: String,
}

/// What is noted of the plan while it is not complete. Times are not in the manifest, which is the
/// same for the same input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlanNote {
    #[serde(flatten)]
    pub(super) identity: Identity,
    /// BLAKE3 of lengths and times of the source's files, in hexadecimal, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<String>,
}

/// A file and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// BLAKE3 of the file, in hexadecimal.
    pub blake3: String,
    /// Bytes.
    pub bytes: u64,
    /// Path in the output.
    pub file: String,
}

/// A shard that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardNote {
    /// Values clamped, for each array that has some, by name.
    pub(super) clamped: BTreeMap<String, u64>,
    pub(super) files: Vec<FileRecord>,
    pub(super) shard: usize,
}

/// A shard in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// BLAKE3 of the file, in hexadecimal; none if the shard is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// File or folder.
    pub file: String,
    /// Bytes in units of 2^20.
    pub size_mb: f64,
    /// Number of arrays.
    pub tensor_count: usize,
}

/// An array in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// BLAKE3 of the file, in hexadecimal, if the array has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Bytes of that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Values that were beyond ±65504.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clamped: u64,
    /// Element type, as the format calls it.
    pub dtype: String,
    /// The file that it is in.
    pub file: String,
    /// Its name in that file, or the file's without suffix.
    pub key: String,
    /// Name of the tensor in the source.
    pub name: String,
    /// Dimensions, slowest first.
    pub shape: Vec<u64>,
    /// Bytes of the elements in memory, in units of 2^20.
    pub size_mb: f64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `manifest.json`. Keys are written in this (alphabetical) order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// BLAKE3 of this file with 64 zeros in this place.
    pub(super) checksum: String,
    /// Values that were beyond ±65504 and became that.
    pub clamped: u64,
    /// `config.json` of the model, or an empty object.
    pub config: Box<RawValue>,
    /// What the format is called.
    pub format: String,
    /// Program that wrote it.
    pub generator: String,
    /// What identifies the conversion.
    pub identity: Identity,
    /// The script that reads the output.
    pub loader: FileRecord,
    /// Shards, in order.
    pub shards: Vec<ShardEntry>,
    /// Arrays, in order.
    pub tensors: Vec<TensorEntry>,
    /// Parameters, scales of MXFP4 included.
    pub total_parameters: u64,
    /// Those of them that are scales.
    pub total_scales: u64,
    /// Number of shards.
    pub total_shards: usize,
    /// Bytes of all shards, in units of 2^30.
    pub total_size_gb: f64,
}

/// Where the checksum stands in the text: the first key.
const CHECKSUM_START: &str = "{\n  \"checksum\": \"";
/// Digits of a checksum.
const DIGITS: usize = 64;

impl Manifest {
    /// The text, with the right checksum.
    pub(super) fn sealed(&mut self) -> Result<Vec<u8>> {
        self.checksum = "0".repeat(DIGITS);
        self.checksum = blake3::hash(&json(self)?).to_hex().to_string();
        json(self)
    }

    /// Reads the manifest in a folder; `None` if there is none. Also says whether its text is the one
    /// that was written.
    ///
    /// # Errors
    /// `Malformed` if it is not a manifest of this program.
    pub fn read(files: &dyn Files) -> Result<Option<(Self, bool)>> {
        let Some(text) = read_small(files, MANIFEST)? else { return Ok(None) };
        let place = || format!("file `{}`", files.place(MANIFEST));
        let manifest: Self = parse(&text, "a manifest that gmat wrote").context(place)?;
        if let Some(outside) = manifest.paths().into_iter().find(|path| !is_inside(path)) {
            return Err(Error::malformed(format!("`{outside}` is not a path in its folder"))
                .context(place()));
        }
        let start = CHECKSUM_START.len();
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.get(..start).unwrap_or_default()).update(&[b'0'; DIGITS]);
        hasher.update(text.get(start + DIGITS..).unwrap_or_default());
        let same = text.starts_with(CHECKSUM_START.as_bytes())
            && hasher.finalize().to_hex().as_str() == manifest.checksum;
        Ok(Some((manifest, same)))
    }

    /// Every file with arrays, in order.
    #[must_use]
    pub fn files(&self) -> Vec<FileRecord> {
        let shards = self.shards.iter().filter_map(|shard| {
            let (file, blake3) = (shard.file.clone(), shard.blake3.clone()?);
            Some(FileRecord { blake3, bytes: shard.bytes, file })
        });
        let tensors = self.tensors.iter().filter_map(|tensor| {
            let (file, blake3) = (tensor.file.clone(), tensor.blake3.clone()?);
            Some(FileRecord { blake3, bytes: tensor.bytes?, file })
        });
        shards.chain(tensors).collect()
    }

    /// The paths of all files, the manifest's own included, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.files().into_iter().map(|record| record.file).collect();
        paths.extend([MANIFEST.to_owned(), self.loader.file.clone()]);
        paths.sort();
        paths
    }
}

/// Whether a path stays in its folder. On Windows `\` separates folders, and `:` ends the name of a drive.
fn is_inside(path: &str) -> bool {
    let foreign = |part: &str| cfg!(windows) && part.contains(['\\', ':']);
    let plain = |part| !matches!(part, "" | "." | "..") && !part.contains('\0') && !foreign(part);
    path.split('/').all(plain)
}

/// JSON text with a final newline.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::malformed("cannot be written as JSON").with_source(e))?;
    text.push(b'\n');
    Ok(text)
}

/// A value from JSON text; `what` says what it should be.
pub(super) fn parse<'t, T: Deserialize<'t>>(text: &'t [u8], what: &str) -> Result<T> {
    serde_json::from_slice(text).map_err(|e| Error::malformed(format!("not {what}")).with_source(e))
}

/// The note about a shard.
pub(super) fn shard_note(shard: usize) -> String {
    format!("{NOTES}/shard_{shard:03}.json")
}
