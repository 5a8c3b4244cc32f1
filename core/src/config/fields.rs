//! Reading a JSON object field by field, with messages that name the key, the value and what is
//! allowed. (Derived deserializers stop at "unknown field" without saying where in a long list.)

use serde_json::{Map, Value};

use crate::error::{Error, Result, nearest};

/// An object of a config file, and the path that leads to it, for messages.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// Checks that `value` is an object with no other keys than `known`.
    pub(crate) fn new(value: &'a Value, path: &str, known: &[&str]) -> Result<Self> {
        let Value::Object(map) = value else {
            let what = if path.is_empty() { "the config".to_owned() } else { format!("`{path}`") };
            return Err(Error::config(format!("{what} is {}, expected an object", shown(value))));
        };
        let fields = Self { map, path: path.to_owned() };
        for key in map.keys() {
            if !known.contains(&key.as_str()) {
                let error = Error::config(format!(
                    "unknown key `{}`; allowed are: {}",
                    fields.path_of(key),
                    known.join(", ")
                ));
                return Err(match nearest(key, known.iter().copied()) {
                    Some(name) => error.with_hint(format!("did you mean `{name}`?")),
                    None => error,
                });
            }
        }
        Ok(fields)
    }

    /// The full name of a key.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A value that is present and not null.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// "`key` is `value`, expected …".
    pub(crate) fn wrong(&self, key: &str, expected: &str) -> Error {
        let value = self.map.get(key).unwrap_or(&Value::Null);
        Error::config(format!("`{}` is {}, expected {expected}", self.path_of(key), shown(value)))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        self.value(key)
            .map(|value| convert(value).ok_or_else(|| self.wrong(key, expected)))
            .transpose()
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a string", Value::as_str)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(crate) fn count(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a positive integer", |v| v.as_u64().filter(|&n| n > 0))
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn list(&self, key: &str) -> Result<&'a [Value]> {
        Ok(self.typed(key, "a list", Value::as_array)?.map_or(&[], Vec::as_slice))
    }

    pub(crate) fn map(&self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        self.typed(key, "an object", Value::as_object)
    }
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

/// Parses the text of a config file.
///
/// # Errors
/// `Config` with line and column.
pub(crate) fn parse_json(text: &[u8]) -> Result<Value> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice(text).map_err(|e| Error::config("not valid JSON").with_source(e))
}
