//! The keys of the GGUF file that a model came in: a GGUF file without tensors.

use super::Store;
use crate::error::{Error, Result, ResultExt};
use crate::format::gguf::{Gguf, Header, Meta};
use crate::io::{Sink, read_small};

/// Name of the file.
pub const SOURCE_KEYS: &str = "source.gguf";

/// Writes the file; returns its BLAKE3, in hexadecimal.
///
/// # Errors
/// What the sink says.
pub(crate) fn write_source_keys(keys: &Meta, sink: &mut dyn Sink) -> Result<String> {
    let bytes = Header { meta: keys.clone(), tensors: Vec::new() }.to_bytes()?;
    sink.begin(SOURCE_KEYS, Some(bytes.len() as u64))?;
    sink.append(&bytes)?;
    sink.finish()?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

impl Store<'_> {
    /// The keys of the GGUF file that the model came in, if it did.
    ///
    /// # Errors
    /// `Io` if the file with them is missing; `Malformed` if it is not the one that was written.
    pub fn source_keys(&self) -> Result<Option<Meta>> {
        let Some(hash) = &self.metadata.model.source_keys else { return Ok(None) };
        let place = self.files.place(SOURCE_KEYS);
        let bytes = read_small(self.files, SOURCE_KEYS)?.ok_or_else(|| {
            Error::new(crate::ErrorKind::Io, format!("missing file: {place}"))
                .with_hint("the store is incomplete; import the model again")
        })?;
        if blake3::hash(&bytes).to_hex().as_str() != hash {
            return Err(Error::malformed(
                "its checksum does not match: it was changed after import",
            )
            .with_hint("import the model again")
            .context(format!("file `{place}`")));
        }
        let gguf = Gguf::parse(&bytes).context(|| format!("file `{place}`"))?;
        Ok(Some(gguf.meta))
    }
}
