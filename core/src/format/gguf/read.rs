//! Reading GGUF headers, with every count checked against the bytes that are there.

use super::{Array, Meta, Value};
use crate::error::{Error, Result};
use crate::limits;

/// A parsed GGUF header.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// Format version (2 or 3).
    pub version: u32,
    /// Key table, in file order.
    pub meta: Meta,
    /// Tensor table, in file order.
    pub tensors: Vec<GgufTensor>,
    /// What offsets of tensors are multiples of (`general.alignment`).
    pub alignment: u64,
    /// Offset of the data section in the file.
    pub data_start: u64,
}

/// One line of the tensor table as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Name.
    pub name: String,
    /// Dimensions, fastest first.
    pub dims: Vec<u64>,
    /// GGUF type id.
    pub ggml_type: u32,
    /// Offset in the data section.
    pub offset: u64,
}

impl GgufTensor {
    /// Number of weights, if it fits in 64 bits.
    #[must_use]
    pub fn elems(&self) -> Option<u64> {
        self.dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim))
    }
}

impl Gguf {
    /// Parses the header at the start of `bytes`, which may go on with tensor data.
    ///
    /// # Errors
    /// `Malformed` with the byte offset if the header is cut off or contradicts itself;
    /// `Unsupported` for versions other than 2 and 3.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::read(&mut Reader::new(bytes, bytes.len() as u64))
    }

    /// Parses the header of a file of `file_len` bytes of which `bytes` is the start; `None` if the
    /// header goes on beyond them.
    ///
    /// # Errors
    /// Like [`Self::parse`]; `Limit` if the header is larger than [`limits::GGUF_HEADER`].
    pub fn parse_start(bytes: &[u8], file_len: u64) -> Result<Option<Self>> {
        let mut reader = Reader::new(bytes, file_len);
        match Self::read(&mut reader) {
            Err(_) if reader.short && (bytes.len() as u64) < file_len => {
                if bytes.len() as u64 >= limits::GGUF_HEADER {
                    return Err(Error::limit(format!(
                        "the header is larger than {} bytes",
                        limits::GGUF_HEADER
                    )));
                }
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        if reader.take(4)? != b"GGUF" {
            return Err(Error::malformed("not a GGUF file: the magic bytes at byte 0 are missing")
                .with_hint(
                    "the file is of another format, or a download page saved under this name",
                ));
        }
        let version = check_version(reader.u32()?)?;
        // Counts are not trusted: every entry is read, and reading stops at the end of the bytes. But
        // an entry takes more memory than room in the file.
        let (tensor_count, key_count) = (reader.u64()?, reader.u64()?);
        for (what, at, count, most) in [
            ("tensors", 8, tensor_count, limits::GGUF_TENSORS),
            ("keys", 16, key_count, limits::GGUF_KEYS),
        ] {
            if count > most {
                return Err(Error::limit(format!(
                    "the file has {count} {what} by the count at byte {at}; at most {most} are read"
                ))
                .with_hint("the file is damaged: export, download or copy it again"));
            }
        }
        let mut meta = Meta::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut entries = Vec::new();
        for _ in 0..key_count {
            let at = reader.at;
            let key = reader.text()?;
            let value = reader.value()?;
            if !seen.insert(key.clone()) {
                return Err(Error::malformed(format!("key `{key}` at byte {at} occurs twice")));
            }
            entries.push((key, value));
        }
        meta.entries = entries;
        let alignment = meta.alignment()?;
        let mut tensors = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..tensor_count {
            let at = reader.at;
            let tensor = reader.tensor()?;
            if !names.insert(tensor.name.clone()) {
                return Err(Error::malformed(format!(
                    "tensor `{}` at byte {at} occurs twice",
                    tensor.name
                )));
            }
            tensors.push(tensor);
        }
        let data_start = (reader.at as u64).next_multiple_of(alignment);
        Ok(Self { version, meta, tensors, alignment, data_start })
    }
}

/// The version, if it is one that this program reads. Version 1 had counts of 32 bits and was
/// written for a few weeks only; files of big-endian machines have the bytes of the number reversed.
fn check_version(version: u32) -> Result<u32> {
    match version {
        2 | 3 => Ok(version),
        1 => Err(Error::unsupported("GGUF version 1 is not supported; expected 2 or 3")
            .with_hint("no current program reads such files: convert the original model again")),
        _ if (1..=3).contains(&version.swap_bytes()) => {
            Err(Error::unsupported("the GGUF file is big-endian, which is not supported")
                .with_hint(
                    "`gguf-convert-endian FILE little` of the `gguf` Python package converts it",
                ))
        }
        _ => Err(Error::unsupported(format!(
            "GGUF version {version} at byte 4 is not supported; expected 2 or 3"
        ))
        .with_hint("the file is damaged, or newer than this program")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Length of the file that `bytes` is the start of.
    file_len: u64,
    /// Whether more bytes were wanted than there are.
    short: bool,
    /// Texts in arrays so far: an empty one takes more memory than room in the file.
    texts: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], file_len: u64) -> Self {
        Self { bytes, at: 0, file_len, short: false, texts: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            self.short = true;
            Error::malformed(format!(
                "header is cut off: {len} bytes wanted at byte {}, but there are {} in all",
                self.at,
                self.bytes.len()
            ))
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn len(&mut self) -> Result<usize> {
        let at = self.at;
        let len = self.u64()?;
        // Whatever is counted needs at least one byte each.
        let rest = self.file_len.saturating_sub(self.at as u64);
        usize::try_from(len).ok().filter(|_| len <= rest).ok_or_else(|| {
            Error::malformed(format!("length {len} at byte {at} is beyond the end of the file"))
        })
    }

    fn string(&mut self) -> Result<Vec<u8>> {
        let len = self.len()?;
        Ok(self.take(len)?.to_vec())
    }

    fn text(&mut self) -> Result<String> {
        let at = self.at;
        String::from_utf8(self.string()?)
            .map_err(|_| Error::malformed(format!("name at byte {at} is not UTF-8")))
    }

    fn flag(&mut self) -> Result<bool> {
        Ok(self.array::<1>()? != [0])
    }

    fn value(&mut self) -> Result<Value> {
        let at = self.at;
        Ok(match self.u32()? {
            0 => Value::U8(u8::from_le_bytes(self.array()?)),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.flag()?),
            8 => Value::String(self.string()?),
            9 => Value::Array(self.array_value()?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            id => {
                return Err(Error::malformed(format!("unknown value type {id} at byte {at}")));
            }
        })
    }

    fn array_value(&mut self) -> Result<Array> {
        let at = self.at;
        let id = self.u32()?;
        let count = self.len()?;
        macro_rules! numbers {
            ($variant:ident, $number:ty) => {{
                let mut values: Vec<$number> = Vec::new();
                for _ in 0..count {
                    values.push(<$number>::from_le_bytes(self.array()?));
                }
                Array::$variant(values)
            }};
        }
        Ok(match id {
            0 => Array::U8(self.take(count)?.to_vec()),
            1 => numbers!(I8, i8),
            2 => numbers!(U16, u16),
            3 => numbers!(I16, i16),
            4 => numbers!(U32, u32),
            5 => numbers!(I32, i32),
            6 => numbers!(F32, f32),
            7 => Array::Bool(self.take(count)?.iter().map(|&b| b != 0).collect()),
            8 => {
                self.texts = self.texts.saturating_add(count);
                if self.texts > limits::GGUF_TEXTS {
                    return Err(Error::limit(format!(
                        "array of {count} texts at byte {at}; at most {} in all are read",
                        limits::GGUF_TEXTS
                    )));
                }
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string()?);
                }
                Array::String(texts)
            }
            10 => numbers!(U64, u64),
            11 => numbers!(I64, i64),
            12 => numbers!(F64, f64),
            9 => {
                return Err(Error::unsupported(format!("array of arrays at byte {at}"))
                    .with_hint("llama.cpp does not read such files either"));
            }
            _ => {
                return Err(Error::malformed(format!("unknown array type {id} at byte {at}")));
            }
        })
    }

    fn tensor(&mut self) -> Result<GgufTensor> {
        let name = self.text()?;
        let at = self.at;
        let rank = self.u32()?;
        if rank > 8 {
            return Err(Error::malformed(format!(
                "tensor `{name}` has {rank} dimensions at byte {at}; at most 8 are read"
            )));
        }
        let dims = (0..rank).map(|_| self.u64()).collect::<Result<Vec<_>>>()?;
        Ok(GgufTensor { name, dims, ggml_type: self.u32()?, offset: self.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Header, TensorEntry};
    use super::*;

    fn sample() -> Header {
        let mut meta = Meta::new();
        meta.set("general.architecture", "llama");
        meta.set("u32", 7u32);
        meta.set("u8", Value::U8(1));
        meta.set("i8", Value::I8(-1));
        meta.set("u16", Value::U16(2));
        meta.set("i16", Value::I16(-2));
        meta.set("i32", -3);
        meta.set("f32", 0.5f32);
        meta.set("u64", 1u64 << 40);
        meta.set("i64", Value::I64(-4));
        meta.set("f64", Value::F64(0.25));
        meta.set("bool", true);
        meta.set("raw", Value::String(vec![0xff, 0]));
        meta.set("strings", Value::Array(Array::String(vec![b"a".to_vec(), Vec::new()])));
        meta.set("floats", Value::Array(Array::F32(vec![1.0, -2.0])));
        meta.set("ints", Value::Array(Array::I32(vec![1, -2])));
        meta.set("bools", Value::Array(Array::Bool(vec![true, false])));
        meta.set("bytes", Value::Array(Array::U8(vec![1, 2])));
        let tensor = |name: &str, dims: &[u64], len| TensorEntry {
            name: name.to_owned(),
            dims: dims.to_vec(),
            ggml_type: 0,
            len,
        };
        Header { meta, tensors: vec![tensor("a", &[3], 12), tensor("b", &[2, 2], 16)] }
    }

    #[test]
    fn what_is_written_is_read() {
        let header = sample();
        let bytes = header.to_bytes().unwrap();
        let gguf = Gguf::parse(&bytes).unwrap();
        assert_eq!(gguf.version, 3);
        assert_eq!(gguf.meta, header.meta);
        assert_eq!(gguf.data_start, bytes.len() as u64);
        let tensors: Vec<_> =
            gguf.tensors.iter().map(|t| (t.name.as_str(), t.dims.as_slice(), t.offset)).collect();
        assert_eq!(tensors, [("a", &[3][..], 0), ("b", &[2, 2], 32)]);
        assert_eq!(header.data_len(), 64);
        let unpadded = header.unpadded_len().unwrap();
        let keys = Header { meta: header.meta.clone(), tensors: Vec::new() };
        let lines: u64 = header.tensors.iter().map(TensorEntry::header_len).sum();
        assert_eq!(keys.unpadded_len().unwrap() + lines, unpadded);
    }

    #[test]
    fn cut_and_flipped_headers_never_panic() {
        let bytes = sample().to_bytes().unwrap();
        let unpadded = usize::try_from(sample().unpadded_len().unwrap()).unwrap();
        for cut in 0..unpadded {
            assert!(Gguf::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = bytes.clone();
        for bit in 0..8 * bytes.len() {
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Some flips change a value and nothing else; none may do worse than fail.
            let _ = Gguf::parse(&flipped);
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
        let mut huge = bytes;
        huge[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Gguf::parse(&huge).is_err());
    }

    #[test]
    fn what_the_reference_refuses_is_not_written() {
        let long = "x".repeat(64);
        for (name, dims) in [(long.as_str(), vec![1]), ("", vec![1]), ("a", vec![1; 5])] {
            let entry = TensorEntry { name: name.to_owned(), dims, ggml_type: 0, len: 4 };
            assert!(Header { meta: Meta::new(), tensors: vec![entry] }.to_bytes().is_err());
        }
    }
}
