//! What front ends provide: a folder to read from, and a place to write to.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::limits;
use crate::tensor::mem_len;
use crate::token::FileSet;

/// Bytes of a file: borrowed, mapped or owned.
pub type Chunk<'a> = Box<dyn AsRef<[u8]> + Send + 'a>;

/// A folder of files with random access. Not `Sync`: it may hold a JavaScript handle, and is used
/// by the coordinating thread only.
pub trait Files {
    /// Names of all files, sorted; `/` separates sub-folders where an implementation has them.
    ///
    /// # Errors
    /// `Io` if the folder cannot be listed.
    fn names(&self) -> Result<Vec<String>>;

    /// Names of the files in a sub-folder, without its own, sorted; none if there is no such folder.
    ///
    /// # Errors
    /// `Io` if it cannot be listed.
    fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let inside = |name: String| Some(name.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        Ok(self.names()?.into_iter().filter_map(inside).collect())
    }

    /// Length of a file in bytes, or `None` if there is none of that name.
    ///
    /// # Errors
    /// `Io` if it cannot be opened.
    fn len(&self, name: &str) -> Result<Option<u64>>;

    /// Exactly the bytes of `range`.
    ///
    /// # Errors
    /// `Io` if it cannot be read; `Malformed` if the file is shorter.
    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>>;

    /// How a message calls the file: a path.
    fn place(&self, name: &str) -> String;
}

/// The whole of a small file, or `None` if there is none of that name.
///
/// # Errors
/// Like [`Files::read`]; `Limit` above [`limits::JSON_FILE`].
pub fn read_small(files: &dyn Files, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(len) = files.len(name)? else { return Ok(None) };
    if len > limits::JSON_FILE {
        return Err(Error::limit(format!(
            "`{}` has {len} bytes; at most {} are read",
            files.place(name),
            limits::JSON_FILE
        )));
    }
    if len == 0 {
        return Ok(Some(Vec::new()));
    }
    Ok(Some(files.read(name, 0..len)?.as_ref().as_ref().to_vec()))
}

/// Whether a name that a file of somebody else gives is that of a file in the same folder, on any
/// system: separators and drives of Windows count, too.
#[must_use]
pub(crate) fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', ':', '\0'])
}

/// Exactly `len` bytes at `offset`, owned.
///
/// # Errors
/// Like [`Files::read`].
pub fn read_exact(files: &dyn Files, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let end = offset.checked_add(len as u64).ok_or_else(|| Error::limit("absurd file offset"))?;
    let bytes = files.read(name, offset..end)?.as_ref().as_ref().to_vec();
    match bytes.len() == mem_len(end - offset)? {
        true => Ok(bytes),
        false => Err(Error::malformed(format!("`{}` is shorter than it was", files.place(name)))),
    }
}

/// Small files of a folder, for tokenizer readers.
pub struct SmallFiles<'a>(pub &'a dyn Files);

impl FileSet for SmallFiles<'_> {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_small(self.0, name)
    }

    fn names(&self) -> Vec<String> {
        self.0.names().unwrap_or_default()
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        self.0.names_in(folder)
    }
}

/// Where output goes: one file after the other, append only. Nothing appears under its final name
/// before the whole output is committed by whoever made the sink.
pub trait Sink {
    /// Starts a file; `len` is its length if known.
    ///
    /// # Errors
    /// `Io` if it cannot be created or there is no room for it.
    fn begin(&mut self, name: &str, len: Option<u64>) -> Result<()>;

    /// Appends to the file last begun.
    ///
    /// # Errors
    /// `Io` if it cannot be written.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Completes the file last begun.
    ///
    /// # Errors
    /// `Io` if buffered bytes cannot be written.
    fn finish(&mut self) -> Result<()>;

    /// In the place of [`Sink::begin`]: goes on after the first `kept` bytes of a file that an
    /// interrupted run left; what it has beyond them is dropped.
    ///
    /// # Errors
    /// `Io` if there is no such file; `Unsupported` if this sink keeps nothing.
    fn reopen(&mut self, name: &str, kept: u64) -> Result<()> {
        let _ = kept;
        Err(Error::unsupported(format!("`{name}` cannot be continued here")))
    }

    /// Says that all that was appended so far is the result of finished work. Sinks that can be
    /// continued keep `line` for the run that does so.
    ///
    /// # Errors
    /// `Io` if it cannot be written.
    fn checkpoint(&mut self, line: &str) -> Result<()> {
        let _ = line;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_folder() {
        for name in ["", ".", "..", "../x", "/x", "a/b", r"..\x", "C:x", "a\0b"] {
            assert!(!is_file_name(name), "{name:?}");
        }
        for name in ["a.safetensors", "...", "~", "a b"] {
            assert!(is_file_name(name), "{name}");
        }
    }
}
