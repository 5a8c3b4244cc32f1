//! GGUF files as a source: tensors keep their names, and keys are kept as they are.

use std::collections::BTreeMap;

use super::{Model, Shard, SourceTensor};
use crate::error::{Error, Result, ResultExt};
use crate::format::gguf::GgufModel;
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
