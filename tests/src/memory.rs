//! A folder in memory.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use gmat_core::io::{Chunk, Files, Sink};
use gmat_core::{Error, ErrorKind, Result};

/// Files by name; as a sink it appends to the file last begun.
#[derive(Debug, Default)]
pub struct Memory {
    /// The files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Bytes handed out so far.
    pub read: Cell<u64>,
    /// Most bytes handed out at once.
    pub largest: Cell<u64>,
    last: String,
}

impl Memory {
    /// A folder of these files.
    pub fn of<const N: usize>(files: [(&str, Vec<u8>); N]) -> Self {
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        Self { files, ..Self::default() }
    }
}

fn absent(name: &str) -> Error {
    Error::new(ErrorKind::Io, format!("no file `{name}`"))
}

impl Files for Memory {
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.files.get(name).map(|bytes| bytes.len() as u64))
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        let bytes = self.files.get(name).ok_or_else(|| absent(name))?;
        let beyond = || Error::malformed(format!("a read beyond the end of `{name}`"));
        let start = usize::try_from(range.start).map_err(|_| beyond())?;
        let end = usize::try_from(range.end).map_err(|_| beyond())?;
        let part = bytes.get(start..end).ok_or_else(beyond)?;
        self.read.set(self.read.get() + part.len() as u64);
        self.largest.set(self.largest.get().max(part.len() as u64));
        Ok(Box::new(part))
    }

    fn place(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

impl Sink for Memory {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        name.clone_into(&mut self.last);
        self.files.insert(name.to_owned(), Vec::new());
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let file = self.files.get_mut(&self.last).ok_or_else(|| absent(&self.last))?;
        file.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
