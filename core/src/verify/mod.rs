//! Verification: is everything that was written still there, and is it what its source makes?

mod compared;
mod gguf;
mod store;

pub use self::compared::Comparison;
pub use self::gguf::verify_gguf;
pub use self::store::verify_store;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// Something that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The file, as the folder names it.
    pub file: String,
    /// The tensor, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// What was found.
    pub what: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// `store` or `gguf`.
    pub kind: &'static str,
    /// Files that were read.
    pub files: usize,
    /// Tensors that were read.
    pub tensors: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// What each kind of check covers, in words.
    pub checks: Vec<String>,
    /// Tensors that are stored as differences, and whose source bytes were not hashed because the
    /// base was not given.
    pub not_hashed: Vec<String>,
    /// All differences, in the order of the files.
    pub differences: Vec<Difference>,
}

impl Verified {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        let (checks, not_hashed, differences) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind, files: 0, tensors: 0, bytes: 0, checks, not_hashed, differences }
    }

    /// Notes a difference.
    pub fn differs(&mut self, file: &str, tensor: Option<&str>, what: impl Into<String>) {
        let (file, tensor) = (file.to_owned(), tensor.map(str::to_owned));
        self.differences.push(Difference { file, tensor, what: what.into() });
    }

    /// Takes an error about what is being verified for a difference; others end the verification.
    pub(crate) fn take<T>(
        &mut self,
        file: &str,
        tensor: Option<&str>,
        result: Result<T>,
    ) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_about_content(&error) => {
                self.differs(file, tensor, error.message());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// `Mismatch` if there is any difference.
    pub fn result(&self) -> Result<()> {
        let count = match self.differences.len() {
            0 => return Ok(()),
            1 => "1 difference".to_owned(),
            count => format!("{count} differences"),
        };
        Err(Error::new(ErrorKind::Mismatch, format!("verification found {count}")))
    }
}

fn is_about_content(error: &Error) -> bool {
    use ErrorKind as Kind;
    matches!(error.kind(), Kind::Malformed | Kind::Unsupported | Kind::Limit | Kind::Shape)
}
