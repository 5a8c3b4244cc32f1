//! A vocabulary with everything a runtime needs to use it.

use std::collections::BTreeMap;

use super::{Special, TokenKind};
use crate::error::{Error, Result};
use crate::format::gguf::Value;

/// Most tokens of a vocabulary: sixty times the largest in use.
pub const MAX_TOKENS: usize = 1 << 24;

/// Most rows without a token that are filled with `[PAD<id>]`. Models round their vocabulary up by
/// some thousands of rows at most; a config may claim anything.
pub const MAX_PADDING: usize = 1 << 20;

/// One token; its id is its place in [`Vocab::tokens`].
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The text as GGUF has it: bytes, in the byte-level alphabet for byte-level vocabularies.
    pub text: Vec<u8>,
    /// Merge priority; 0 where the vocabulary has no scores.
    pub score: f32,
    /// What it is.
    pub kind: TokenKind,
    /// Whether it was added to the vocabulary, and is found in text before any splitting.
    pub added: bool,
}

/// A chat template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// `default`, or what the template is for, such as `tool_use`.
    pub name: String,
    /// Jinja source.
    pub text: String,
}

/// A vocabulary with everything a runtime needs to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocab {
    /// What tokenizes with it: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE), …
    pub model: String,
    /// How text is split before tokenization, by the name that runtimes know.
    pub pre: String,
    /// Tokens by id, without gaps; texts are distinct.
    pub tokens: Vec<Token>,
    /// Whether the scores mean something.
    pub scored: bool,
    /// Merges in order of priority, `left right`, with no further space inside.
    pub merges: Vec<Vec<u8>>,
    /// Ids of tokens with a role. An id may lie in the padding above [`Self::tokens`].
    pub special: BTreeMap<Special, u32>,
    /// Whether a runtime puts `bos` in front.
    pub add_bos: Option<bool>,
    /// Whether a runtime puts `eos` at the end.
    pub add_eos: Option<bool>,
    /// Whether a runtime puts `sep` between two texts.
    pub add_sep: Option<bool>,
    /// Whether a runtime puts a space in front of the text.
    pub add_space_prefix: Option<bool>,
    /// Chat templates; at most one is called `default`.
    pub templates: Vec<Template>,
    /// Further GGUF keys with their values.
    pub extra: Vec<(String, Value)>,
}

impl Vocab {
    /// An empty vocabulary of that model kind, pre-tokenizer `default`.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            pre: "default".to_owned(),
            tokens: Vec::new(),
            scored: false,
            merges: Vec::new(),
            special: BTreeMap::new(),
            add_bos: None,
            add_eos: None,
            add_sep: None,
            add_space_prefix: None,
            templates: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Ids in the order of their texts.
    ///
    /// # Errors
    /// `Malformed` if two tokens have the same text: runtimes refuse such a vocabulary. `Limit` if
    /// there are more than [`MAX_TOKENS`].
    pub fn sorted_ids(&self) -> Result<Vec<u32>> {
        let count = u32::try_from(self.tokens.len())
            .ok()
            .filter(|_| self.tokens.len() <= MAX_TOKENS)
            .ok_or_else(|| {
                Error::limit(format!(
                    "a vocabulary of {} tokens; at most {MAX_TOKENS} are supported",
                    self.tokens.len()
                ))
            })?;
        let text = |id: &u32| self.tokens.get(*id as usize).map(|token| token.text.as_slice());
        let mut ids: Vec<u32> = (0..count).collect();
        // Ids break ties, so that the message below is always about the same pair.
        ids.sort_unstable_by(|a, b| text(a).cmp(&text(b)).then(a.cmp(b)));
        for pair in ids.windows(2) {
            if let [a, b] = pair
                && text(a) == text(b)
            {
                let shown = String::from_utf8_lossy(text(a).unwrap_or_default()).into_owned();
                return Err(Error::malformed(format!("token `{shown}` has the ids {a} and {b}")));
            }
        }
        Ok(ids)
    }
}

/// The token that stands for a row of the model without one.
#[must_use]
pub fn pad_token(id: usize, score: f32) -> Token {
    Token { text: format!("[PAD{id}]").into_bytes(), score, kind: TokenKind::Unused, added: false }
}
