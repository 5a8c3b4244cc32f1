//! JSON files of a file set.

use gmat_core::token::FileSet;
use gmat_core::{Error, Result, ResultExt};
use serde::de::DeserializeOwned;

/// Parses a JSON file; `None` if it does not exist. A byte order mark is skipped: JSON must not
/// have one, but editors on some systems add it.
///
/// # Errors
/// `Malformed` if it is not JSON of the expected shape; `Io` if it cannot be read.
pub(crate) fn json<T: DeserializeOwned>(files: &dyn FileSet, name: &str) -> Result<Option<T>> {
    let Some(bytes) = files.read(name)? else { return Ok(None) };
    serde_json::from_slice(without_mark(&bytes))
        .map(Some)
        .map_err(|error| Error::malformed("not the expected JSON").with_source(error))
        .context(|| format!("file `{name}`"))
}

/// The text of a file, with line ends as `\n`; `None` if it does not exist.
///
/// # Errors
/// `Malformed` if it is not UTF-8; `Io` if it cannot be read.
pub(crate) fn text(files: &dyn FileSet, name: &str) -> Result<Option<String>> {
    let Some(bytes) = files.read(name)? else { return Ok(None) };
    std::str::from_utf8(without_mark(&bytes))
        .map(|text| Some(text.replace("\r\n", "\n").replace('\r', "\n")))
        .map_err(|error| Error::malformed("not UTF-8").with_source(error))
        .context(|| format!("file `{name}`"))
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
