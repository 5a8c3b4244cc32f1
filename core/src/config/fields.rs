//! Reading a JSON object field by field, with messages that name the key, the value and what is
//! allowed. (Derived deserializers stop at "unknown field" without saying where in a long list.)

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
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
/// `Config` with line and column; a key that occurs twice is one, as readers differ in which counts.
pub(crate) fn parse_json(text: &[u8]) -> Result<Value> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let strict: std::result::Result<Strict, _> = serde_json::from_slice(text);
    strict.map(|strict| strict.0).map_err(|error| match error.classify() {
        Category::Data => Error::config(error.to_string()),
        _ => Error::config("not valid JSON").with_source(error).with_hint(
            "look at the line and column: JSON has no comments, no comma after the last entry, and \
             texts in double quotes",
        ),
    })
}

/// A JSON value whose objects have no key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = from.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` occurs twice in one object")));
            }
            let Strict(value) = from.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_occur_once_at_any_depth() {
        let text = |json: &str| parse_json(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            text("{\"a\":1,\n\"a\":1}"),
            "key `a` occurs twice in one object at line 2 column 3"
        );
        let inner = text(r#"{"a":[1,{"b":{"c":1,"d":2,"c":3}}]}"#);
        assert!(inner.contains("key `c` occurs twice"), "{inner}");
        assert!(text(r#"{"a":1,"\u0061":2}"#).contains("key `a` occurs twice"));
        assert!(text("{").contains("not valid JSON"));
        assert!(text(&"[".repeat(100_000)).contains("not valid JSON"));
    }

    #[test]
    fn values_are_those_of_the_usual_parser() {
        let json =
            br#"{"a":[null,true,-5,18446744073709551615,0.1,1e300,"x\n\u00e9"],"b":{"a":{}}}"#;
        let usual: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(parse_json(json).unwrap(), usual);
    }
}
