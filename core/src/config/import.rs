//! `import_config.json`: which tensors, under which ids, in which block format.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::fields::{Fields, parse_json};
use crate::error::{Error, Result};

/// The block format used when nothing else is said.
pub const DEFAULT_BLOCK_FORMAT: &str = "B8x8";

/// The namespace of tensor ids; never changed, or every export profile would break.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f1c_6d7e_9a43_5b80_a1d4_676d_6174_0001);

/// The id of a tensor: UUIDv5 of its source name, so that the same tensor of every fine-tune has
/// the same id and one export profile serves them all.
#[must_use]
pub fn tensor_id(source_name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, source_name.as_bytes())
}

/// One line of the tensor map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// Tensor name in the source.
    pub source: String,
    /// Id in the store.
    pub target: Uuid,
    /// Whether it is imported.
    pub include: bool,
}

/// What the user wants imported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportConfig {
    /// `safetensors` or `gguf`; the model itself decides.
    pub source_format: String,
    /// Name of the block format.
    pub block_format: String,
    /// Tensors; empty means all, with automatic ids.
    pub tensor_map: Vec<Mapping>,
    /// Facts about the model, for people and for export.
    pub metadata: BTreeMap<String, Value>,
}

impl Default for ImportConfig {
    fn default() -> Self {
        Self {
            source_format: "safetensors".to_owned(),
            block_format: DEFAULT_BLOCK_FORMAT.to_owned(),
            tensor_map: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }
}

impl ImportConfig {
    /// Parses the file. The block format's name is checked later, against the registry.
    ///
    /// # Errors
    /// `Config`, naming key and value, for anything unknown, malformed or contradictory.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let value = parse_json(text)?;
        Self::from_value(&value)
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self> {
        let known = ["source_format", "block_format", "tensor_map", "metadata"];
        let fields = Fields::new(value, "", &known)?;
        let mut config = Self::default();
        if let Some(format) = fields.text("source_format")? {
            let known = ["safetensors", "gguf"].into_iter();
            let known = known.into_iter().find(|known| format.eq_ignore_ascii_case(known));
            let known =
                known.ok_or_else(|| fields.wrong("source_format", "`safetensors` or `gguf`"))?;
            config.source_format = known.to_owned();
        }
        if let Some(format) = fields.text("block_format")? {
            config.block_format = format.to_owned();
        }
        if let Some(metadata) = fields.map("metadata")? {
            config.metadata = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            super::metadata::validate(&config.metadata)?;
        }
        for (index, entry) in fields.list("tensor_map")?.iter().enumerate() {
            config.tensor_map.push(mapping(entry, &format!("tensor_map[{index}]"))?);
        }
        check_unique(&config.tensor_map)?;
        Ok(config)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Malformed` if a metadata value cannot be written as JSON (it can).
    pub fn to_json(&self) -> Result<String> {
        pretty(self)
    }
}

/// Indented JSON with a final newline.
///
/// # Errors
/// `Malformed` if `value` has no JSON form.
pub fn pretty(value: &impl Serialize) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::malformed("cannot be written as JSON").with_source(e))?;
    text.push('\n');
    Ok(text)
}

fn mapping(value: &Value, path: &str) -> Result<Mapping> {
    let fields = Fields::new(value, path, &["source", "target", "include"])?;
    let source = fields.text("source")?.filter(|s| !s.is_empty());
    let source = source.ok_or_else(|| fields.wrong("source", "the name of a tensor"))?;
    let target = match fields.text("target")? {
        Some(text) => parse_id(text).ok_or_else(|| fields.wrong("target", "a UUID"))?,
        None => tensor_id(source),
    };
    Ok(Mapping {
        source: source.to_owned(),
        target,
        include: fields.flag("include")?.unwrap_or(true),
    })
}

/// A UUID in its usual hyphenated form; the other forms the crate knows would not be file names.
pub(crate) fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() != 36 { None } else { Uuid::try_parse(text).ok() }
}

fn check_unique(map: &[Mapping]) -> Result<()> {
    let mut sources = BTreeMap::new();
    let mut targets = BTreeMap::new();
    for (index, entry) in map.iter().enumerate() {
        if let Some(first) = sources.insert(entry.source.as_str(), index) {
            return Err(Error::config(format!(
                "`tensor_map[{index}].source` is `{}`, as is `tensor_map[{first}].source`",
                entry.source
            )));
        }
        if let Some(first) = targets.insert(entry.target, index) {
            return Err(Error::config(format!(
                "`tensor_map[{index}].target` is `{}`, as is `tensor_map[{first}].target`",
                entry.target
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:?}", ImportConfig::parse(text.as_bytes()).unwrap_err())
    }

    #[test]
    fn ids_never_change() {
        assert_eq!(
            tensor_id("model.embed_tokens.weight"),
            Uuid::new_v5(&NAMESPACE, b"model.embed_tokens.weight")
        );
        assert_eq!(NAMESPACE.to_string(), "2f1c6d7e-9a43-5b80-a1d4-676d61740001");
    }

    #[test]
    fn round_trip() {
        let text = r#"{"source_format":"safetensors","block_format":"B16x4","tensor_map":[
            {"source":"a","target":"550e8400-e29b-41d4-a716-446655440000","include":false},
            {"source":"b"}],"metadata":{"vocab_size":3}}"#;
        let config = ImportConfig::parse(text.as_bytes()).unwrap();
        assert!(!config.tensor_map[0].include && config.tensor_map[1].include);
        assert_eq!(config.tensor_map[1].target, tensor_id("b"));
        let again = ImportConfig::parse(config.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(again, config);
        assert_eq!(ImportConfig::parse(b"{}").unwrap(), ImportConfig::default());
    }

    #[test]
    fn slips_are_named() {
        assert!(error(r#"{"block_fromat":"B8x8"}"#).contains("did you mean `block_format`"));
        assert!(
            error(r#"{"tensor_map":[{"source":"a","target":"xyz"}]}"#)
                .contains("`tensor_map[0].target` is `\"xyz\"`, expected a UUID")
        );
        assert!(
            error(r#"{"tensor_map":[{"source":"a"},{"source":"a"}]}"#)
                .contains("tensor_map[1].source")
        );
        assert!(
            error(r#"{"tensor_map":[{"source":"a","include":1}]}"#)
                .contains("expected true or false")
        );
        assert!(error(r#"{"source_format":"onnx"}"#).contains("expected `safetensors` or `gguf`"));
        assert!(error("{").contains("not valid JSON"));
        assert!(error("[]").contains("expected an object"));
    }
}
