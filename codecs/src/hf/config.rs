//! `tokenizer_config.json`: names of special tokens, flags, added tokens, chat template.

use gmat_core::token::FileSet;
use gmat_core::{Error, Result, ResultExt};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::files;
use super::json::AddedToken;

/// Name of the file.
const FILE: &str = "tokenizer_config.json";

/// A tokenizer config. Where the file is missing, `special_tokens_map.json` stands in for it: it
/// holds the names of the special tokens.
#[derive(Debug, Default)]
pub(crate) struct TokenizerConfig {
    json: Map<String, Value>,
}

impl TokenizerConfig {
    /// Reads the config; it is empty if there is none.
    ///
    /// # Errors
    /// `Malformed` if a file is not a JSON object.
    pub(crate) fn read(files: &dyn FileSet) -> Result<Self> {
        for name in [FILE, "special_tokens_map.json"] {
            if let Some(json) = files::json(files, name)? {
                return Ok(Self { json });
            }
        }
        Ok(Self::default())
    }

    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// The value of a key, null included.
    pub(crate) fn value(&self, key: &str) -> &Value {
        self.json.get(key).unwrap_or(&Value::Null)
    }

    /// A truth value; anything else counts as absent, as it does for the libraries that read it.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.value(key).as_bool()
    }

    /// The class that HuggingFace's library would make of it.
    pub(crate) fn class(&self) -> Option<&str> {
        self.value("tokenizer_class").as_str()
    }

    /// The text of a special token: of `bos_token` for the role `bos`. It may be a text or an
    /// object with the text under `content`; an empty one is none.
    ///
    /// # Errors
    /// `Malformed` if it is something else.
    pub(crate) fn token(&self, role: &str) -> Result<Option<String>> {
        let key = format!("{role}_token");
        let text = content(self.value(&key)).context(|| format!("`{key}` in `{FILE}`"))?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// The texts of all special tokens, in a fixed order.
    ///
    /// # Errors
    /// `Malformed` if one is neither a text nor an object with one.
    pub(crate) fn special_texts(&self) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for role in ["bos", "eos", "unk", "sep", "pad", "cls", "mask"] {
            texts.extend(self.token(role)?);
        }
        let lists = ["additional_special_tokens", "extra_special_tokens"];
        for value in lists.map(|key| self.value(key)) {
            let members: Vec<&Value> = match value {
                Value::Array(list) => list.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            };
            for member in members {
                texts.extend(content(member).context(|| format!("special tokens in `{FILE}`"))?);
            }
        }
        texts.retain(|text| !text.is_empty());
        Ok(texts)
    }

    /// The tokens of `added_tokens_decoder`, by id.
    ///
    /// # Errors
    /// `Malformed` if an entry is not an id with a token.
    pub(crate) fn added_tokens(&self) -> Result<Vec<AddedToken>> {
        #[derive(Deserialize)]
        struct Entry {
            content: String,
            #[serde(default)]
            special: bool,
            #[serde(default)]
            normalized: Option<bool>,
        }
        let map = match self.value("added_tokens_decoder") {
            Value::Null => return Ok(Vec::new()),
            Value::Object(map) => map,
            _ => return Err(Error::malformed(format!("`added_tokens_decoder` in `{FILE}`"))),
        };
        let mut tokens = Vec::with_capacity(map.len());
        for (id, value) in map {
            let place = || format!("entry `{id}` of `added_tokens_decoder` in `{FILE}`");
            let number = id
                .parse::<u32>()
                .map_err(|error| Error::malformed("not an id").with_source(error))
                .context(place)?;
            let entry = Entry::deserialize(value)
                .map_err(|error| Error::malformed("not a token").with_source(error))
                .context(place)?;
            tokens.push(AddedToken {
                id: number,
                content: entry.content,
                special: entry.special,
                normalized: entry.normalized,
            });
        }
        tokens.sort_by_key(|token| token.id);
        Ok(tokens)
    }
}

/// The text of a token that is a text, or an object with the text under `content`, or nothing.
fn content(value: &Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Object(object) => match object.get("content") {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(Error::malformed("an object without a text under `content`")),
        },
        other => Err(Error::malformed(format!("`{other}` is not a token"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: Value) -> TokenizerConfig {
        let Value::Object(json) = json else { panic!("not an object") };
        TokenizerConfig { json }
    }

    #[test]
    fn tokens_are_texts_objects_or_nothing() {
        let config = config(serde_json::json!({
            "bos_token": {"content": "<s>", "special": true}, "eos_token": "</s>",
            "pad_token": null, "unk_token": "", "mask_token": 7,
            "additional_special_tokens": ["<a>", {"content": "<b>"}]
        }));
        assert_eq!(config.token("bos").unwrap().as_deref(), Some("<s>"));
        assert_eq!(config.token("eos").unwrap().as_deref(), Some("</s>"));
        for role in ["pad", "unk", "sep"] {
            assert_eq!(config.token(role).unwrap(), None);
        }
        assert!(config.token("mask").is_err() && config.special_texts().is_err());
    }

    #[test]
    fn added_tokens_come_by_id() {
        let good = config(serde_json::json!({"added_tokens_decoder": {
            "10": {"content": "x", "special": true}, "9": {"content": "y"}}}));
        let ids: Vec<_> = good.added_tokens().unwrap().iter().map(|t| t.id).collect();
        assert_eq!(ids, [9, 10]);
        for bad in [
            serde_json::json!({"-1": {"content": "x"}}),
            serde_json::json!({"a": {"content": "x"}}),
            serde_json::json!({"1": {"content": 5}}),
            serde_json::json!([1]),
        ] {
            let config = config(serde_json::json!({"added_tokens_decoder": bad}));
            assert!(config.added_tokens().is_err());
        }
    }
}
