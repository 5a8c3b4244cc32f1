//! Tokenizers: what a reader makes of a model's tokenizer files.

use crate::arch::Score;
use crate::config::ModelConfig;
use crate::error::Result;

/// The small files beside a model, by name.
pub trait FileSet {
    /// The bytes of a file, or `None` if it does not exist.
    ///
    /// # Errors
    /// `Io` if it exists and cannot be read; `Limit` if it is unreasonably large.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Names of all files, sorted.
    fn names(&self) -> Vec<String>;
}

/// What a token is, with the numbers that GGUF uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TokenKind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// One way to read a tokenizer.
pub trait TokenizerSource: Sync {
    /// A short name for lists, such as `hf-bpe`.
    fn name(&self) -> &'static str;

    /// Whether these files are its own.
    ///
    /// # Errors
    /// `Io` if a file cannot be read.
    fn score(&self, files: &dyn FileSet) -> Result<Score>;

    /// Reads the vocabulary.
    ///
    /// # Errors
    /// `Malformed` or `Unsupported`, naming file and key.
    fn read(&self, files: &dyn FileSet, config: &ModelConfig) -> Result<Vocab>;
}

/// A vocabulary with everything a runtime needs to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocab {}
