//! A type as configs name it: by its name, or with parameters for the plugin that it is from.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::error::{Error, Result};

/// A type or recipe by name, and parameters if there are any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TypeSpec {
    /// The name.
    pub name: String,
    /// What the plugin is told.
    pub params: Option<Map<String, Value>>,
}

impl TypeSpec {
    /// Reads a name, or `{"type": NAME, "params": {…}}`; `path` is what messages call it.
    ///
    /// # Errors
    /// `Config` if it is neither.
    pub(super) fn parse(value: &Value, path: &str) -> Result<Self> {
        if let Value::String(name) = value {
            return Ok(name.as_str().into());
        }
        if !value.is_object() {
            return Err(Error::config(format!(
                "`{path}` is `{value}`, expected a type name, or an object with `type` and `params`"
            )));
        }
        let fields = Fields::new(value, path, &["type", "params"])?;
        let name = fields.text("type")?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| fields.wrong("type", "the name of a type"))?.to_owned();
        Ok(Self { name, params: fields.map("params")?.cloned() })
    }

    /// The parameters as the plugin gets them: JSON with sorted keys.
    #[must_use]
    pub fn params_text(&self) -> Option<String> {
        self.params.as_ref().map(|params| Value::Object(params.clone()).to_string())
    }
}

impl From<&str> for TypeSpec {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), params: None }
    }
}

impl std::fmt::Display for TypeSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for TypeSpec {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.params {
            None => self.name.serialize(to),
            Some(params) => json!({"type": self.name, "params": params}).serialize(to),
        }
    }
}
