//! SafeTensors headers.
//!
//! Definition: the format description of the SafeTensors project: `u64` header length, a JSON
//! object of that many bytes, then the data; tensors must cover the data without gap or overlap.
//! The `safetensors` crate checks the same, but counts in `usize` and so cannot read files beyond
//! 4 GiB on wasm32; the tests compare the two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::{Error, Result, ResultExt, nearest};
use crate::limits;
use crate::tensor::{DType, Shape, TensorInfo};

/// Bytes before the JSON text.
pub const PREFIX: u64 = 8;

/// A checked header.
#[derive(Debug, Clone)]
pub struct Header {
    /// Tensors in the order of their data.
    pub tensors: Vec<Entry>,
    /// The `__metadata__` texts.
    pub metadata: BTreeMap<String, String>,
}

/// A tensor and where its data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name, type, shape.
    pub info: TensorInfo,
    /// Offset of the data in the file.
    pub offset: u64,
}

/// Length of the JSON text from the first eight bytes of a file of `file_len` bytes.
///
/// # Errors
/// `Malformed` if the file is shorter than its header says; `Limit` above 100 MB.
pub fn header_len(prefix: [u8; 8], file_len: u64) -> Result<u64> {
    let len = u64::from_le_bytes(prefix);
    if len > limits::SAFETENSORS_HEADER {
        return Err(Error::limit(format!(
            "header length `{len}` at byte 0 is above {} bytes; this is not a SafeTensors file",
            limits::SAFETENSORS_HEADER
        ))
        .with_hint("the file is of another format, or a download page saved under this name"));
    }
    if PREFIX + len > file_len {
        return Err(Error::malformed(format!(
            "file is truncated: the header needs {} bytes, the file has {file_len}",
            PREFIX + len
        )));
    }
    Ok(len)
}

/// Parses the JSON text of a header and checks every offset against the file.
///
/// # Errors
/// `Malformed` or `Unsupported`, naming the tensor and the byte in the file.
pub fn parse(json: &[u8], file_len: u64) -> Result<Header> {
    let text = std::str::from_utf8(json).map_err(|e| {
        Error::malformed(format!("header is not UTF-8 at byte {}", PREFIX + e.valid_up_to() as u64))
    })?;
    let raw: RawHeader = serde_json::from_str(text)
        .map_err(|e| Error::malformed("header is not a valid SafeTensors header").with_source(e))?;
    let data_start = PREFIX + json.len() as u64;
    let mut seen = BTreeSet::new();
    let mut tensors = Vec::with_capacity(raw.tensors.len());
    for (name, entry) in raw.tensors {
        if name.is_empty() {
            return Err(Error::malformed("a tensor has an empty name"));
        }
        if name.len() > limits::TENSOR_NAME {
            return Err(Error::limit(format!(
                "a tensor name of {} bytes; at most {} are accepted",
                name.len(),
                limits::TENSOR_NAME
            )));
        }
        if !seen.insert(name.clone()) {
            return Err(Error::malformed(format!("tensor `{name}` occurs twice in the header")));
        }
        tensors.push(
            checked(name.clone(), &entry, data_start).context(|| format!("tensor `{name}`"))?,
        );
    }
    // A tensor without elements starts where its neighbour does, and comes before it.
    let elems = |entry: &Entry| entry.info.shape.elems();
    tensors.sort_by(|a, b| {
        (a.offset, elems(a), &a.info.name).cmp(&(b.offset, elems(b), &b.info.name))
    });
    check_cover(&tensors, data_start, file_len)?;
    Ok(Header { tensors, metadata: raw.metadata })
}

/// One entry by itself: known type, sane shape, offsets that fit both.
fn checked(name: String, entry: &RawEntry, data_start: u64) -> Result<Entry> {
    let dtype = DType::from_plain_name(&entry.dtype).ok_or_else(|| {
        let known = DType::PLAIN.map(DType::name);
        let error = Error::unsupported(format!(
            "unknown dtype `{}`; known are: {}",
            entry.dtype,
            known.join(", ")
        ));
        match nearest(&entry.dtype, known) {
            Some(name) => error.with_hint(format!("the nearest known dtype is `{name}`")),
            None => error,
        }
    })?;
    if entry.shape.len() > limits::RANK {
        return Err(Error::limit(format!("{} dimensions", entry.shape.len())));
    }
    let info = TensorInfo { name, dtype, shape: Shape::try_new(entry.shape.clone())? };
    let (start, end) = entry.data_offsets;
    let len = info.byte_len()?;
    if end.checked_sub(start) != Some(len) {
        return Err(Error::malformed(format!(
            "shape {} of {dtype} needs {len} bytes, but the data offsets are {start} to {end}",
            info.shape
        )));
    }
    let offset = data_start.checked_add(start).filter(|at| at.checked_add(len).is_some());
    let offset =
        offset.ok_or_else(|| Error::malformed(format!("data offset {start} is absurd")))?;
    Ok(Entry { info, offset })
}

/// All entries together: no gap, no overlap, nothing beyond or missing at the end of the file.
fn check_cover(tensors: &[Entry], data_start: u64, file_len: u64) -> Result<()> {
    let mut end = data_start;
    let mut before = "the header";
    for entry in tensors {
        let name = &entry.info.name;
        if entry.offset != end {
            let what = if entry.offset < end { "overlaps" } else { "leaves a gap after" };
            return Err(Error::malformed(format!(
                "data of tensor `{name}` starts at byte {} and {what} `{before}`, which ends at \
                 byte {end}",
                entry.offset
            )));
        }
        end = entry.offset + entry.info.byte_len()?;
        if end > file_len {
            return Err(Error::malformed(format!(
                "file is truncated: tensor `{name}` ends at byte {end}, the file has {file_len} bytes"
            ))
            .with_hint("download or copy the file again"));
        }
        before = name;
    }
    if end != file_len {
        return Err(Error::malformed(format!(
            "{} bytes after the last tensor, from byte {end} on, belong to nothing",
            file_len - end
        )));
    }
    Ok(())
}

/// A header as written: entries in file order, so that duplicates are seen.
struct RawHeader {
    tensors: Vec<(String, RawEntry)>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { tensors: Vec::new(), metadata: BTreeMap::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map.next_value().map_err(|e| {
                            serde::de::Error::custom(format!("`__metadata__`: {e}"))
                        })?;
                    } else {
                        let entry = map.next_value().map_err(|e| {
                            serde::de::Error::custom(format!("tensor `{name}`: {e}"))
                        })?;
                        header.tensors.push((name, entry));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str, data: u64) -> String {
        parse(json.as_bytes(), PREFIX + json.len() as u64 + data).unwrap_err().to_string()
    }

    #[test]
    fn reads_in_data_order() {
        let json = r#"{"b":{"dtype":"F32","shape":[1,2],"data_offsets":[2,10]},
            "__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}"#;
        let header = parse(json.as_bytes(), PREFIX + json.len() as u64 + 10).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        let names: Vec<_> = header.tensors.iter().map(|t| t.info.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(header.tensors[1].offset, PREFIX + json.len() as u64 + 2);
    }

    #[test]
    fn lies_are_named() {
        let a = |rest: &str| format!(r#"{{"a":{{"dtype":"F32","shape":[2],{rest}}}}}"#);
        let offsets = |s: u64, e: u64| a(&format!(r#""data_offsets":[{s},{e}]"#));
        assert!(error(&offsets(0, 7), 8).contains("needs 8 bytes"));
        assert!(error(&offsets(8, 0), 8).contains("needs 8 bytes"));
        assert!(error(&offsets(0, 8), 7).contains("truncated: tensor `a`"));
        assert!(error(&offsets(0, 8), 9).contains("belong to nothing"));
        assert!(error(&offsets(1, 9), 9).contains("gap"));
        assert!(error(&a(r#""x":0"#), 8).contains("tensor `a`: missing field"));
        let json = offsets(0, 8).replace("F32", "BF61");
        assert!(error(&json, 8).contains("unknown dtype `BF61`"));
        let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
            "a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        assert!(error(twice, 2).contains("`a` occurs twice"));
        let overlap = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
            "b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
        assert!(error(overlap, 3).contains("`b` starts at byte"));
        let huge = r#"{"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,8]}}"#;
        assert!(error(huge, 8).contains("too large"));
        assert!(error("[1]", 0).contains("header"));
        assert!(error(r#"{"__metadata__":{"a":1}}"#, 0).contains("`__metadata__`: invalid type"));
        let nameless = r#"{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
        assert!(error(nameless, 1).contains("empty name"));
        assert!(header_len(u64::MAX.to_le_bytes(), 100).is_err());
        assert!(header_len(93u64.to_le_bytes(), 100).is_err());
        assert_eq!(header_len(92u64.to_le_bytes(), 100).unwrap(), 92);
    }
}
