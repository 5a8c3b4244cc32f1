//! Room for the output: asked for before work begins, and told of when it runs out.

use std::io;
use std::path::Path;

use gmat_core::{Error, ErrorKind, Result};

use super::failed;
use crate::size::show_size;

/// What an output needs, and how much of it has been written.
#[derive(Debug, Default)]
pub(super) struct Room {
    needed: u64,
    written: u64,
}

impl Room {
    /// Asks for room for `needed` bytes in a folder, of which `there` have been written already.
    ///
    /// # Errors
    /// `Io` if there is less, saying how much is missing.
    pub(super) fn ask(folder: &Path, needed: u64, there: u64) -> Result<Self> {
        let missing = needed.saturating_sub(there);
        // Where the system does not say, it will when there is none left.
        match fs4::available_space(folder) {
            Ok(free) if free < missing => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "the output needs {} more in `{}`, where {} are free: {} are missing",
                    show_size(missing),
                    folder.display(),
                    show_size(free),
                    show_size(missing - free)
                ),
            )
            .with_hint("free some space or choose another --output")),
            _ => Ok(Self::expect(needed, there)),
        }
    }

    /// Does not ask, but knows what is needed.
    pub(super) fn expect(needed: u64, there: u64) -> Self {
        Self { needed, written: there }
    }

    /// Counts what was written.
    pub(super) fn add(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// An error of the system; that of a full disk also says how much is missing.
    pub(super) fn told(&self, doing: &str, path: &Path, error: io::Error) -> Error {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let full = matches!(error.kind(), StorageFull | QuotaExceeded);
        let error = failed(doing, path, error);
        match (full, self.needed.saturating_sub(self.written)) {
            (false, _) => error,
            (true, 0) => error.and_hint("there is room for nothing more"),
            (true, missing) => {
                error.and_hint(&format!("about {} more are needed", show_size(missing)))
            }
        }
    }
}
