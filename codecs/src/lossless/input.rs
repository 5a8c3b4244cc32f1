//! Encoded bytes that are read from front to back, and errors that say where.

use gmat_core::{Error, Result};

/// Bytes of a row group and how far they have been read.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// An error at the place reached.
    pub(crate) fn malformed(&self, what: impl Into<String>) -> Error {
        Error::malformed(what).context(format!(
            "byte {} of a row group in `{}`",
            self.at,
            super::NAME
        ))
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            self.malformed(format!("{len} bytes are missing: the row group ends too early"))
        })?;
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A length of 32 bits.
    pub(crate) fn len(&mut self) -> Result<usize> {
        let len = u32::from_le_bytes(self.array()?);
        usize::try_from(len).map_err(|_| self.malformed("a length beyond the address space"))
    }

    /// Nothing may follow.
    pub(crate) fn finish(self) -> Result<()> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            extra => Err(self.malformed(format!("{extra} bytes follow the last element"))),
        }
    }
}
