//! The GGUF header: magic, counts, key table, tensor table.

use super::{Array, Meta, Value};
use crate::error::{Error, Result};

/// Alignment of tensor data, the default of the format.
pub const ALIGNMENT: u64 = 32;

/// The longest tensor name the reference reader accepts, in bytes.
const MAX_NAME: usize = 63;

/// The most dimensions the reference reader accepts.
const MAX_DIMS: usize = 4;

/// One line of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Name.
    pub name: String,
    /// Dimensions, fastest first (the reverse of [`crate::Shape`]).
    pub dims: Vec<u64>,
    /// GGUF type id.
    pub ggml_type: u32,
    /// Bytes of the data, without padding.
    pub len: u64,
}

impl TensorEntry {
    /// Bytes of this line in the header: name, rank, dimensions, type, offset.
    #[must_use]
    pub fn header_len(&self) -> u64 {
        (8 + self.name.len() + 4 + 8 * self.dims.len() + 4 + 8) as u64
    }
}

/// A whole header; all sizes are known before the first tensor byte is written.
#[derive(Debug, Clone, Default)]
pub struct Header {
    /// Key table.
    pub meta: Meta,
    /// Tensor table, in the order of the data.
    pub tensors: Vec<TensorEntry>,
}

impl Header {
    /// The bytes of the header, padded so that tensor data can follow at once.
    ///
    /// # Errors
    /// `Malformed` if `general.alignment` makes no sense; `Limit` if a name is longer than 63 bytes, a tensor has more than four dimensions, or the
    /// data is 2^62 bytes or larger: the reference reader would refuse the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = self.unpadded()?;
        while !(out.len() as u64).is_multiple_of(self.alignment()) {
            out.push(0);
        }
        Ok(out)
    }

    /// Length of the header without its padding.
    ///
    /// # Errors
    /// Like [`Self::to_bytes`].
    pub fn unpadded_len(&self) -> Result<u64> {
        Ok(self.unpadded()?.len() as u64)
    }

    fn unpadded(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.extend_from_slice(b"GGUF");
        out.extend_from_slice(&3u32.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.meta.entries().len() as u64).to_le_bytes());
        for (key, value) in self.meta.entries() {
            put_bytes(&mut out, key.as_bytes());
            out.extend_from_slice(&type_id(value).to_le_bytes());
            put_value(&mut out, value);
        }
        let (mut offset, alignment) = (0u64, self.meta.alignment()?);
        for tensor in &self.tensors {
            let name = &tensor.name;
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(Error::limit(format!(
                    "tensor name `{name}` has {} bytes; GGUF allows 1 to {MAX_NAME}",
                    name.len()
                )));
            }
            if tensor.dims.len() > MAX_DIMS {
                return Err(Error::limit(format!(
                    "tensor `{name}` has {} dimensions; GGUF allows {MAX_DIMS}",
                    tensor.dims.len()
                )));
            }
            put_bytes(&mut out, name.as_bytes());
            let rank: u32 = tensor.dims.iter().map(|_| 1).sum();
            out.extend_from_slice(&rank.to_le_bytes());
            for dim in &tensor.dims {
                out.extend_from_slice(&dim.to_le_bytes());
            }
            out.extend_from_slice(&tensor.ggml_type.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            offset = offset
                .checked_add(tensor.len)
                .filter(|&end| end < 1 << 62)
                .map(|end| end.next_multiple_of(alignment))
                .ok_or_else(|| Error::limit("tensor data of 2^62 bytes or more"))?;
        }
        Ok(out)
    }

    /// Bytes of the data section, padding included.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        let alignment = self.alignment();
        self.tensors.iter().map(|tensor| tensor.len.next_multiple_of(alignment)).sum()
    }

    /// What offsets of tensors are multiples of. That the key makes sense is checked when the
    /// header is written.
    #[must_use]
    pub fn alignment(&self) -> u64 {
        self.meta.alignment().unwrap_or(ALIGNMENT)
    }
}

fn type_id(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(bytes) => put_bytes(out, bytes),
        Value::Array(array) => put_array(out, array),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    macro_rules! numbers {
        ($id:expr, $values:expr) => {{
            start_array(out, $id, $values.len());
            for value in $values {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }};
    }
    match array {
        Array::U8(v) => numbers!(0, v),
        Array::I8(v) => numbers!(1, v),
        Array::U16(v) => numbers!(2, v),
        Array::I16(v) => numbers!(3, v),
        Array::U32(v) => numbers!(4, v),
        Array::I32(v) => numbers!(5, v),
        Array::F32(v) => numbers!(6, v),
        Array::U64(v) => numbers!(10, v),
        Array::I64(v) => numbers!(11, v),
        Array::F64(v) => numbers!(12, v),
        Array::Bool(v) => {
            start_array(out, 7, v.len());
            out.extend(v.iter().map(|&flag| u8::from(flag)));
        }
        Array::String(v) => {
            start_array(out, 8, v.len());
            for text in v {
                put_bytes(out, text);
            }
        }
    }
}

fn start_array(out: &mut Vec<u8>, element_type: u32, count: usize) {
    out.extend_from_slice(&element_type.to_le_bytes());
    out.extend_from_slice(&(count as u64).to_le_bytes());
}
