//! How a `tokenizer.json` with a Unigram model treats spaces and characters, in the terms of
//! SentencePiece that runtimes know.

use gmat_core::{Error, Result};
use serde_json::Value;

use super::json::{Tokenizer, kind, parts};
use crate::{base64, spm};

/// The character that marks spaces.
const MARK: &str = "▁";

/// What is done to a text before pieces are looked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Spaces {
    /// Whether a space goes in front.
    pub(crate) prefix: bool,
    /// Whether runs of spaces become one, and those at both ends none.
    pub(crate) remove_extra: bool,
    /// Replacements of characters; empty if there are none.
    pub(crate) charsmap: Vec<u8>,
}

impl Spaces {
    /// What the steps of `tokenizer` come to. `cleans` is what its config says of extra spaces, for
    /// files that do not. With `forced`, steps that runtimes do not have are passed over.
    ///
    /// # Errors
    /// `Unsupported` for such a step, naming it; `Malformed` for a map that is none.
    pub(crate) fn of(tokenizer: &Tokenizer, cleans: Option<bool>, forced: bool) -> Result<Self> {
        let mut found = Self::default();
        let mut marked = false;
        let text =
            |part: &Value, key: &str| part.get(key).and_then(Value::as_str).map(str::to_owned);
        let pattern = |part: &Value, kind: &str| part.get("pattern").and_then(|p| text(p, kind));
        for part in parts(&tokenizer.normalizer, "normalizers") {
            let content = text(part, "content").unwrap_or_default();
            match kind(part) {
                "Precompiled" => found.charsmap = charsmap(part)?,
                // Composition is what the usual maps do; without one it rarely matters.
                "NFC" => {}
                "Prepend" if text(part, "prepend").as_deref() == Some(MARK) => found.prefix = true,
                "Replace" if pattern(part, "String").as_deref() == Some(" ") && content == MARK => {
                    marked = true;
                }
                "Replace" if pattern(part, "Regex").is_some_and(|p| is_run(&p)) => {
                    found.remove_extra = true;
                }
                // Spaces at the ends go with the extra ones; at one end alone it comes to the same
                // for texts that have none there.
                "Strip" => found.remove_extra = true,
                other if !forced => return Err(unlike("normalizer", other)),
                _ => {}
            }
        }
        for part in parts(&tokenizer.pre_tokenizer, "pretokenizers") {
            match kind(part) {
                "WhitespaceSplit" => found.remove_extra = true,
                "Metaspace" => {
                    marked = true;
                    found.prefix |= prepends(part);
                }
                other if !forced => return Err(unlike("pre-tokenizer", other)),
                _ => {}
            }
        }
        if !marked && !forced {
            return Err(Error::unsupported("Unigram that does not mark spaces with U+2581"));
        }
        found.remove_extra |= cleans == Some(true);
        Ok(found)
    }
}

/// Whether a `Metaspace` puts a mark in front.
pub(crate) fn prepends(metaspace: &Value) -> bool {
    match metaspace.get("prepend_scheme").and_then(Value::as_str) {
        Some("never") => false,
        Some("always" | "first") => true,
        _ => metaspace.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true),
    }
}

/// Whether a pattern is a run of spaces.
fn is_run(pattern: &str) -> bool {
    matches!(pattern, " {2,}" | " +" | r"\s+" | r"\s{2,}" | "▁{2,}" | "▁+")
}

fn charsmap(part: &Value) -> Result<Vec<u8>> {
    let map = part.get("precompiled_charsmap");
    let Some(text) = map.filter(|map| !map.is_null()) else { return Ok(Vec::new()) };
    let bytes = text
        .as_str()
        .and_then(base64::decode)
        .ok_or_else(|| Error::malformed("`precompiled_charsmap` is not base64"))?;
    spm::check_charsmap(&bytes)?;
    Ok(bytes)
}

fn unlike(what: &str, kind: &str) -> Error {
    Error::unsupported(format!("a `{kind}` {what}, which Unigram runtimes do not have"))
        .with_hint("to go on without it, use `--pre default`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(normalizer: Value, pre: Value, forced: bool) -> Result<(bool, bool, usize)> {
        let json = json!({"model": {}, "normalizer": normalizer, "pre_tokenizer": pre});
        let tokenizer: Tokenizer = serde_json::from_value(json).unwrap();
        let found = Spaces::of(&tokenizer, None, forced)?;
        Ok((found.prefix, found.remove_extra, found.charsmap.len()))
    }

    fn metaspace(scheme: &str) -> Value {
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme})
    }

    #[test]
    fn steps_say_what_happens_to_spaces() {
        let t5 = json!({"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": "AAAAAGEA"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]});
        assert_eq!(of(t5, metaspace("always"), false).unwrap(), (true, true, 6));
        let split = json!({"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, metaspace("never")]});
        assert_eq!(of(json!(null), split, false).unwrap(), (false, true, 0));
        let old = json!({"type": "Metaspace", "replacement": "▁", "add_prefix_space": true});
        assert_eq!(of(json!(null), old, false).unwrap(), (true, false, 0));
    }

    #[test]
    fn what_no_runtime_does_is_refused_unless_forced() {
        for normalizer in [json!({"type": "Lowercase"}), json!({"type": "NFKD"})] {
            let error = of(normalizer.clone(), metaspace("always"), false).unwrap_err();
            assert!(error.hint().unwrap().contains("--pre default"));
            assert!(of(normalizer, metaspace("always"), true).is_ok());
        }
        assert!(of(json!(null), json!({"type": "Digits"}), false).is_err());
        assert!(of(json!(null), json!(null), false).is_err());
        for map in [json!("?"), json!("AAA="), json!("/////w=="), json!(7)] {
            let bad = json!({"type": "Precompiled", "precompiled_charsmap": map});
            assert!(of(bad, metaspace("always"), true).is_err());
        }
    }
}
