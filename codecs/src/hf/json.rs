//! `tokenizer.json`.
//!
//! Definition: the serialization of HuggingFace's `tokenizers` library. Large parts (vocabulary,
//! merges) are read straight into lists; the pipeline stays JSON and is looked at piece by piece.

use std::fmt;

use gmat_core::Result;
use gmat_core::token::FileSet;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::files;

/// Name of the file.
pub(crate) const FILE: &str = "tokenizer.json";

/// A tokenizer.
#[derive(Debug, Deserialize)]
pub(crate) struct Tokenizer {
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(crate) normalizer: Value,
    #[serde(default)]
    pub(crate) pre_tokenizer: Value,
    #[serde(default)]
    pub(crate) post_processor: Value,
    #[serde(default)]
    pub(crate) decoder: Value,
    pub(crate) model: Model,
}

/// A token that was added to the vocabulary of the model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) special: bool,
    /// Whether it is looked for in normalized text; by default it is unless it is special.
    #[serde(default)]
    pub(crate) normalized: Option<bool>,
}

/// What turns pieces of text into tokens.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    /// Absent in the oldest files, which are all BPE.
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) vocab: VocabList,
    #[serde(default)]
    pub(crate) merges: Merges,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) ignore_merges: bool,
    #[serde(default)]
    pub(crate) unk_token: Option<String>,
    /// The unknown token of Unigram, which names it by its place in the list.
    #[serde(default)]
    pub(crate) unk_id: Option<u32>,
    #[serde(default)]
    pub(crate) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(crate) end_of_word_suffix: Option<String>,
}

impl Tokenizer {
    /// Reads the file; `None` if it does not exist.
    ///
    /// # Errors
    /// `Malformed` if it is not a tokenizer.
    pub(crate) fn read(files: &dyn FileSet) -> Result<Option<Self>> {
        files::json(files, FILE)
    }
}

/// What kind of tokenizer a `tokenizer.json` has, without its vocabulary.
#[derive(Debug, Deserialize)]
pub(crate) struct Outline {
    #[serde(default)]
    pub(crate) pre_tokenizer: Value,
    #[serde(default)]
    pub(crate) decoder: Value,
    pub(crate) model: ModelOutline,
}

/// The flags of a model.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelOutline {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) byte_fallback: bool,
    #[serde(default)]
    merges: Option<IgnoredAny>,
    #[serde(default)]
    max_input_chars_per_word: Option<IgnoredAny>,
}

impl Outline {
    /// Reads the file; `None` if it does not exist.
    ///
    /// # Errors
    /// `Malformed` if it is not a tokenizer.
    pub(crate) fn read(files: &dyn FileSet) -> Result<Option<Self>> {
        files::json(files, FILE)
    }

    /// Whether it is BPE.
    pub(crate) fn is_bpe(&self) -> bool {
        self.model.kind.as_deref().map_or(self.model.merges.is_some(), |kind| kind == "BPE")
    }

    /// Whether it is WordPiece.
    pub(crate) fn is_wordpiece(&self) -> bool {
        let limited = self.model.max_input_chars_per_word.is_some();
        self.model.kind.as_deref().map_or(limited, |kind| kind == "WordPiece")
    }

    /// Whether it is Unigram.
    pub(crate) fn is_unigram(&self) -> bool {
        self.model.kind.as_deref() == Some("Unigram")
    }

    /// Whether it works on bytes rather than on characters.
    pub(crate) fn is_byte_level(&self) -> bool {
        is_byte_level(&self.pre_tokenizer, &self.decoder)
    }
}

impl Tokenizer {
    /// Whether it works on bytes rather than on characters.
    pub(crate) fn is_byte_level(&self) -> bool {
        is_byte_level(&self.pre_tokenizer, &self.decoder)
    }
}

fn is_byte_level(pre_tokenizer: &Value, decoder: &Value) -> bool {
    let has = |value, key| parts(value, key).iter().any(|part| kind(part) == "ByteLevel");
    has(pre_tokenizer, "pretokenizers") || has(decoder, "decoders")
}

/// The `type` of a part of the pipeline.
pub(crate) fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A part of the pipeline with its sequences (whose members are under `members`) flattened. Depth
/// is bounded by the JSON parser.
pub(crate) fn parts<'a>(part: &'a Value, members: &str) -> Vec<&'a Value> {
    if part.is_null() {
        return Vec::new();
    }
    match (kind(part), part.get(members).and_then(Value::as_array)) {
        ("Sequence", Some(list)) => list.iter().flat_map(|part| parts(part, members)).collect(),
        _ => vec![part],
    }
}

/// Texts and ids in the order of the file.
#[derive(Debug, Default)]
pub(crate) enum VocabList {
    /// Nothing.
    #[default]
    Absent,
    /// Text and id.
    Ids(Vec<(String, u32)>),
    /// Text and score, by id, as Unigram has it.
    Scores(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for VocabList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = VocabList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(VocabList::Absent)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(VocabList::Ids(entries))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    entries.push(entry);
                }
                Ok(VocabList::Scores(entries))
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// Merges in the order of priority, each with its two sides.
#[derive(Debug, Default)]
pub(crate) struct Merges(pub(crate) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            Option::<Vec<Merge>>::deserialize(deserializer)?
                .unwrap_or_default()
                .into_iter()
                .map(|merge| (merge.0, merge.1))
                // The first line of a `merges.txt`, taken along by some converters.
                .filter(|(left, _)| left != "#version:")
                .collect(),
        ))
    }
}

/// One merge: `"left right"`, or `["left", "right"]` in files of newer versions.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: `\"left right\"` or `[\"left\", \"right\"]`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge(left.to_owned(), right.to_owned()))
                    }
                    _ => Err(E::custom(format!("merge `{text}` does not have two parts"))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let two = |n| <A::Error as serde::de::Error>::invalid_length(n, &"a merge of two");
                let left = seq.next_element()?.ok_or_else(|| two(0))?;
                let right = seq.next_element()?.ok_or_else(|| two(1))?;
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(Merge(left, right)),
                    Some(_) => Err(two(3)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> serde_json::Result<Tokenizer> {
        serde_json::from_str(json)
    }

    #[test]
    fn both_forms_of_merges_are_read() {
        let json = r#"{"model":{"merges":["a b",["c d","e"]],"vocab":{"x":0,"y":7}}}"#;
        let tokenizer = parse(json).unwrap();
        let expected = [("a".into(), "b".into()), ("c d".into(), "e".into())];
        assert_eq!(tokenizer.model.merges.0, expected);
        let VocabList::Ids(ids) = tokenizer.model.vocab else { panic!("not ids") };
        assert_eq!(ids, [("x".into(), 0), ("y".into(), 7)]);
    }

    #[test]
    fn merges_of_other_than_two_parts_are_refused() {
        for merges in [r#"["ab"]"#, r#"["a b c"]"#, r#"[["a"]]"#, r#"[["a","b","c"]]"#, "[1]"] {
            assert!(parse(&format!(r#"{{"model":{{"merges":{merges}}}}}"#)).is_err(), "{merges}");
        }
    }

    #[test]
    fn ids_must_be_counts_and_nesting_has_an_end() {
        for id in ["-1", "1.5", "\"1\"", "null", "9223372036854775808"] {
            assert!(parse(&format!(r#"{{"model":{{"vocab":{{"a":{id}}}}}}}"#)).is_err(), "{id}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&format!(r#"{{"model":{{}},"normalizer":{deep}"#)).is_err());
    }

    #[test]
    fn nulls_are_like_nothing() {
        let json = r#"{"added_tokens":null,"decoder":null,
            "model":{"type":"BPE","ignore_merges":null,"vocab":null,"merges":null}}"#;
        let tokenizer = parse(json).unwrap();
        assert!(tokenizer.added_tokens.is_empty() && !tokenizer.model.ignore_merges);
        assert!(!tokenizer.is_byte_level());
    }
}
