//! Splitting the output into files of limited size.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::gguf::{Header, Meta, TensorEntry};

/// One file of the output.
#[derive(Debug)]
pub(crate) struct OutputFile {
    /// File name.
    pub(crate) name: String,
    /// Header, padded.
    pub(crate) header: Vec<u8>,
    /// Its tensors, as positions in the list of all.
    pub(crate) tensors: Range<usize>,
    /// Bytes of the whole file.
    pub(crate) len: u64,
    /// What offsets of its tensors are multiples of.
    pub(crate) alignment: u64,
}

/// Lays out the files: one, or as few as keep every file within `cap` bytes.
///
/// # Errors
/// `Config` if a single tensor does not fit, naming the size that would do.
pub(crate) fn split(
    name: &str,
    meta: &Meta,
    tensors: &[TensorEntry],
    cap: Option<u64>,
) -> Result<Vec<OutputFile>> {
    let whole = file(name.to_owned(), meta.clone(), tensors, 0..tensors.len())?;
    let Some(cap) = cap.filter(|&cap| whole.len > cap) else { return Ok(vec![whole]) };
    let total = tensors.len();
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < total {
        // The keys of the first file are the whole table, those of the others just three; their
        // length does not depend on the numbers in them.
        let base = Header { meta: split_meta(meta, ranges.len(), 0, total)?, tensors: Vec::new() };
        let mut size = Size::new(&base)?;
        let mut end = start;
        for tensor in tensors.iter().skip(start) {
            let grown = size.with(tensor);
            if grown.total() > cap {
                break;
            }
            size = grown;
            end += 1;
        }
        if end == start {
            let tensor = tensors.get(start).ok_or_else(|| Error::shape("no such tensor"))?;
            return Err(Error::config(format!(
                "tensor `{}` does not fit in a file of {cap} bytes: with its header it needs {}",
                tensor.name,
                size.with(tensor).total()
            ))
            .with_hint("raise the largest size: --shard-size, or `shard_size` of the config"));
        }
        ranges.push(start..end);
        start = end;
    }
    let count = ranges.len();
    ranges
        .into_iter()
        .enumerate()
        .map(|(number, range)| {
            let meta = split_meta(meta, number, count, total)?;
            file(shard_name(name, number + 1, count), meta, tensors, range)
        })
        .collect()
}

/// `model-00001-of-00003.gguf` from `model.gguf`.
fn shard_name(name: &str, number: usize, count: usize) -> String {
    let stem = name.strip_suffix(".gguf").unwrap_or(name);
    format!("{stem}-{number:05}-of-{count:05}.gguf")
}

/// Keys of one file of a split: all of them in the first, only the split's own in the others.
fn split_meta(meta: &Meta, number: usize, count: usize, tensors: usize) -> Result<Meta> {
    let narrow = |value: usize| {
        u16::try_from(value).map_err(|_| {
            Error::limit(format!("{value} files; a split has at most {}", u16::MAX))
                .with_hint("raise the largest size: --shard-size, or `shard_size` of the config")
        })
    };
    let mut out = if number == 0 { meta.clone() } else { Meta::new() };
    out.set("split.no", narrow(number)?);
    out.set("split.count", narrow(count)?);
    let tensors = i32::try_from(tensors).map_err(|_| Error::limit("too many tensors"))?;
    out.set("split.tensors.count", tensors);
    Ok(out)
}

fn file(
    name: String,
    meta: Meta,
    tensors: &[TensorEntry],
    range: Range<usize>,
) -> Result<OutputFile> {
    let own = tensors.get(range.clone()).unwrap_or_default().to_vec();
    let header = Header { meta, tensors: own };
    let bytes = header.to_bytes()?;
    let len = bytes.len() as u64 + header.data_len();
    let alignment = header.alignment();
    Ok(OutputFile { name, header: bytes, tensors: range, len, alignment })
}

/// Size of a file while tensors are added to it.
#[derive(Clone, Copy)]
struct Size {
    header: u64,
    data: u64,
    alignment: u64,
}

impl Size {
    /// Size of a file with that key table and no tensor. The padding of its header is not part of
    /// it, since tensor entries follow the keys directly.
    fn new(header: &Header) -> Result<Self> {
        Ok(Self { header: header.unpadded_len()?, data: 0, alignment: header.alignment() })
    }

    fn with(self, tensor: &TensorEntry) -> Self {
        Self {
            header: self.header + tensor.header_len(),
            data: self.data + tensor.len.next_multiple_of(self.alignment),
            ..self
        }
    }

    fn total(self) -> u64 {
        self.header.next_multiple_of(self.alignment) + self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(lens: &[u64]) -> Vec<TensorEntry> {
        lens.iter()
            .enumerate()
            .map(|(i, &len)| TensorEntry {
                name: format!("blk.{i}.weight"),
                dims: vec![len / 4],
                ggml_type: 0,
                len,
            })
            .collect()
    }

    #[test]
    fn every_file_is_within_the_cap_and_as_full_as_possible() {
        let mut meta = Meta::new();
        meta.set("general.architecture", "llama");
        let list = tensors(&[100, 4000, 52, 4, 4000, 4000, 12]);
        for cap in [4500, 5000, 8500, 9000] {
            let files = split("m.gguf", &meta, &list, Some(cap)).unwrap();
            assert!(files.len() > 1);
            let mut next = 0;
            for (number, file) in files.iter().enumerate() {
                assert!(file.len <= cap, "{} > {cap}", file.len);
                assert_eq!(file.tensors.start, next);
                assert_eq!(file.name, format!("m-{:05}-of-{:05}.gguf", number + 1, files.len()));
                next = file.tensors.end;
                if let Some(more) = list.get(next) {
                    assert!(file.len + more.len > cap - 128, "file {number} has room left");
                }
            }
            assert_eq!(next, list.len());
        }
        let one = split("m.gguf", &meta, &list, Some(1 << 20)).unwrap();
        assert_eq!((one.len(), one[0].name.as_str()), (1, "m.gguf"));
        let error = split("m.gguf", &meta, &list, Some(3000)).unwrap_err();
        assert!(error.message().contains("`blk.1.weight` does not fit"));
        // The size named in the message is enough.
        let needed: u64 = error.message().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(split("m.gguf", &meta, &list, Some(needed)).is_ok());
        assert!(split("m.gguf", &meta, &list, Some(needed - 1)).is_err());
    }
}
