//! The tensors of a checkpoint by name, and what is expected of them.

use std::collections::BTreeMap;

use super::method::Method;
use super::{Shard, SourceTensor};
use crate::error::{Error, Result};
use crate::io::{Files, read_exact};
use crate::tensor::{DType, Shape, TensorInfo, mem_len};

/// All tensors of a checkpoint, by name.
pub(super) struct Catalog<'a> {
    files: &'a dyn Files,
    shards: &'a [Shard],
    pub(super) tensors: &'a [SourceTensor],
    by_name: BTreeMap<&'a str, usize>,
    pub(super) method: &'a Method,
}

impl<'a> Catalog<'a> {
    /// Of these tensors.
    pub(super) fn new(
        files: &'a dyn Files,
        shards: &'a [Shard],
        tensors: &'a [SourceTensor],
        method: &'a Method,
    ) -> Self {
        let by_name =
            tensors.iter().enumerate().map(|(at, tensor)| (tensor.info.name.as_str(), at));
        Self { files, shards, tensors, by_name: by_name.collect(), method }
    }

    /// The number of the tensor of that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// How messages call a tensor.
    pub(super) fn place(&self, number: usize) -> String {
        let Some(tensor) = self.tensors.get(number) else { return String::new() };
        let shard = self.shards.get(tensor.shard).map_or("", |shard| &shard.name);
        format!("tensor `{}` in `{}`", tensor.info.name, self.files.place(shard))
    }

    /// The numbers in a small tensor that says a shape.
    pub(super) fn stored_shape(&self, number: usize) -> Result<Vec<u64>> {
        /// More than two matrices and a stack of them never have.
        const MOST: u64 = 8;
        let info = self.info(number)?;
        let count = info.shape.elems();
        let size = match (info.dtype, info.shape.rank()) {
            (DType::I64, 1) if count <= MOST => 8,
            (DType::I32, 1) if count <= MOST => 4,
            _ => {
                return Err(Error::malformed(format!(
                    "`{}` is {} of shape {}, expected a few I64 or I32 numbers",
                    info.name, info.dtype, info.shape
                )));
            }
        };
        let tensor = self.tensor(number)?;
        let shard = self.shards.get(tensor.shard).ok_or_else(|| Error::shape("no such shard"))?;
        let len = mem_len(info.byte_len()?)?;
        let bytes = read_exact(self.files, &shard.name, tensor.offset, len)?;
        let dims = bytes.chunks(size).map(|bytes| {
            let mut wide = [0; 8];
            wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(wide)
        });
        let dims: Vec<u64> = dims.collect();
        // Negative numbers have become enormous ones.
        match dims.len() >= 2 && Shape::try_new(dims.clone()).is_ok() {
            true => Ok(dims),
            false => {
                Err(Error::malformed(format!("`{}` says {dims:?}, which is no shape", info.name)))
            }
        }
    }

    /// Refuses a tensor of another type or shape.
    pub(super) fn expect(
        &self,
        number: usize,
        dtypes: &[DType],
        shapes: &[Vec<u64>],
    ) -> Result<()> {
        let info = self.info(number)?;
        self.expect_type(number, dtypes)?;
        if shapes.iter().any(|dims| dims == info.shape.dims()) {
            return Ok(());
        }
        let shapes: Vec<String> = shapes.iter().map(|dims| format!("{dims:?}")).collect();
        Err(Error::malformed(format!(
            "`{}` has shape {}, expected {}",
            info.name,
            info.shape,
            shapes.join(" or ")
        )))
    }

    /// Refuses a tensor of another type.
    pub(super) fn expect_type(&self, number: usize, dtypes: &[DType]) -> Result<()> {
        let info = self.info(number)?;
        if dtypes.contains(&info.dtype) {
            return Ok(());
        }
        let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
        Err(Error::malformed(format!(
            "`{}` has elements of type {}, expected {}",
            info.name,
            info.dtype,
            names.join(" or ")
        )))
    }

    /// The tensor of that name, which must be there.
    pub(super) fn need(&self, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            Error::malformed(format!("`{name}` is missing, which belongs to it"))
                .with_hint("import all shards of the model, or download it again")
        })
    }

    pub(super) fn tensor(&self, number: usize) -> Result<&'a SourceTensor> {
        self.tensors.get(number).ok_or_else(|| Error::shape("no such tensor"))
    }

    pub(super) fn info(&self, number: usize) -> Result<&'a TensorInfo> {
        self.tensor(number).map(|tensor| &tensor.info)
    }
}
