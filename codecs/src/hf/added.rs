//! Added tokens: which there are, and what kind each is.

use std::collections::{BTreeMap, HashMap};

use gmat_core::token::{FileSet, Token, TokenKind};
use gmat_core::{Error, Result};

use super::config::TokenizerConfig;
use super::json::{AddedToken, Tokenizer};
use super::rows::Rows;
use super::{bytes, files};

/// The added tokens of a `tokenizer.json` and the files beside it: its own, then those that only
/// `tokenizer_config.json` or `added_tokens.json` know, then special tokens without an entry. Each
/// text occurs once; the first mention has the say.
///
/// `rows` is the number of rows of the model: special tokens that no file gives an id get the next
/// free one, as HuggingFace's library does, if the model has a row for it.
///
/// # Errors
/// `Malformed` if files contradict each other about an id.
pub(crate) fn collect(
    tokenizer: &Tokenizer,
    vocab: &HashMap<&str, u32>,
    config: &TokenizerConfig,
    files: &dyn FileSet,
    rows: Option<u64>,
) -> Result<Vec<AddedToken>> {
    let mut list = Added { tokens: Vec::new(), by_text: BTreeMap::new(), vocab };
    for token in &tokenizer.added_tokens {
        list.add(token.clone(), "tokenizer.json")?;
    }
    for token in config.added_tokens()? {
        list.add(token, "tokenizer_config.json")?;
    }
    for (content, id) in added_tokens_json(files)? {
        list.add(
            AddedToken { id, content, special: false, normalized: None },
            "added_tokens.json",
        )?;
    }
    for content in config.special_texts()? {
        if list.by_text.contains_key(&content) {
            continue;
        }
        let id = match vocab.get(content.as_str()) {
            Some(id) => *id,
            None => {
                match list.next_id().filter(|id| rows.is_some_and(|rows| u64::from(*id) < rows)) {
                    Some(id) => id,
                    None => continue,
                }
            }
        };
        list.add(
            AddedToken { id, content, special: true, normalized: None },
            "tokenizer_config.json",
        )?;
    }
    Ok(list.tokens)
}

/// Texts and ids of `added_tokens.json`, by id.
///
/// # Errors
/// `Malformed` if it is not an object of ids.
pub(crate) fn added_tokens_json(files: &dyn FileSet) -> Result<Vec<(String, u32)>> {
    let map: Option<BTreeMap<String, u32>> = files::json(files, "added_tokens.json")?;
    let mut list: Vec<_> = map.unwrap_or_default().into_iter().collect();
    list.sort_by_key(|(_, id)| *id);
    Ok(list)
}

struct Added<'a> {
    tokens: Vec<AddedToken>,
    by_text: BTreeMap<String, u32>,
    vocab: &'a HashMap<&'a str, u32>,
}

impl Added<'_> {
    fn add(&mut self, token: AddedToken, file: &str) -> Result<()> {
        let known =
            self.by_text.get(&token.content).or_else(|| self.vocab.get(token.content.as_str()));
        if let Some(&id) = known
            && id != token.id
        {
            return Err(Error::malformed(format!(
                "`{file}` gives token `{}` the id {}, which is {id} elsewhere",
                token.content, token.id
            )));
        }
        if self.by_text.insert(token.content.clone(), token.id).is_none() {
            self.tokens.push(token);
        }
        Ok(())
    }

    /// The id after the last one in use.
    fn next_id(&self) -> Option<u32> {
        let added = self.by_text.values().max();
        let normal = self.vocab.values().max();
        added.max(normal).map_or(Some(0), |id| id.checked_add(1))
    }
}

/// Puts added tokens in their rows.
///
/// # Errors
/// `Malformed` if an id belongs to another token.
pub(crate) fn put(rows: &mut Rows, added: &[AddedToken], byte_level: bool) -> Result<()> {
    for token in added {
        if let Some(other) = rows.get(token.id)
            && other.text != token.content.as_bytes()
        {
            return Err(Error::malformed(format!(
                "tokens `{}` and `{}` both have the id {}",
                String::from_utf8_lossy(&other.text),
                token.content,
                token.id
            )));
        }
        let control = token.special || looks_special(&token.content);
        let mut text = token.content.clone();
        if byte_level && token.normalized == Some(false) {
            // Runtimes look for these in raw text, so they must not be in the alphabet.
            text = bytes::decode(&text).unwrap_or(text);
        }
        if !control {
            text = spaces(&text);
        }
        rows.put(
            token.id,
            Token {
                text: text.into_bytes(),
                score: 0.0,
                kind: if control { TokenKind::Control } else { TokenKind::UserDefined },
                added: true,
            },
        );
    }
    Ok(())
}

/// A text with the spaces that SentencePiece marks written as spaces: tokens that are found in raw
/// text cannot have the mark.
pub(crate) fn spaces(text: &str) -> String {
    text.replace('▁', " ")
}

/// Whether an added token is for control by its looks. Some models do not say so of tokens that
/// must not be read from plain text.
pub(crate) fn looks_special(text: &str) -> bool {
    let framed = |start, end| text.starts_with(start) && text.ends_with(end);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || framed("<|", "|>")
        || framed("<｜", "｜>")
        || framed("<unused", ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_tell_control_tokens() {
        for text in ["<|im_end|>", "<｜User｜>", "<unused12>", "<pad>", "[@BOS@]"] {
            assert!(looks_special(text), "{text}");
        }
        for text in ["<tool_call>", "<s>", "<|", "unused", "</think>"] {
            assert!(!looks_special(text), "{text}");
        }
    }

    #[test]
    fn tokens_are_written_as_text_has_them() {
        let added = |content: &str, special, normalized| AddedToken {
            id: 0,
            content: content.into(),
            special,
            normalized: Some(normalized),
        };
        let put_one = |token| {
            let mut rows = Rows::default();
            put(&mut rows, &[token], true).unwrap();
            let token = rows.get(0).unwrap().clone();
            (String::from_utf8(token.text).unwrap(), token.kind)
        };
        assert_eq!(put_one(added("Ġx", true, false)), (" x".into(), TokenKind::Control));
        assert_eq!(put_one(added("Ġx", true, true)), ("Ġx".into(), TokenKind::Control));
        assert_eq!(put_one(added("▁▁", false, false)), ("  ".into(), TokenKind::UserDefined));
        assert_eq!(put_one(added("<｜▁｜>", false, true)), ("<｜▁｜>".into(), TokenKind::Control));
    }

    #[test]
    fn files_must_agree_about_ids() {
        let tokenizer: Tokenizer = serde_json::from_str(
            r#"{"model":{},"added_tokens":[{"id":3,"content":"<a>"},{"id":0,"content":"x"}]}"#,
        )
        .unwrap();
        struct None;
        impl FileSet for None {
            fn read(&self, _: &str) -> Result<Option<Vec<u8>>> {
                Ok(Option::None)
            }
            fn names(&self) -> Vec<String> {
                Vec::new()
            }
        }
        let config = TokenizerConfig::default();
        let run = |vocab: &[(&'static str, u32)]| {
            collect(&tokenizer, &vocab.iter().copied().collect(), &config, &None, Some(9))
        };
        assert_eq!(run(&[("x", 0), ("y", 1)]).unwrap().len(), 2);
        let error = run(&[("x", 5)]).unwrap_err();
        assert!(error.to_string().contains("`x` the id 0, which is 5"), "{error}");
    }
}
