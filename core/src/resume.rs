//! Going on where an interrupted run stopped: what must be the same, so that its output can be used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plugin::Identity;

/// Everything that decides the bytes of an output, in parts that people can name. Each part is a
/// hash or a short text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(BTreeMap<String, String>);

/// The part that says which program wrote an output.
const PROGRAM: &str = "version of gmat";

impl Fingerprint {
    /// That of this program.
    #[must_use]
    pub fn new() -> Self {
        Self(BTreeMap::from([(PROGRAM.to_owned(), env!("CARGO_PKG_VERSION").to_owned())]))
    }

    /// Adds a part by its content.
    #[must_use]
    pub fn with(mut self, part: &str, content: &[u8]) -> Self {
        let hash = blake3::hash(content).to_hex().to_string();
        self.0.insert(part.to_owned(), hash);
        self
    }

    /// Adds plugins, by what they are.
    #[must_use]
    pub(crate) fn with_plugins<'a>(
        self,
        plugins: impl IntoIterator<Item = (&'a str, &'a Identity)>,
    ) -> Self {
        plugins.into_iter().fold(self, |fingerprint, (name, identity)| {
            fingerprint.with(&format!("plugin `{name}`"), identity.blake3.as_bytes())
        })
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// `Malformed` if it cannot be written as JSON (it can).
    pub fn to_line(&self) -> Result<String> {
        serde_json::to_string(&self.0)
            .map_err(|e| Error::malformed("cannot be written as JSON").with_source(e))
    }

    /// Whether a run of this fingerprint may go on where one stopped that wrote `line`.
    ///
    /// # Errors
    /// `Config`, naming the parts that differ.
    pub fn check(&self, line: &str) -> Result<()> {
        let refused = |what: &str| {
            Err(Error::config(format!("an interrupted run has left its output, but {what}"))
                .with_hint("add --restart to start over, or give the same input and options again"))
        };
        let Ok(earlier) = serde_json::from_str::<Self>(line) else {
            return refused("does not say what it was doing");
        };
        let mut parts: Vec<&str> =
            self.0.keys().chain(earlier.0.keys()).map(String::as_str).collect();
        parts.sort_unstable();
        parts.dedup();
        parts.retain(|part| self.0.get(*part) != earlier.0.get(*part));
        match parts.as_slice() {
            [] => Ok(()),
            [part] => refused(&format!("the {part} has changed since")),
            parts => refused(&format!("these have changed since: {}", parts.join(", "))),
        }
    }
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let old = Fingerprint::new().with("config", b"a").with("model", b"b");
        let line = old.to_line().unwrap_or_default();
        assert!(old.check(&line).is_ok());
        let said = |new: Fingerprint, line: &str| {
            new.check(line).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(said(old.clone().with("config", b"c"), &line).contains("the config has changed"));
        let two = said(old.clone().with("config", b"c").with("tokenizer", b""), &line);
        assert!(two.contains("config, tokenizer"), "{two}");
        for torn in ["", "{", "[]", "{\"config\": 1}"] {
            assert!(said(old.clone(), torn).contains("does not say"), "{torn}");
        }
    }
}
