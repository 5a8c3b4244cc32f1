//! GGUF metadata: typed values and an ordered key table.
//!
//! Definition: the GGUF specification of the ggml project, version 3.

pub use self::files::{GgufModel, Part, SUFFIX, shard_number};
pub use self::header::{ALIGNMENT, Header, TensorEntry};
pub use self::read::{Gguf, GgufTensor};

mod files;
mod header;
mod layout;
mod read;

use crate::error::{Error, Result};

/// Largest alignment accepted: what is sensible ends at the size of a page.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are the value types of the GGUF specification")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    /// Bytes, UTF-8 by convention; token texts of byte-level vocabularies may not be.
    String(Vec<u8>),
    Array(Array),
}

/// An array value: all elements are of one type; arrays of arrays do not occur in practice and are
/// refused by the reference reader.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are the value types of the GGUF specification")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<Vec<u8>>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into_bytes())
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {
        $( impl From<$from> for Value { fn from(v: $from) -> Self { Self::$variant(v) } } )*
    };
}
value_from!(u32 => U32, i32 => I32, f32 => F32, u64 => U64, bool => Bool, u16 => U16);

impl Value {
    /// The text of a string value that is valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The value of any non-negative integer type.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

/// Keys and values in the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Meta {
    entries: Vec<(String, Value)>,
}

impl Meta {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key; one that exists keeps its place and gets the new value.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.entries.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Sets a key to a count, id or length, which GGUF holds in 32 bits.
    ///
    /// # Errors
    /// `Limit` if the number needs more.
    pub fn set_count(&mut self, key: impl Into<String>, count: u64) -> Result<()> {
        let key = key.into();
        let value = u32::try_from(count).map_err(|_| {
            Error::limit(format!("`{key}` is {count}, which needs more than 32 bits"))
        })?;
        self.set(key, value);
        Ok(())
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// What offsets of tensors are multiples of: `general.alignment`, or [`ALIGNMENT`].
    ///
    /// # Errors
    /// `Malformed` if the key is not a power of two from 1 to 2^20.
    pub fn alignment(&self) -> Result<u64> {
        let Some(value) = self.value("general.alignment") else { return Ok(ALIGNMENT) };
        let alignment = value.as_u64().filter(|n| n.is_power_of_two() && *n <= MAX_ALIGNMENT);
        alignment.ok_or_else(|| {
            let given = value.as_u64().map_or("not a count".to_owned(), |n| format!("`{n}`"));
            Error::malformed(format!(
                "`general.alignment` is {given}, expected a power of two up to {MAX_ALIGNMENT}"
            ))
        })
    }

    /// All entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }

    /// All entries, in order, without copies.
    #[must_use]
    pub fn into_entries(self) -> Vec<(String, Value)> {
        self.entries
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.retain(|name| name != key);
    }

    /// Removes all keys but those that are wanted.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.entries.retain(|(name, _)| wanted(name));
    }
}
