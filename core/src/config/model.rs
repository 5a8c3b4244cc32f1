//! A model's `config.json`, with the text part of nested configs laid over the root.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Keys under which multimodal models keep the config of their language part.
const NESTED: [&str; 3] = ["text_config", "language_config", "llm_config"];

/// How messages call the `metadata` that a user may edit.
const EDITED: &str = "`metadata` of the import config";

/// Hyperparameters of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelConfig {
    root: Map<String, Value>,
    merged: Map<String, Value>,
    /// Whether the values come from elsewhere, see [`Self::place`].
    stand_in: bool,
    /// Keys whose values were put over what the file says.
    edited: BTreeSet<String>,
    /// Further JSON files of the model, by path.
    beside: BTreeMap<String, Value>,
}

impl ModelConfig {
    /// Parses `config.json`.
    ///
    /// # Errors
    /// `Malformed` if it is not a JSON object.
    pub fn parse(json: &[u8]) -> Result<Self> {
        // Editors on some systems put a byte order mark in front.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let value: Value = serde_json::from_slice(json)
            .map_err(|e| Error::malformed("`config.json` is not valid JSON").with_source(e))
            .map_err(|e| e.with_hint("the file is damaged or half downloaded: get it again"))?;
        match value {
            Value::Object(root) => Ok(Self::from_map(root)),
            _ => Err(Error::malformed("`config.json` is not a JSON object")),
        }
    }

    /// A config of these keys.
    #[must_use]
    pub fn from_map(root: Map<String, Value>) -> Self {
        let mut merged = root.clone();
        for key in NESTED {
            if let Some(Value::Object(nested)) = root.get(key) {
                for (key, value) in nested {
                    merged.insert(key.clone(), value.clone());
                }
            }
        }
        Self { root, merged, ..Self::default() }
    }

    /// These values, from the metadata of the import config: the model came without `config.json`,
    /// and messages must not send the user there.
    #[must_use]
    pub fn without_file(mut self) -> Self {
        self.stand_in = true;
        self
    }

    /// With another JSON file of the model, by its path in the folder.
    #[must_use]
    pub fn with_beside(mut self, path: impl Into<String>, content: Value) -> Self {
        self.beside.insert(path.into(), content);
        self
    }

    /// Another JSON file of the model, by its path in the folder.
    #[must_use]
    pub fn beside(&self, path: &str) -> Option<&Value> {
        self.beside.get(path)
    }

    /// Where the values come from, as messages call it.
    #[must_use]
    pub fn place(&self) -> &'static str {
        if self.stand_in { EDITED } else { "`config.json`" }
    }

    /// Where the value under the first of these keys comes from, as messages call it: not from the
    /// file if it was edited.
    #[must_use]
    pub fn place_of(&self, keys: &[&str]) -> &'static str {
        match self.present(keys).is_some_and(|key| self.edited.contains(key)) {
            true => EDITED,
            false => self.place(),
        }
    }

    /// Puts a value over what the file says; [`Self::root`] stays as it is.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.merged.insert(key.to_owned(), value);
        self.edited.insert(key.to_owned());
    }

    /// The keys as they are in the file.
    #[must_use]
    pub fn root(&self) -> &Map<String, Value> {
        &self.root
    }

    /// Whether the model wraps a language model in something larger.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        NESTED.iter().any(|key| self.root.get(*key).is_some_and(Value::is_object))
    }

    /// The class name of the (text) model: `architectures[0]`; that of the whole model if the
    /// nested config names none (it is often present and null there).
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        [&self.merged, &self.root].into_iter().find_map(|keys| match keys.get("architectures")? {
            // Written by hand, it is often just the name.
            Value::String(name) => Some(name.as_str()).filter(|name| !name.is_empty()),
            names => names.as_array()?.first()?.as_str(),
        })
    }

    /// The first of `keys` that is present and not null.
    #[must_use]
    pub fn value(&self, keys: &[&str]) -> Option<&Value> {
        self.merged.get(self.present(keys)?)
    }

    /// The first of `keys` that is present and not null.
    fn present<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        let stated = |key: &&str| self.merged.get(*key).is_some_and(|value| !value.is_null());
        keys.iter().copied().find(stated)
    }

    /// Whether the key is there, if only as null.
    #[must_use]
    pub fn is_stated(&self, key: &str) -> bool {
        self.merged.contains_key(key)
    }

    /// An unsigned integer under the first of `keys` that is present.
    ///
    /// # Errors
    /// `Malformed` if it is something else.
    pub fn u64(&self, keys: &[&str]) -> Result<Option<u64>> {
        self.typed(keys, "a non-negative integer", |value| {
            // Python writes some counts as floats.
            value.as_u64().or_else(|| whole(value.as_f64()?))
        })
    }

    /// Like [`Self::u64`], for a key without which nothing works.
    ///
    /// # Errors
    /// `Malformed` if it is missing or something else.
    pub fn require_u64(&self, keys: &[&str]) -> Result<u64> {
        self.u64(keys)?.ok_or_else(|| self.missing(keys))
    }

    /// A number under the first of `keys` that is present.
    ///
    /// # Errors
    /// `Malformed` if it is something else.
    pub fn f64(&self, keys: &[&str]) -> Result<Option<f64>> {
        self.typed(keys, "a number", Value::as_f64)
    }

    /// Like [`Self::f64`], for a key without which nothing works.
    ///
    /// # Errors
    /// `Malformed` if it is missing or something else.
    pub fn require_f64(&self, keys: &[&str]) -> Result<f64> {
        self.f64(keys)?.ok_or_else(|| self.missing(keys))
    }

    /// A truth value under the first of `keys` that is present.
    ///
    /// # Errors
    /// `Malformed` if it is something else.
    pub fn bool(&self, keys: &[&str]) -> Result<Option<bool>> {
        self.typed(keys, "true or false", Value::as_bool)
    }

    /// A text under the first of `keys` that is present.
    ///
    /// # Errors
    /// `Malformed` if it is something else.
    pub fn str(&self, keys: &[&str]) -> Result<Option<&str>> {
        self.typed(keys, "a string", Value::as_str)
    }

    /// An object under the first of `keys` that is present, as a config of its own.
    ///
    /// # Errors
    /// `Malformed` if it is something else.
    pub fn object(&self, keys: &[&str]) -> Result<Option<Self>> {
        let object = self.typed(keys, "an object", Value::as_object)?;
        Ok(object.map(|map| Self { stand_in: self.stand_in, ..Self::from_map(map.clone()) }))
    }

    fn missing(&self, keys: &[&str]) -> Error {
        let error = Error::malformed(format!("{} has no `{}`", self.place(), keys.join("` or `")));
        match self.stand_in {
            true => error.with_hint(
                "the model came without `config.json`: put it beside the weights and import again",
            ),
            false => error,
        }
    }

    fn typed<'a, T>(
        &'a self,
        keys: &[&str],
        what: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(keys) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| {
            let mut shown = value.to_string();
            if shown.len() > 60 {
                shown = shown.chars().take(60).chain("…".chars()).collect();
            }
            Error::malformed(format!(
                "`{}` in {} is `{shown}`, expected {what}",
                self.present(keys).unwrap_or_default(),
                self.place_of(keys)
            ))
        })
    }
}

/// The integer that `number` is exactly, if it is one below 2^53.
fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just here"
    )]
    let integer = number as u64;
    (integer < 1 << 53 && integer as f64 == number).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_text_config_wins() {
        let json = br#"{"architectures":["X"],"hidden_size":1,
            "text_config":{"hidden_size":2,"rope_theta":1e4,"n":3.0,"architectures":["Y"]}}"#;
        let Ok(config) = ModelConfig::parse(json) else { unreachable!() };
        assert_eq!(config.u64(&["hidden_size"]).ok(), Some(Some(2)));
        assert_eq!(config.u64(&["n"]).ok(), Some(Some(3)));
        assert_eq!(config.f64(&["rope_theta"]).ok(), Some(Some(1e4)));
        assert_eq!(config.architecture(), Some("Y"));
        assert!(config.is_nested());
        assert!(config.u64(&["architectures"]).is_err());
        assert!(config.require_u64(&["absent"]).is_err());
        let missing = |config: &ModelConfig| {
            config.require_u64(&["a", "b"]).err().map(|error| error.message().to_owned())
        };
        assert_eq!(missing(&config).as_deref(), Some("`config.json` has no `a` or `b`"));
        let stand_in = config.clone().without_file();
        let told = missing(&stand_in).unwrap_or_default();
        assert_eq!(told, "`metadata` of the import config has no `a` or `b`");
        let told = stand_in.u64(&["architectures"]).err().map(|error| error.to_string());
        assert!(told.is_some_and(|told| told.contains("in `metadata` of the import config is")));
        assert!(ModelConfig::parse(b"[]").is_err());
        assert!(ModelConfig::parse(b"\xef\xbb\xbf{}").is_ok());
    }

    #[test]
    fn a_class_may_be_a_plain_text() {
        for (json, class) in [(r#""X""#, Some("X")), (r#"["Y","Z"]"#, Some("Y")), (r#""""#, None)] {
            let json = format!(r#"{{"architectures":{json}}}"#);
            let Ok(config) = ModelConfig::parse(json.as_bytes()) else { unreachable!() };
            assert_eq!(config.architecture(), class);
        }
    }

    #[test]
    fn messages_say_where_an_edited_value_is() {
        let Ok(mut config) = ModelConfig::parse(br#"{"a":"x","b":"y"}"#) else { unreachable!() };
        config.set("b", "z".into());
        let told = |keys: &[&str]| config.u64(keys).err().map(|e| e.to_string());
        assert_eq!(
            told(&["a"]).as_deref(),
            Some("`a` in `config.json` is `\"x\"`, expected a non-negative integer")
        );
        assert!(told(&["c", "b"]).is_some_and(|told| told.contains("`b` in `metadata` of the")));
    }

    #[test]
    fn a_nested_config_without_a_class_leaves_the_outer_one() {
        for nested in ["null", "[]"] {
            let json =
                format!(r#"{{"architectures":["X"],"text_config":{{"architectures":{nested}}}}}"#);
            let Ok(config) = ModelConfig::parse(json.as_bytes()) else { unreachable!() };
            assert_eq!(config.architecture(), Some("X"));
        }
    }
}
