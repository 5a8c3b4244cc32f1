//! A folder in memory of one large file, whose end is zeros, and small ones.

use std::ops::Range;

use gmat_core::io::{Chunk, Files};
use gmat_core::{Error, Result};

/// The large file is `start`, then zeros up to `len`.
pub struct Folder<'a> {
    pub name: &'a str,
    pub start: &'a [u8],
    pub len: u64,
}

impl Files for Folder<'_> {
    fn names(&self) -> Result<Vec<String>> {
        Ok(vec![self.name.to_owned()])
    }

    fn len(&self, name: &str) -> Result<Option<u64>> {
        Ok((name == self.name).then_some(self.len))
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        let short = || Error::malformed("shorter than that");
        if name != self.name || range.end > self.len || range.start > range.end {
            return Err(short());
        }
        let len = usize::try_from(range.end - range.start).map_err(|_| short())?;
        let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(self.start.len());
        let known = &self.start[start..(start + len).min(self.start.len())];
        let mut bytes = known.to_vec();
        bytes.resize(len, 0);
        Ok(Box::new(bytes))
    }

    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}
