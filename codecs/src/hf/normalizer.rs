//! What a normalizer says that GGUF has keys for.

use gmat_core::format::gguf::Value as MetaValue;
use serde_json::Value;

use super::json::{Tokenizer, kind, parts};

/// Whether text is lowercased and accents are removed, as far as it is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Normalization {
    pub(crate) lowercase: Option<bool>,
    pub(crate) strip_accents: Option<bool>,
}

impl Normalization {
    /// What the normalizer of a `tokenizer.json` does; the last part that says something counts.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        let mut found = Self::default();
        for part in parts(&tokenizer.normalizer, "normalizers") {
            match kind(part) {
                "Lowercase" => found.lowercase = Some(true),
                "StripAccents" => found.strip_accents = Some(true),
                "BertNormalizer" => {
                    let flag = |key| part.get(key).and_then(Value::as_bool);
                    found.lowercase = flag("lowercase").or(found.lowercase);
                    found.strip_accents = flag("strip_accents").or(found.strip_accents);
                }
                _ => {}
            }
        }
        found
    }

    /// The GGUF keys for it.
    pub(crate) fn keys(self) -> impl Iterator<Item = (String, MetaValue)> {
        [("lowercase", self.lowercase), ("strip_accents", self.strip_accents)]
            .into_iter()
            .filter_map(|(name, value)| {
                Some((format!("tokenizer.ggml.normalizer.{name}"), MetaValue::Bool(value?)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flags_come_from_every_kind_of_part() {
        let of = |normalizer: Value| {
            let json = json!({"model": {}, "normalizer": normalizer});
            let found = Normalization::of(&serde_json::from_value(json).unwrap());
            (found.lowercase, found.strip_accents)
        };
        let bert = json!({"type": "BertNormalizer", "lowercase": false, "strip_accents": null});
        assert_eq!(of(bert), (Some(false), None));
        let list = json!([{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]);
        let sequence = json!({"type": "Sequence", "normalizers": list});
        assert_eq!(of(sequence), (Some(true), Some(true)));
        assert_eq!(of(json!(null)), (None, None));
    }
}
