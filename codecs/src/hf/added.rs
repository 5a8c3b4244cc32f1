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
/// text occurs once, and `tokenizer.json` has the say: other files do get out of step with it, and
/// what they say of a token it has is not read by HuggingFace's library either.
///
/// `rows` is the number of rows of the model: tokens whose id is taken and special tokens without
/// one get the next free id, as in that library, if the model has a row for it.
///
/// # Errors
/// `Malformed` if `tokenizer.json` gives one token two ids, or an id is taken and there is no row.
pub(crate) fn collect(
    tokenizer: &Tokenizer,
    vocab: &HashMap<&str, u32>,
    normal: &Rows,
    config: &TokenizerConfig,
    files: &dyn FileSet,
    rows: Option<u64>,
) -> Result<Vec<AddedToken>> {
    let mut list = Added {
        tokens: Vec::new(),
        by_text: HashMap::new(),
        by_id: HashMap::new(),
        vocab,
        last: vocab.values().max().copied(),
    };
    let free =
        |list: &Added<'_>| list.next().filter(|id| rows.is_some_and(|rows| u64::from(*id) < rows));
    for token in &tokenizer.added_tokens {
        if let Some(id) = list.id_of(&token.content)
            && id != token.id
        {
            return Err(Error::malformed(format!(
                "`tokenizer.json` gives token `{}` the ids {id} and {}",
                token.content, token.id
            )));
        }
        list.add(token.clone());
    }
    let listed = added_tokens_json(files)?.into_iter().map(|(content, id)| AddedToken {
        id,
        content,
        special: false,
        normalized: None,
    });
    for mut token in config.added_tokens()?.into_iter().chain(listed) {
        if let Some(id) = list.id_of(&token.content) {
            token.id = id;
        } else if let Some(other) = list.owner(token.id, normal) {
            token.id = free(&list).ok_or_else(|| {
                Error::malformed(format!(
                    "added token `{}` has the id {} of `{other}`, and the model has no other row",
                    token.content, token.id
                ))
            })?;
        }
        list.add(token);
    }
    for content in config.special_texts()? {
        if let Some(id) = list.id_of(&content).or_else(|| free(&list)) {
            list.add(AddedToken { id, content, special: true, normalized: None });
        }
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
    by_text: HashMap<String, u32>,
    /// Places in `tokens`.
    by_id: HashMap<u32, usize>,
    vocab: &'a HashMap<&'a str, u32>,
    /// The last id in use.
    last: Option<u32>,
}

impl Added<'_> {
    /// The id of a text, added or not.
    fn id_of(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).or_else(|| self.vocab.get(text)).copied()
    }

    /// The id after the last one in use.
    fn next(&self) -> Option<u32> {
        self.last.map_or(Some(0), |id| id.checked_add(1))
    }

    /// The text that an id belongs to.
    fn owner(&self, id: u32, normal: &Rows) -> Option<String> {
        let added = self.by_id.get(&id).and_then(|place| self.tokens.get(*place));
        let text = |token: &Token| String::from_utf8_lossy(&token.text).into_owned();
        added.map(|token| token.content.clone()).or_else(|| normal.get(id).map(text))
    }

    /// Adds a token unless its text has been.
    fn add(&mut self, token: AddedToken) {
        if self.by_text.insert(token.content.clone(), token.id).is_none() {
            self.last = self.last.max(Some(token.id));
            self.by_id.insert(token.id, self.tokens.len());
            self.tokens.push(token);
        }
    }
}

/// Puts added tokens in their rows.
///
/// # Errors
/// `Malformed` if an id belongs to another token.
pub(crate) fn put(rows: &mut Rows, added: &[AddedToken], byte_level: bool) -> Result<()> {
    for token in added {
        check(rows, token)?;
        let mut token = token.clone();
        if byte_level && token.normalized == Some(false) {
            // Runtimes look for these in raw text, so they must not be in the alphabet.
            token.content = bytes::decode(&token.content).unwrap_or(token.content);
        }
        rows.put(token.id, self::token(token, 0.0));
    }
    Ok(())
}

/// Whether the row of an added token is free, or its own.
///
/// # Errors
/// `Malformed` if it belongs to another token.
pub(crate) fn check(rows: &Rows, token: &AddedToken) -> Result<()> {
    match rows.get(token.id) {
        Some(other) if other.text != token.content.as_bytes() => Err(Error::malformed(format!(
            "tokens `{}` and `{}` both have the id {}",
            String::from_utf8_lossy(&other.text),
            token.content,
            token.id
        ))),
        _ => Ok(()),
    }
}

/// The token that an added one becomes.
pub(crate) fn token(token: AddedToken, score: f32) -> Token {
    let control = token.special || looks_special(&token.content);
    let text = if control { token.content } else { spaces(&token.content) };
    let kind = if control { TokenKind::Control } else { TokenKind::UserDefined };
    Token { text: text.into_bytes(), score, kind, added: true }
}

/// Whether a token stands for a byte: `<0x0A>`.
pub(crate) fn is_byte(text: &str) -> bool {
    text.strip_prefix("<0x")
        .and_then(|text| text.strip_suffix('>'))
        .is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// A text with the spaces that SentencePiece marks written as spaces: tokens that are found in raw
/// text cannot have the mark.
fn spaces(text: &str) -> String {
    text.replace('▁', " ")
}

/// Whether an added token is for control by its looks. Some models do not say so of tokens that
/// must not be read from plain text.
fn looks_special(text: &str) -> bool {
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
    fn tokenizer_json_has_the_say_about_ids() {
        let tokenizer: Tokenizer = serde_json::from_str(
            r#"{"model":{},"added_tokens":[{"id":3,"content":"<a>"},{"id":0,"content":"x"}]}"#,
        )
        .unwrap();
        struct Other;
        impl FileSet for Other {
            fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
                let json = r#"{"<a>": 7, "<b>": 5}"#;
                Ok((name == "added_tokens.json").then(|| json.as_bytes().to_vec()))
            }
            fn names(&self) -> Vec<String> {
                vec!["added_tokens.json".to_owned()]
            }
        }
        let config = TokenizerConfig::default();
        let run = |vocab: &[(&'static str, u32)], rows| {
            let vocab = vocab.iter().copied().collect();
            let normal = Rows::from_vocab(&[("z".to_owned(), 5)])?;
            let tokens = collect(&tokenizer, &vocab, &normal, &config, &Other, rows)?;
            Ok(tokens.into_iter().map(|token| (token.content, token.id)).collect::<Vec<_>>())
        };
        // `<b>` cannot have the id of `z`; it gets the next one, if there is a row for it.
        let expected = [("<a>", 3), ("x", 0), ("<b>", 6)].map(|(t, id)| (t.to_owned(), id));
        assert_eq!(run(&[("x", 0), ("z", 5)], Some(7)).unwrap(), expected);
        let error: Error = run(&[("x", 0), ("z", 5)], Some(6)).unwrap_err();
        assert!(error.to_string().contains("`<b>` has the id 5 of `z`"), "{error}");
        let error: Error = run(&[("x", 5)], Some(9)).unwrap_err();
        assert!(error.to_string().contains("`x` the ids 5 and 0"), "{error}");
    }
}
