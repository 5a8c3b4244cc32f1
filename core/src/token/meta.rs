//! A vocabulary as GGUF keys.
//!
//! Keys: the "Tokenizer" part of the GGUF specification, and for its gaps the names that the
//! reference runtime looks up.

use std::collections::BTreeMap;

use super::{MAX_PADDING, Special, TokenKind, Vocab, pad_token};
use crate::error::{Error, Result, nearest};
use crate::format::gguf::{Array, Meta, Value};

/// The model kind that comes from SentencePiece; only its converters leave ids beyond the model out.
const SENTENCEPIECE: &str = "llama";

/// The score of padding in vocabularies with scores: below every other.
const PADDING_SCORE: f32 = -10_000.0;

impl Vocab {
    /// Writes the `tokenizer.*` keys. `vocab_size` is the number of rows of the model's embedding:
    /// rows without a token get `[PAD<id>]`. `special_token_keys` (role → GGUF key) overrides the
    /// keys of special ids; an empty key leaves that id out.
    ///
    /// # Errors
    /// `Config` if `special_token_keys` names a role that does not exist or a key that is taken;
    /// `Shape` if the model has fewer rows than the vocabulary tokens; `Limit` if there are more
    /// than [`MAX_PADDING`] rows to fill.
    pub fn to_meta(
        &self,
        vocab_size: Option<u64>,
        special_token_keys: &BTreeMap<String, String>,
        out: &mut Meta,
    ) -> Result<()> {
        let overrides = overrides(special_token_keys)?;
        let rows = self.rows(vocab_size)?;
        out.set("tokenizer.ggml.model", self.model.as_str());
        out.set("tokenizer.ggml.pre", self.pre.as_str());
        self.write_tokens(rows, out);
        if !self.merges.is_empty() {
            out.set("tokenizer.ggml.merges", Value::Array(Array::String(self.merges.clone())));
        }
        for (name, value) in [
            ("tokenizer.ggml.add_bos_token", self.add_bos),
            ("tokenizer.ggml.add_eos_token", self.add_eos),
            ("tokenizer.ggml.add_sep_token", self.add_sep),
            ("tokenizer.ggml.add_space_prefix", self.add_space_prefix),
        ] {
            if let Some(value) = value {
                out.set(name, value);
            }
        }
        self.write_templates(out);
        for (key, value) in &self.extra {
            out.set(key.as_str(), value.clone());
        }
        // Last, so that an overriding key meets every other key of the tokenizer.
        self.write_special(rows, &overrides, out)
    }

    /// The number of tokens to write.
    fn rows(&self, vocab_size: Option<u64>) -> Result<usize> {
        let count = self.tokens.len();
        let Some(size) = vocab_size else { return Ok(count) };
        let rows =
            usize::try_from(size).ok().filter(|rows| rows.saturating_sub(count) <= MAX_PADDING);
        let Some(rows) = rows else {
            return Err(Error::limit(format!(
                "the model has {size} token rows, but the tokenizer only {count} tokens; \
                 at most {MAX_PADDING} rows can be padded"
            )));
        };
        let surplus = self.tokens.get(rows..).unwrap_or_default();
        let droppable = self.model == SENTENCEPIECE
            || surplus.iter().all(|token| token.kind == TokenKind::Unused);
        if droppable {
            return Ok(rows);
        }
        Err(Error::shape(format!(
            "the tokenizer has {count} tokens, but the model only {size} rows for them"
        )))
    }

    fn write_tokens(&self, rows: usize, out: &mut Meta) {
        let padding = (self.tokens.len()..rows).map(|id| pad_token(id, PADDING_SCORE));
        let mut texts = Vec::with_capacity(rows);
        let mut scores = Vec::with_capacity(if self.scored { rows } else { 0 });
        let mut kinds = Vec::with_capacity(rows);
        for token in self.tokens.iter().take(rows).cloned().chain(padding) {
            texts.push(token.text);
            kinds.push(token.kind as i32);
            if self.scored {
                scores.push(token.score);
            }
        }
        out.set("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
        if self.scored {
            out.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
        }
        out.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    }

    fn write_templates(&self, out: &mut Meta) {
        let mut names = Vec::new();
        for template in self.templates.iter().filter(|template| template.name != "default") {
            out.set(format!("tokenizer.chat_template.{}", template.name), template.text.as_str());
            names.push(template.name.clone().into_bytes());
        }
        if !names.is_empty() {
            out.set("tokenizer.chat_templates", Value::Array(Array::String(names)));
        }
        if let Some(default) = self.templates.iter().find(|template| template.name == "default") {
            out.set("tokenizer.chat_template", default.text.as_str());
        }
    }

    fn write_special(
        &self,
        rows: usize,
        overrides: &BTreeMap<Special, &str>,
        out: &mut Meta,
    ) -> Result<()> {
        for (special, &id) in &self.special {
            if self.model == SENTENCEPIECE && id as usize >= rows {
                continue;
            }
            let key = match overrides.get(special) {
                // Runtimes know no such role, and the reference converter leaves it out.
                None if *special == Special::Cls => continue,
                None => special.gguf_key(),
                Some(&"") => continue,
                Some(&key) => key,
            };
            if out.value(key).is_some() {
                return Err(Error::config(format!(
                    "with these `special_token_keys` the id of `{}` goes under `{key}`, which is taken",
                    special.name()
                )));
            }
            out.set(key, id);
        }
        Ok(())
    }
}

/// The keys by role.
fn overrides(keys: &BTreeMap<String, String>) -> Result<BTreeMap<Special, &str>> {
    let mut known = BTreeMap::new();
    for (name, key) in keys {
        let Some(special) = Special::from_name(name) else {
            let names = Special::ALL.map(Special::name);
            let error = Error::config(format!(
                "`special_token_keys` names `{name}`; valid are: {}",
                names.join(", ")
            ));
            return Err(match nearest(name, names) {
                Some(close) => error.with_hint(format!("did you mean `{close}`?")),
                None => error,
            });
        };
        known.insert(special, key.as_str());
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::token::{Template, Token};

    fn vocab(model: &str) -> Vocab {
        let mut vocab = Vocab::new(model);
        for text in ["a", "b", "</s>"] {
            let kind = if text.len() > 1 { TokenKind::Control } else { TokenKind::Normal };
            vocab.tokens.push(Token { text: text.into(), score: -1.0, kind, added: false });
        }
        vocab.special.insert(Special::Eos, 2);
        vocab.special.insert(Special::Pad, 4);
        vocab
    }

    fn keys(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn rows_without_a_token_are_padded() {
        let mut meta = Meta::new();
        let mut vocab = vocab("llama");
        vocab.scored = true;
        vocab.to_meta(Some(5), &keys(&[]), &mut meta).unwrap();
        let texts: Vec<Vec<u8>> =
            ["a", "b", "</s>", "[PAD3]", "[PAD4]"].map(|t| t.as_bytes().to_vec()).into();
        assert_eq!(meta.value("tokenizer.ggml.tokens"), Some(&Value::Array(Array::String(texts))));
        assert_eq!(
            meta.value("tokenizer.ggml.token_type"),
            Some(&Value::Array(Array::I32(vec![1, 1, 3, 5, 5])))
        );
        assert_eq!(
            meta.value("tokenizer.ggml.scores"),
            Some(&Value::Array(Array::F32(vec![-1.0, -1.0, -1.0, -10_000.0, -10_000.0])))
        );
        assert_eq!(meta.value("tokenizer.ggml.padding_token_id"), Some(&Value::U32(4)));
        assert_eq!(meta.value("tokenizer.ggml.merges"), None);
    }

    #[test]
    fn too_few_or_absurdly_many_rows_are_refused() {
        let run = |model, size| vocab(model).to_meta(Some(size), &keys(&[]), &mut Meta::new());
        assert_eq!(run("gpt2", 2).unwrap_err().kind(), ErrorKind::Shape);
        assert_eq!(run("gpt2", 1 << 40).unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(run("gpt2", u64::MAX).unwrap_err().kind(), ErrorKind::Limit);
        let mut meta = Meta::new();
        vocab("llama").to_meta(Some(2), &keys(&[]), &mut meta).unwrap();
        assert_eq!(meta.value("tokenizer.ggml.eos_token_id"), None);
    }

    #[test]
    fn special_keys_can_be_renamed_switched_off_and_misspelled() {
        let mut meta = Meta::new();
        let map = keys(&[("eos", "my.eos"), ("pad", ""), ("bos", "unused")]);
        vocab("gpt2").to_meta(None, &map, &mut meta).unwrap();
        assert_eq!(meta.value("my.eos"), Some(&Value::U32(2)));
        assert_eq!(meta.value("tokenizer.ggml.eos_token_id"), None);
        assert_eq!(meta.value("tokenizer.ggml.padding_token_id"), None);

        let error =
            vocab("gpt2").to_meta(None, &keys(&[("pda", "x")]), &mut Meta::new()).unwrap_err();
        assert_eq!((error.kind(), error.hint()), (ErrorKind::Config, Some("did you mean `pad`?")));
        let error = vocab("gpt2")
            .to_meta(None, &keys(&[("eos", "tokenizer.ggml.tokens")]), &mut Meta::new())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let both = keys(&[("eos", "x"), ("pad", "x")]);
        assert!(vocab("gpt2").to_meta(None, &both, &mut Meta::new()).is_err());
    }

    #[test]
    fn templates_are_split_by_name() {
        let mut vocab = vocab("gpt2");
        for name in ["default", "tool_use"] {
            vocab.templates.push(Template { name: name.into(), text: format!("<{name}>") });
        }
        let mut meta = Meta::new();
        vocab.to_meta(None, &keys(&[]), &mut meta).unwrap();
        let text = |key: &str| meta.value(key).and_then(Value::as_str);
        assert_eq!(text("tokenizer.chat_template"), Some("<default>"));
        assert_eq!(text("tokenizer.chat_template.tool_use"), Some("<tool_use>"));
        assert_eq!(
            meta.value("tokenizer.chat_templates"),
            Some(&Value::Array(Array::String(vec![b"tool_use".to_vec()])))
        );
    }
}
