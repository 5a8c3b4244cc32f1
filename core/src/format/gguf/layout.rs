//! Where the tensors of a GGUF file are, checked against its length and each other.

use super::{Gguf, GgufTensor};
use crate::error::{Error, Result, ResultExt};
use crate::ggml::GgmlType;
use crate::tensor::{DType, Shape, TensorInfo};

impl GgufTensor {
    /// The type; `None` for ids that we do not know.
    #[must_use]
    pub fn ty(&self) -> Option<GgmlType> {
        GgmlType::from_id(self.ggml_type)
    }

    /// Dimensions, slowest first.
    ///
    /// # Errors
    /// `Limit` if there are too many elements.
    pub fn shape(&self) -> Result<Shape> {
        Shape::try_new(self.dims.iter().rev().copied().collect())
            .context(|| format!("tensor `{}`", self.name))
    }

    /// Bytes of the data; `None` for types that we do not know.
    ///
    /// # Errors
    /// `Limit` if there are too many; `Shape` if rows are not whole blocks.
    pub fn byte_len(&self) -> Result<Option<u64>> {
        let shape = self.shape()?;
        let Some(dtype) = self.ty().and_then(DType::from_ggml) else { return Ok(None) };
        TensorInfo { name: self.name.clone(), dtype, shape }.byte_len().map(Some)
    }
}

impl Gguf {
    /// Checks that every tensor lies within a file of `file_len` bytes, starts at a multiple of the
    /// alignment and shares no byte with another. Returns the bytes of each, in the order of the
    /// table; of types that we do not know, only where they start is checked.
    ///
    /// # Errors
    /// `Malformed`, `Shape` or `Limit`, naming tensor and byte.
    pub fn lens(&self, file_len: u64) -> Result<Vec<Option<u64>>> {
        let mut lens = Vec::with_capacity(self.tensors.len());
        let mut spans = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let place = || format!("tensor `{}`", tensor.name);
            let len = tensor.byte_len()?;
            if !tensor.offset.is_multiple_of(self.alignment) {
                return Err(Error::malformed(format!(
                    "the tensor starts at byte {} of the data, which is not a multiple of {}",
                    tensor.offset, self.alignment
                ))
                .context(place()));
            }
            let end = self.data_start.checked_add(tensor.offset);
            let end = end.and_then(|at| at.checked_add(len.unwrap_or(0)));
            match end {
                Some(end) if end <= file_len => spans.push((tensor.offset, end, &tensor.name)),
                _ => return Err(truncated(end, file_len).context(place())),
            }
            lens.push(len);
        }
        spans.sort_unstable();
        let mut covered: Option<(u64, &str)> = None;
        for (offset, end, name) in spans {
            let start = self.data_start + offset;
            if let Some((_, other)) = covered.filter(|&(before, _)| start < before && end > start) {
                return Err(Error::malformed(format!(
                    "tensor `{name}` at byte {start} overlaps `{other}`"
                )));
            }
            if covered.is_none_or(|(before, _)| end > before) {
                covered = Some((end, name));
            }
        }
        Ok(lens)
    }
}

fn truncated(end: Option<u64>, file_len: u64) -> Error {
    let end = end.map_or_else(|| "2^64 or beyond".to_owned(), |end| end.to_string());
    Error::malformed(format!(
        "file is truncated: the tensor ends at byte {end}, the file has {file_len} bytes"
    ))
    .with_hint("export, download or copy the file again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::gguf::Meta;

    fn error(tensors: &[(&[u64], u32, u64)], len: u64) -> String {
        let tensors =
            tensors.iter().zip("abc".chars()).map(|(&(dims, ggml_type, offset), name)| {
                GgufTensor { name: name.to_string(), dims: dims.to_vec(), ggml_type, offset }
            });
        let gguf = Gguf {
            version: 3,
            meta: Meta::new(),
            tensors: tensors.collect(),
            alignment: 32,
            data_start: 64,
        };
        gguf.lens(len).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn tensors_lie_apart_within_the_file() {
        // In any order, with gaps, with empty ones and unknown types anywhere.
        let good: &[(&[u64], u32, u64)] = &[(&[256, 2], 12, 64), (&[0], 0, 96), (&[8], 0, 0)];
        assert_eq!(error(good, 64 + 64 + 288), "");
        assert_eq!(error(&[(&[8], 0, 0), (&[5], 77, 32)], 96), "");
        let cut = error(good, 64 + 64 + 287);
        assert!(cut.contains("`a`") && cut.contains("ends at byte 416"), "{cut}");
        let shared = error(&[(&[16], 0, 0), (&[8], 0, 32)], 1000);
        assert!(shared.contains("`b` at byte 96 overlaps `a`"), "{shared}");
        // A long tensor reaches beyond the next one.
        let long = error(&[(&[64], 0, 0), (&[8], 0, 256), (&[8], 0, 128)], 1000);
        assert!(long.contains("`c` at byte 192 overlaps `a`"), "{long}");
        assert!(error(&[(&[8], 0, 16)], 1000).contains("not a multiple of 32"));
        assert!(error(&[(&[100, 2], 12, 0)], 1000).contains("not whole blocks of 256"));
        assert!(error(&[(&[1 << 40, 1 << 40], 0, 0)], 1000).contains("too many elements"));
        assert!(error(&[(&[8], 0, u64::MAX - 31)], 1000).contains("truncated"));
        assert!(error(&[(&[8], 77, 1 << 40)], 1000).contains("truncated"));
    }
}
