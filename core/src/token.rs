//! Tokenizers: what a reader makes of a model's tokenizer files.

mod meta;
mod special;
mod vocab;

pub use self::special::Special;
pub use self::vocab::{MAX_PADDING, MAX_TOKENS, Template, Token, Vocab, pad_token};

use crate::arch::Score;
use crate::config::ModelConfig;
use crate::error::{Error, Result};

/// The small files beside a model, by name.
pub trait FileSet {
    /// The bytes of a file, or `None` if it does not exist.
    ///
    /// # Errors
    /// `Io` if it exists and cannot be read; `Limit` if it is unreasonably large.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Names of all files, sorted.
    fn names(&self) -> Vec<String>;

    /// Names of the files in a sub-folder, without its own, sorted; none if there is no such folder.
    ///
    /// # Errors
    /// `Io` if it cannot be listed.
    fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let inside = |name: String| Some(name.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        Ok(self.names().into_iter().filter_map(inside).collect())
    }
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

impl TokenKind {
    /// The kind with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// What the user says about a tokenizer that its files do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// The pre-tokenizer's name (`tokenizer.ggml.pre`), where it is not to be recognised from the
    /// files: the `--pre` option.
    pub pre: Option<String>,
}

/// One way to read a tokenizer.
pub trait TokenizerSource: Sync {
    /// A short name for lists, such as `hf-bpe`.
    fn name(&self) -> &'static str;

    /// What it reads, in a few words.
    fn summary(&self) -> &'static str;

    /// The names that `--pre` can force.
    fn pre_tokenizers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether these files are its own.
    ///
    /// # Errors
    /// `Io` if a file cannot be read; `Malformed` if it cannot be told what it is.
    fn score(&self, files: &dyn FileSet) -> Result<Score>;

    /// Reads the vocabulary.
    ///
    /// # Errors
    /// `Malformed` or `Unsupported`, naming file and key; `Config` if an option is wrong.
    fn read(
        &self,
        files: &dyn FileSet,
        config: &ModelConfig,
        options: &TokenizerOptions,
    ) -> Result<Vocab>;
}

/// The source that these files belong to; `None` if no source knows them.
///
/// # Errors
/// `Io` or `Malformed` if a file cannot be read; `Unsupported` if two sources claim the files equally.
pub fn detect(
    sources: &[&'static dyn TokenizerSource],
    files: &dyn FileSet,
) -> Result<Option<&'static dyn TokenizerSource>> {
    let mut best: Option<(Score, &'static dyn TokenizerSource)> = None;
    let mut rival = None;
    for &source in sources {
        let score = source.score(files)?;
        if score == Score::No {
            continue;
        }
        match best {
            Some((other, _)) if other > score => {}
            Some((other, first)) if other == score => rival = Some((first, source)),
            _ => {
                best = Some((score, source));
                rival = None;
            }
        }
    }
    if let Some((first, second)) = rival {
        return Err(Error::unsupported(format!(
            "the tokenizer files fit `{}` and `{}` equally well",
            first.name(),
            second.name()
        )));
    }
    Ok(best.map(|(_, source)| source))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoFiles;
    impl FileSet for NoFiles {
        fn read(&self, _: &str) -> Result<Option<Vec<u8>>> {
            Ok(None)
        }
        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }

    struct Fixed(&'static str, Score);
    impl TokenizerSource for Fixed {
        fn name(&self) -> &'static str {
            self.0
        }
        fn summary(&self) -> &'static str {
            ""
        }
        fn score(&self, _: &dyn FileSet) -> Result<Score> {
            Ok(self.1)
        }
        fn read(&self, _: &dyn FileSet, _: &ModelConfig, _: &TokenizerOptions) -> Result<Vocab> {
            Ok(Vocab::new("x"))
        }
    }

    static A: Fixed = Fixed("a", Score::Likely);
    static B: Fixed = Fixed("b", Score::Certain);
    static C: Fixed = Fixed("c", Score::Certain);
    static D: Fixed = Fixed("d", Score::No);

    #[test]
    fn highest_score_wins_and_a_tie_is_an_error() {
        let name = |sources: &[&'static dyn TokenizerSource]| {
            detect(sources, &NoFiles).map(|found| found.map(|s| s.name()))
        };
        assert_eq!(name(&[&A, &B, &D]).unwrap(), Some("b"));
        assert_eq!(name(&[&B, &A]).unwrap(), Some("b"));
        assert_eq!(name(&[&D]).unwrap(), None);
        let error = name(&[&A, &B, &C]).unwrap_err();
        assert!(error.to_string().contains("`b` and `c`"), "{error}");
    }
}
