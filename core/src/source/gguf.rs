//! GGUF files as a source: tensors keep their names, and keys are kept as they are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Model, Shard, SourceTensor};
use crate::error::{Error, Result, ResultExt};
use crate::format::gguf::{self, GgufModel, shard_number};
use crate::io::Files;
use crate::tensor::{DType, TensorInfo};

impl Model {
    /// Reads the headers of a GGUF model: one file, or all files of the split that it is one of.
    ///
    /// # Errors
    /// `Io`, `Malformed` or `Unsupported`, naming the file and what is wrong in it: a missing file
    /// of a split, a tensor that occurs twice or overlaps another, a type that is not known.
    pub fn open_gguf(files: &dyn Files, file: &str) -> Result<Self> {
        let model = GgufModel::open(files, file)?;
        model.complete()?;
        let mut tensors = Vec::new();
        for (shard, part) in model.parts.iter().enumerate() {
            let place = || format!("file `{}`", files.place(&part.name));
            for tensor in &part.gguf.tensors {
                let dtype = tensor.ty().and_then(DType::from_ggml).ok_or_else(|| {
                    Error::unsupported(format!(
                        "tensor `{}` is of type {}, which this program does not know",
                        tensor.name, tensor.ggml_type
                    ))
                    .with_hint("the file is newer than this program, or of another one")
                    .context(place())
                })?;
                let shape = tensor.shape().context(place)?;
                let info = TensorInfo { name: tensor.name.clone(), dtype, shape };
                let offset = part.gguf.data_start.saturating_add(tensor.offset);
                tensors.push(SourceTensor::plain(info, shard, offset));
            }
        }
        let keys = model.meta().cloned();
        let shards = model.parts.into_iter().map(|part| Shard { name: part.name, len: part.len });
        let shards = shards.collect();
        Ok(Self { shards, tensors, metadata: BTreeMap::new(), notes: Vec::new(), keys })
    }
}

/// The GGUF model of a folder without SafeTensors files: its only file, or the first of one split.
///
/// # Errors
/// `Config` if there are several; `Io` if the folder cannot be listed.
pub fn gguf_in(files: &dyn Files) -> Result<Option<String>> {
    let names = files.names()?;
    let with = |suffix: &'static str| {
        move |name: &&String| name.ends_with(suffix) && !name.starts_with('.')
    };
    if names.iter().any(|name| with(super::SUFFIX)(&name)) {
        return Ok(None);
    }
    let found: Vec<&String> = names.iter().filter(with(gguf::SUFFIX)).collect();
    let stem = |name: &&String| {
        shard_number(name, gguf::SUFFIX).map_or(name.as_str(), |(stem, ..)| stem).to_owned()
    };
    let stems: BTreeSet<String> = found.iter().map(stem).collect();
    match (found.first(), stems.len()) {
        (Some(first), 1) => Ok(Some((*first).clone())),
        (Some(_), _) => {
            Err(Error::config(format!("`{}` has {} GGUF models", files.place(""), stems.len()))
                .with_hint("give the file of one of them"))
        }
        (None, _) => Ok(None),
    }
}
