//! Element types, shapes and the description of one tensor.

use crate::error::{Error, Result};
use crate::ggml::GgmlType;

/// Size of one block: rows must be a multiple of `elems`, and sizes in files are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSize {
    /// Weights in a block.
    pub elems: usize,
    /// Bytes of a block.
    pub bytes: usize,
}

impl BlockSize {
    /// Bytes of `elems` weights, if they are whole blocks and the size fits.
    #[must_use]
    pub fn len_of(self, elems: u64) -> Option<u64> {
        let block = self.elems as u64;
        if !elems.is_multiple_of(block) {
            return None;
        }
        (elems / block).checked_mul(self.bytes as u64)
    }

    /// Bits per weight.
    #[must_use]
    pub fn bits(self) -> f64 {
        8.0 * self.bytes as f64 / self.elems as f64
    }
}

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
    /// Blocks of a quantized type of GGUF files, rows of whole blocks. Plain types are never this
    /// (see [`Self::from_ggml`]).
    Ggml(GgmlType),
}

/// What is added to the id of a [`GgmlType`] to make a stored code.
const GGML_CODES: u8 = 64;

impl DType {
    /// Every type of SafeTensors files, in the order of [`Self::code`].
    pub const PLAIN: [Self; 15] = [
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

    /// The type of tensors of a GGUF type; `None` if there is none (never so for a quantized type).
    #[must_use]
    pub const fn from_ggml(ty: GgmlType) -> Option<Self> {
        Some(match ty {
            GgmlType::F64 => Self::F64,
            GgmlType::F32 => Self::F32,
            GgmlType::F16 => Self::F16,
            GgmlType::Bf16 => Self::Bf16,
            GgmlType::I64 => Self::I64,
            GgmlType::I32 => Self::I32,
            GgmlType::I16 => Self::I16,
            GgmlType::I8 => Self::I8,
            quantized if quantized.is_quantized() => Self::Ggml(quantized),
            _ => return None,
        })
    }

    /// Size of a block: one element, but for quantized types.
    #[must_use]
    pub const fn block(self) -> BlockSize {
        let bytes = match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F8E4m3 | Self::F8E5m2 | Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Ggml(ty) => return ty.block(),
        };
        BlockSize { elems: 1, bytes }
    }

    /// Bytes of `elems` elements, if they are whole blocks and the size fits. For a tensor of several
    /// rows ask for one row: blocks do not reach from row to row.
    #[must_use]
    pub fn byte_len(self, elems: u64) -> Option<u64> {
        self.block().len_of(elems)
    }

    /// Whether elements are plain floating point numbers.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16 | Self::F8E4m3 | Self::F8E5m2)
    }

    /// Whether elements stand for weights: plain floating point numbers or quantized ones.
    #[must_use]
    pub const fn holds_weights(self) -> bool {
        self.is_float() || matches!(self, Self::Ggml(_))
    }

    /// The name: the one in SafeTensors headers, or of the GGUF type in lowercase.
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
            Self::Ggml(ty) => ty.name(),
        }
    }

    /// The type of that name in SafeTensors headers.
    #[must_use]
    pub fn from_plain_name(name: &str) -> Option<Self> {
        Self::PLAIN.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let quantized = || GgmlType::from_name(name).filter(|ty| ty.is_quantized());
        Self::from_plain_name(name).or_else(|| quantized().and_then(Self::from_ggml))
    }

    /// Stable number in `.gmat` files; never reused.
    #[must_use]
    pub fn code(self) -> u8 {
        if let Self::Ggml(ty) = self {
            return ty.id().saturating_add(GGML_CODES);
        }
        // The list is short: a search cannot fail, and 255 is never a valid code.
        Self::PLAIN
            .iter()
            .zip(0..)
            .find(|(dtype, _)| **dtype == self)
            .map_or(u8::MAX, |(_, code)| code)
    }

    /// The type of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        let Some(id) = code.checked_sub(GGML_CODES) else {
            return Self::PLAIN.get(usize::from(code)).copied();
        };
        let quantized = GgmlType::from_id(id.into()).filter(|ty| ty.is_quantized());
        quantized.and_then(Self::from_ggml)
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
    /// `Limit` if the size does not fit in 63 bits; `Shape` if rows are not whole blocks of a
    /// quantized type.
    pub fn byte_len(&self) -> Result<u64> {
        self.row_len()?
            .checked_mul(self.shape.rows())
            .filter(|&len| len < 1 << 63)
            .ok_or_else(|| self.too_large())
    }

    /// Bytes of one row, the last dimension.
    ///
    /// # Errors
    /// As [`Self::byte_len`].
    pub fn row_len(&self) -> Result<u64> {
        let (cols, block) = (self.shape.cols(), self.dtype.block().elems as u64);
        if !cols.is_multiple_of(block) {
            return Err(Error::shape(format!(
                "rows of {cols} are not whole blocks of {block} `{}` elements",
                self.dtype
            ))
            .context(format!("tensor `{}`", self.name)));
        }
        self.dtype.byte_len(cols).ok_or_else(|| self.too_large())
    }

    fn too_large(&self) -> Error {
        Error::limit(format!("tensor `{}` is too large", self.name))
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
        for (code, dtype) in (0u8..).zip(DType::PLAIN) {
            assert_eq!(dtype.code(), code);
            assert_eq!(DType::from_code(code), Some(dtype));
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
            assert_eq!(DType::from_plain_name(dtype.name()), Some(dtype));
        }
        let quantized = GgmlType::ALL.iter().copied().filter(|ty| ty.is_quantized());
        for dtype in quantized.filter_map(DType::from_ggml) {
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
            assert_eq!(DType::from_plain_name(dtype.name()), None);
        }
        assert_eq!(DType::Bf16.code(), 3);
        assert_eq!(DType::Ggml(GgmlType::Q4K).code(), 76);
        // Codes of GGUF's plain types would be second ones for the same thing.
        for code in [15, 63, 64, 65, 68, 90, 94, 200, 255] {
            assert_eq!(DType::from_code(code), None, "{code}");
        }
        assert_eq!(DType::from_name("f32"), None);
        assert_eq!(DType::from_ggml(GgmlType::I32), Some(DType::I32));
    }

    #[test]
    fn lengths_are_those_of_whole_rows() {
        let len = |dtype, dims: &[u64]| {
            let shape = Shape::try_new(dims.to_vec())?;
            TensorInfo { name: "t".to_owned(), dtype, shape }.byte_len()
        };
        let q4_k = DType::Ggml(GgmlType::Q4K);
        assert_eq!(len(q4_k, &[3, 512]).ok(), Some(3 * 288));
        assert_eq!(len(q4_k, &[256]).ok(), Some(144));
        assert_eq!(len(q4_k, &[0, 256]).ok(), Some(0));
        assert_eq!(len(DType::Bf16, &[]).ok(), Some(2));
        // As many elements as 3 blocks, but no row is whole blocks.
        let error = len(q4_k, &[2, 384]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("rows of 384 are not whole blocks of 256 `q4_k`"), "{error}");
        assert!(len(DType::F64, &[1 << 40, 1 << 22]).is_err());
    }
}
