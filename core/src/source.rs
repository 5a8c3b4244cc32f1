//! A model: one file, or the shards of a folder, as one list of tensors.

mod gguf;

mod catalog;
mod claim;
mod dequant;
mod derived;
mod method;
pub(crate) mod mxfp4;
mod resolve;
mod rows;
mod tiling;

use std::collections::{BTreeMap, BTreeSet};

pub use self::derived::{Derived, Part};
pub use self::gguf::gguf_in;

use serde::Deserialize;

use crate::error::{Error, Result, ResultExt};
use crate::format::gguf::{Meta, shard_number};
use crate::format::safetensors::{self, PREFIX};
use crate::io::{Files, is_file_name, read_exact, read_small};
use crate::tensor::{TensorInfo, mem_len};

/// Name of the index of a sharded model.
pub const INDEX: &str = "model.safetensors.index.json";

const SUFFIX: &str = ".safetensors";

/// What helps against most broken files.
const AGAIN: &str =
    "if it was downloaded or copied, compare its size with the original's and get it again";

/// What the user pointed at.
#[derive(Debug, Clone, Copy)]
pub enum Pick<'a> {
    /// The folder: all its shards.
    Folder,
    /// One file of it, whatever else is there.
    File(&'a str),
}

/// One tensor and where its bytes are.
#[derive(Debug, Clone)]
pub struct SourceTensor {
    /// Name, type, shape.
    pub info: TensorInfo,
    /// Number of the shard in [`Model::shards`] (of its codes, if it is derived).
    pub shard: usize,
    /// Offset in that file.
    pub offset: u64,
    /// What it is made of, if the checkpoint has it in parts.
    pub derived: Option<Box<Derived>>,
}

impl SourceTensor {
    /// A tensor that is in the checkpoint as it is.
    #[must_use]
    pub fn plain(info: TensorInfo, shard: usize, offset: u64) -> Self {
        Self { info, shard, offset, derived: None }
    }

    /// Bytes of one row in the checkpoint, without scales.
    pub(crate) fn row_len(&self, row: u64) -> Result<u64> {
        match &self.derived {
            Some(derived) => derived.row_len(),
            None => {
                let len = self.info.dtype.byte_len(row);
                len.ok_or_else(|| Error::limit(format!("absurd rows of {row}")))
            }
        }
    }

    /// Bytes in the checkpoint, scales included.
    ///
    /// # Errors
    /// `Limit` if they do not fit in 63 bits.
    pub fn source_len(&self) -> Result<u64> {
        let Some(derived) = &self.derived else { return self.info.byte_len() };
        derived.parts().iter().try_fold(0u64, |sum, part| {
            let len = part.info.byte_len()?;
            sum.checked_add(len).ok_or_else(|| Error::limit("tensor too large"))
        })
    }
}

/// One file of a model.
#[derive(Debug, Clone)]
pub struct Shard {
    /// File name.
    pub name: String,
    /// Bytes of the file.
    pub len: u64,
}

/// All tensors of a model. Only headers have been read.
#[derive(Debug, Clone)]
pub struct Model {
    /// Files, sorted by name.
    pub shards: Vec<Shard>,
    /// Tensors, by shard and position.
    pub tensors: Vec<SourceTensor>,
    /// `__metadata__` of all headers; the first shard wins.
    pub metadata: BTreeMap<String, String>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// The keys of the model, if it is a GGUF file.
    pub keys: Option<Meta>,
}

impl Model {
    /// Reads the headers of a model.
    ///
    /// # Errors
    /// `Io`, `Malformed` or `Unsupported`, naming the file and what is wrong in it: a missing
    /// shard, a tensor that is missing or occurs twice, a broken header.
    pub fn open(files: &dyn Files, pick: Pick<'_>) -> Result<Self> {
        let mut notes = Vec::new();
        let index = match pick {
            Pick::Folder => read_index(files)?,
            Pick::File(_) => None,
        };
        let names = match (pick, &index) {
            (Pick::File(name), _) => {
                notes.extend(siblings(files, name)?);
                vec![name.to_owned()]
            }
            (Pick::Folder, Some(index)) => indexed_shards(files, index, &mut notes)?,
            (Pick::Folder, None) => all_shards(files, &mut notes)?,
        };
        let mut model = Self {
            shards: Vec::new(),
            tensors: Vec::new(),
            metadata: BTreeMap::new(),
            notes,
            keys: None,
        };
        let mut owner: BTreeMap<String, usize> = BTreeMap::new();
        for name in names {
            model.add_shard(files, name, &mut owner)?;
        }
        if let Some(index) = &index {
            model.check_index(files, index, &owner)?;
        }
        Ok(model)
    }

    fn add_shard(
        &mut self,
        files: &dyn Files,
        name: String,
        owner: &mut BTreeMap<String, usize>,
    ) -> Result<()> {
        let place = files.place(&name);
        let number = self.shards.len();
        let (len, header) = read_header(files, &name)
            .map_err(|error| error.with_hint(AGAIN))
            .context(|| format!("file `{place}`"))?;
        for (key, value) in header.metadata {
            self.metadata.entry(key).or_insert(value);
        }
        for entry in header.tensors {
            if let Some(first) = owner.insert(entry.info.name.clone(), number) {
                let first = self.shards.get(first).map_or(place.clone(), |s| files.place(&s.name));
                return Err(Error::malformed(format!(
                    "tensor `{}` is in both `{first}` and `{place}`",
                    entry.info.name
                ))
                .with_hint(
                    "remove the file that does not belong to the model, or import one file alone",
                ));
            }
            self.tensors.push(SourceTensor::plain(entry.info, number, entry.offset));
        }
        self.shards.push(Shard { name, len });
        Ok(())
    }

    /// Every tensor of the index is in the shard that the index names.
    fn check_index(
        &mut self,
        files: &dyn Files,
        index: &BTreeMap<String, String>,
        owner: &BTreeMap<String, usize>,
    ) -> Result<()> {
        let index_place = files.place(INDEX);
        for (tensor, shard) in index {
            let found = owner.get(tensor).and_then(|&number| self.shards.get(number));
            if found.is_none_or(|found| found.name != *shard) {
                let instead = match found {
                    Some(found) => format!("; it is in `{}`", files.place(&found.name)),
                    None => String::new(),
                };
                return Err(Error::malformed(format!(
                    "tensor `{tensor}` is not in `{}`, where `{index_place}` says it is{instead}",
                    files.place(shard)
                )));
            }
        }
        let extra = owner.keys().filter(|tensor| !index.contains_key(*tensor)).count();
        if extra > 0 {
            self.notes.push(match extra {
                1 => format!("1 tensor is not listed in `{index_place}`; it is imported too"),
                _ => format!(
                    "{extra} tensors are not listed in `{index_place}`; they are imported too"
                ),
            });
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct IndexFile {
    weight_map: BTreeMap<String, String>,
}

/// Tensor name to shard name, if the folder has an index.
fn read_index(files: &dyn Files) -> Result<Option<BTreeMap<String, String>>> {
    let Some(json) = read_small(files, INDEX)? else { return Ok(None) };
    let place = || format!("file `{}`", files.place(INDEX));
    let index: IndexFile = serde_json::from_slice(&json)
        .map_err(|e| Error::malformed("not a valid shard index").with_source(e).with_hint(AGAIN))
        .context(place)?;
    if let Some(shard) = index.weight_map.values().find(|name| !is_file_name(name)) {
        return Err(
            Error::malformed(format!("shard name `{shard}` is not a file name")).context(place())
        );
    }
    Ok(Some(index.weight_map))
}

fn indexed_shards(
    files: &dyn Files,
    index: &BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let shards: BTreeSet<&String> = index.values().collect();
    for &shard in &shards {
        if files.len(shard)?.is_none() {
            return Err(Error::malformed(format!(
                "shard `{}` is missing, but `{}` lists it",
                files.place(shard),
                files.place(INDEX)
            ))
            .with_hint("download the missing file"));
        }
    }
    let ignored: Vec<String> =
        files.names()?.into_iter().filter(|n| n.ends_with(SUFFIX) && !shards.contains(n)).collect();
    if !ignored.is_empty() {
        notes.push(format!("not listed in `{INDEX}`, so left out: {}", ignored.join(", ")));
    }
    Ok(shards.into_iter().cloned().collect())
}

fn all_shards(files: &dyn Files, notes: &mut Vec<String>) -> Result<Vec<String>> {
    let odd = |name: &String| !name.ends_with(SUFFIX) && has_suffix_in_capitals(name);
    let odd: Vec<String> = files.names()?.into_iter().filter(odd).collect();
    if !odd.is_empty() {
        notes.push(format!("left out, since the ending is not `{SUFFIX}`: {}", odd.join(", ")));
    }
    // Hidden files are leftovers of systems and downloads (`._model.safetensors`).
    let visible = |name: &String| name.ends_with(SUFFIX) && !name.starts_with('.');
    let mut names: Vec<String> = files.names()?.into_iter().filter(visible).collect();
    // Some publishers put the same weights a second time beside the usual files, in one piece and
    // under other tensor names.
    let (twice, usual): (Vec<_>, Vec<_>) =
        names.iter().cloned().partition(|name| name.starts_with("consolidated"));
    if !twice.is_empty() && usual.iter().any(|name| name.starts_with("model")) {
        notes.push(format!(
            "left out, as the same weights in another form: {}; give the file itself to import it",
            twice.join(", ")
        ));
        names = usual;
    }
    if names.is_empty() {
        return Err(Error::new(
            crate::ErrorKind::Io,
            format!("no `{SUFFIX}` file in `{}`", files.place("")),
        )
        .with_hint("a model is a SafeTensors file or a folder that has some"));
    }
    for name in &names {
        // `model-00002-of-00005.safetensors`: the name itself says how many there must be.
        let Some((stem, _, count)) = shard_number(name, SUFFIX) else { continue };
        let have = names.iter().filter(|other| {
            shard_number(other, SUFFIX).is_some_and(|(s, _, c)| s == stem && c == count)
        });
        let have = have.count() as u64;
        if have != count {
            let missing = (1..=count)
                .map(|n| format!("{stem}-{n:05}-of-{count:05}{SUFFIX}"))
                .find(|candidate| !names.contains(candidate));
            return Err(Error::malformed(format!(
                "`{}` has {have} of {count} shards; missing is `{}`",
                files.place(""),
                missing.unwrap_or_default()
            ))
            .with_hint("download the missing file"));
        }
    }
    Ok(names)
}

/// `A.SAFETENSORS`: what some file systems make of a name.
fn has_suffix_in_capitals(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(SUFFIX)
}

/// A note if one shard of several was picked.
fn siblings(files: &dyn Files, name: &str) -> Result<Option<String>> {
    let Some((_, number, count)) = shard_number(name, SUFFIX).filter(|&(_, _, count)| count > 1)
    else {
        return Ok(None);
    };
    Ok(Some(format!(
        "`{}` is shard {number} of {count}: only its tensors are imported; give the folder to import all",
        files.place(name)
    )))
}

fn read_header(files: &dyn Files, name: &str) -> Result<(u64, safetensors::Header)> {
    let len = files.len(name)?.ok_or_else(|| Error::new(crate::ErrorKind::Io, "no such file"))?;
    if len < PREFIX {
        return Err(Error::malformed(format!("file is truncated: it has only {len} bytes")));
    }
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&read_exact(files, name, 0, 8)?);
    let header_len = safetensors::header_len(prefix, len)?;
    let json = read_exact(files, name, PREFIX, mem_len(header_len)?)?;
    Ok((len, safetensors::parse(&json, len)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names() {
        assert_eq!(shard_number("model-00002-of-00005.safetensors", SUFFIX), Some(("model", 2, 5)));
        assert_eq!(shard_number("a-b-00001-of-00001.safetensors", SUFFIX), Some(("a-b", 1, 1)));
        assert_eq!(shard_number("model.safetensors", SUFFIX), None);
        assert_eq!(shard_number("model-1-of-5.safetensors", SUFFIX), None);
    }
}
