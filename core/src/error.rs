//! The one error type of gmat: what kind of reaction is called for, what happened, and where.
//!
//! A message is a lowercase fragment with the offending value in backticks. Places (file, tensor,
//! row group, byte offset) are added on the way up with [`Error::context`], outermost last, so that
//! a front end can print `error: …` and then one `caused by: …` line per step inwards.

use std::fmt;

/// Result with gmat's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The system refused to read or write (disk full, permission, missing file).
    Io,
    /// Input is broken: truncated, contradictory, not what its header says.
    Malformed,
    /// Input is well formed, but this program does not know it.
    Unsupported,
    /// A size or count is beyond what is accepted or what fits in memory.
    Limit,
    /// A config file, option or argument is wrong.
    Config,
    /// Shapes or lengths do not fit together.
    Shape,
    /// A plugin misbehaved.
    Plugin,
    /// The user stopped the run.
    Cancelled,
    /// A verification found a difference.
    Mismatch,
}

/// An error with its kind, message, places and (optionally) a hint what to do.
///
/// One pointer wide, so that `Result<T>` stays cheap in hot paths.
pub struct Error(Box<Repr>);

struct Repr {
    kind: ErrorKind,
    message: String,
    /// Innermost place first.
    context: Vec<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is a lowercase fragment without a final stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Repr {
            kind,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }))
    }

    /// Broken input.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    /// Valid input that gmat does not know.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A wrong config value, option or argument.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Something too large.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    /// Shapes or lengths that do not fit together.
    pub fn shape(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, message)
    }

    /// The run was stopped by the user.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "interrupted")
    }

    /// An I/O failure; `doing` says what was attempted, such as ``cannot read `x` ``.
    pub fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        let mut error = Self::new(ErrorKind::Io, doing);
        error.0.source = Some(Box::new(source));
        error
    }

    /// Keeps the underlying cause, shown as the innermost `caused by`.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Adds the place where it happened (a file, a tensor, a row group).
    #[must_use]
    pub fn context(mut self, place: impl Into<String>) -> Self {
        self.0.context.push(place.into());
        self
    }

    /// Says what the user can do. The first hint stays: it is the one closest to the cause.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        if self.0.hint.is_none() {
            self.0.hint = Some(hint.into());
        }
        self
    }

    /// Adds to what the user can do.
    #[must_use]
    pub fn and_hint(mut self, more: &str) -> Self {
        self.0.hint = Some(match self.0.hint.take() {
            Some(hint) => format!("{hint}; {more}"),
            None => more.to_owned(),
        });
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do about it, if known: what was said, or what is always true of such a failure.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| {
            let io: &std::io::Error = self.0.source.as_ref()?.downcast_ref()?;
            match io.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    Some("the permissions of the file or of a folder above it do not allow that")
                }
                std::io::ErrorKind::NotFound => Some("check the path; nothing is there"),
                std::io::ErrorKind::NotADirectory => {
                    Some("check the path; a part of it is a file, not a folder")
                }
                _ => None,
            }
        })
    }

    /// The innermost message, without places.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Every line of the story: places from the outside in, the message, then the system's cause.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.0.context.iter().rev().cloned().collect();
        lines.push(self.0.message.clone());
        let mut source: Option<&(dyn std::error::Error + 'static)> = match &self.0.source {
            Some(boxed) => Some(boxed.as_ref()),
            None => None,
        };
        while let Some(cause) = source {
            lines.push(cause.to_string());
            source = cause.source();
        }
        lines
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain().join(": "))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        match &self.0.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Adds places to the error of a `Result`, lazily.
pub trait ResultExt<T> {
    /// Adds the place where it happened.
    ///
    /// # Errors
    /// The same error, one place richer.
    fn context<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(place()))
    }
}

/// The spelling in `known` closest to `given`, if any is close enough to be a likely slip: upper and
/// lower case and separators aside, at most one letter in three is wrong, and never more than four.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |s: &str| s.to_ascii_lowercase().replace(['-', '_', '.', ' '], "");
    let wanted = fold(given);
    let sorted = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.sort_unstable();
        bytes
    };
    known
        .into_iter()
        .map(|name| {
            let folded = fold(name);
            // A slip in a word of three letters makes another word, unless it is one letter more
            // or the same letters.
            let allowed = match wanted.len().min(folded.len()) {
                3 if wanted.starts_with(&folded) || sorted(&wanted) == sorted(&folded) => 1,
                0..4 => 0,
                len => (len / 3).min(4),
            };
            let distance = strsim::damerau_levenshtein(&wanted, &folded);
            (distance, strsim::damerau_levenshtein(given, name), name, allowed)
        })
        .filter(|&(distance, .., allowed)| distance <= allowed)
        // Ties go to the alphabetically first name, so that messages are reproducible.
        .min()
        .map(|(_, _, name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_goes_from_the_outside_in() {
        let error = Error::io("cannot read", std::io::Error::other("boom"))
            .context("tensor `a`")
            .context("file `f`");
        assert_eq!(error.chain(), ["file `f`", "tensor `a`", "cannot read", "boom"]);
        assert_eq!(error.kind(), ErrorKind::Io);
    }

    #[test]
    fn nearest_ignores_case_and_separators() {
        let known = ["q4_k_m", "q4_k_s", "q8_0", "B8x8"];
        assert_eq!(nearest("q4km", known), Some("q4_k_m"));
        assert_eq!(nearest("b8x8", known), Some("B8x8"));
        assert_eq!(nearest("zzzzzzzzzz", known), None);
        // What is merely the least unlike is no slip.
        for (given, known) in [("F4", "F64"), ("C64", "F64"), ("Phi3", "Qwen3"), ("q9", "q8_0")] {
            assert_eq!(nearest(given, [known]), None, "{given}");
        }
        assert_eq!(nearest("pads", ["pad", "bos"]), Some("pad"));
        assert_eq!(nearest("BF61", ["BF16", "F16"]), Some("BF16"));
    }

    #[test]
    fn error_is_one_pointer() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
