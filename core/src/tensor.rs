//! Element types, shapes and the description of one tensor.

use crate::error::{Error, Result};

/// Element type of a source tensor. Little-endian in memory and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are the standard ones of the SafeTensors format")]
pub enum DType {
    F64,
    F32,
    F16,
    Bf16,
    F8E4m3,
    F8E5m2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl DType {
    /// Every type, in the order of [`Self::code`].
    pub const ALL: [Self; 15] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::F8E4m3,
        Self::F8E5m2,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U64,
        Self::U32,
        Self::U16,
        Self::U8,
        Self::Bool,
    ];

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F8E4m3 | Self::F8E5m2 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether elements are floating point numbers (and so can be encoded and quantized).
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16 | Self::F8E4m3 | Self::F8E5m2)
    }

    /// The name in SafeTensors headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F8E4m3 => "F8_E4M3",
            Self::F8E5m2 => "F8_E5M2",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Stable number in `.gmat` files; never reused.
    #[must_use]
    pub fn code(self) -> u8 {
        // The list is short: a search cannot fail, and 255 is never a valid code.
        Self::ALL
            .iter()
            .zip(0..)
            .find(|(dtype, _)| **dtype == self)
            .map_or(u8::MAX, |(_, code)| code)
    }

    /// The type of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Dimensions, slowest first (the order of SafeTensors and NumPy; GGUF has the reverse).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: Vec<u64>,
    elems: u64,
}

impl Shape {
    /// A shape whose element count fits in 63 bits.
    ///
    /// # Errors
    /// `Limit` if the product of the dimensions is 2^63 or more.
    pub fn try_new(dims: Vec<u64>) -> Result<Self> {
        let elems = dims
            .iter()
            .try_fold(1u64, |product, &dim| product.checked_mul(dim))
            .filter(|&elems| elems < 1 << 63)
            .ok_or_else(|| Error::limit(format!("shape {dims:?} has too many elements")))?;
        Ok(Self { dims, elems })
    }

    /// Dimensions, slowest first.
    #[must_use]
    pub fn dims(&self) -> &[u64] {
        &self.dims
    }

    /// Number of elements.
    #[must_use]
    pub fn elems(&self) -> u64 {
        self.elems
    }

    /// Number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Elements of one row: the last dimension (1 for a scalar).
    #[must_use]
    pub fn cols(&self) -> u64 {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Number of rows: the product of all dimensions but the last.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match self.cols() {
            0 => 0,
            cols => self.elems / cols,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.dims.iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

/// One tensor of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the source.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, slowest first.
    pub shape: Shape,
}

impl TensorInfo {
    /// Bytes of the data.
    ///
    /// # Errors
    /// `Limit` if the size does not fit in 63 bits.
    pub fn byte_len(&self) -> Result<u64> {
        (self.dtype.size() as u64)
            .checked_mul(self.shape.elems())
            .filter(|&len| len < 1 << 63)
            .ok_or_else(|| Error::limit(format!("tensor `{}` is too large", self.name)))
    }
}

/// A memory length from a file length: fails where `usize` is 32 bits and the number is not.
///
/// # Errors
/// `Limit` if it does not fit.
pub fn mem_len(len: u64) -> Result<usize> {
    usize::try_from(len).map_err(|_| {
        Error::limit(format!("{len} bytes do not fit in this machine's address space"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_cols_of_every_rank() {
        let of =
            |dims: &[u64]| Shape::try_new(dims.to_vec()).map(|s| (s.rows(), s.cols(), s.elems()));
        assert_eq!(of(&[]).ok(), Some((1, 1, 1)));
        assert_eq!(of(&[5]).ok(), Some((1, 5, 5)));
        assert_eq!(of(&[2, 3, 4]).ok(), Some((6, 4, 24)));
        assert_eq!(of(&[3, 0]).ok(), Some((0, 0, 0)));
        assert!(of(&[1 << 40, 1 << 40]).is_err());
    }

    #[test]
    fn codes_are_stable_and_names_round_trip() {
        for (code, dtype) in (0u8..).zip(DType::ALL) {
            assert_eq!(dtype.code(), code);
            assert_eq!(DType::from_code(code), Some(dtype));
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(DType::Bf16.code(), 3);
        assert_eq!(DType::from_code(200), None);
    }
}
