//! Models in the layout of real checkpoints, against the keys that the reference converter wrote.

use std::collections::{BTreeMap, BTreeSet};

use gmat_core::format::gguf::{Array, Meta, Value};
use gmat_core::format::tokens;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::Files;

const MODELS: [(&str, &str); 12] = [
    ("bert", "wordpiece"),
    ("deepseek_v3", "hf-bpe"),
    ("gemma2", "sentencepiece"),
    ("gpt_oss", "hf-bpe"),
    ("llama2", "sentencepiece"),
    ("llama3", "hf-bpe"),
    ("mistral", "sentencepiece"),
    ("mixtral", "sentencepiece"),
    ("phi3", "sentencepiece"),
    ("qwen2", "hf-bpe"),
    ("qwen3", "hf-bpe"),
    ("qwen3_moe", "hf-bpe"),
];

#[test]
fn keys_are_those_of_the_reference() {
    for (model, source) in MODELS {
        let files = Files::of_oracle(model);
        assert_eq!(files.source().unwrap(), Some(source), "{model}");
        let vocab = files.plain_vocab().unwrap();
        let rows = files.config().unwrap().require_u64(&["vocab_size"]).unwrap();
        let mut meta = Meta::new();
        vocab.to_meta(Some(rows), &BTreeMap::new(), &mut meta).unwrap();
        let oracle: Json = serde_json::from_slice(&files.0["oracle.json"]).unwrap();
        compare(model, &meta, &oracle["kv"]);

        // The way through the store changes nothing.
        let bytes = tokens::write(&vocab).unwrap();
        let again = tokens::read(&bytes).unwrap();
        assert_eq!(again, vocab, "{model}");
        assert_eq!(tokens::write(&again).unwrap(), bytes, "{model}");
    }
}

/// Both key tables have the same `tokenizer.*` keys with the same types and values.
fn compare(model: &str, meta: &Meta, expected: &Json) {
    let expected = expected.as_object().unwrap();
    let ours: BTreeSet<&str> = meta.entries().iter().map(|(key, _)| key.as_str()).collect();
    let theirs: BTreeSet<&str> =
        expected.keys().map(String::as_str).filter(|key| key.starts_with("tokenizer.")).collect();
    assert_eq!(ours, theirs, "{model}");
    for key in theirs {
        compare_value(&format!("{model}: {key}"), meta.value(key).unwrap(), &expected[key]);
    }
}

fn compare_value(what: &str, ours: &Value, theirs: &Json) {
    let sha = |text: &[u8]| {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let (kind, elem, list) = match ours {
        Value::U32(v) => ("UINT32", None, Json::from(*v)),
        Value::Bool(v) => ("BOOL", None, Json::from(*v)),
        Value::String(_) => ("STRING", None, Json::from(ours.as_str().unwrap())),
        Value::Array(Array::String(v)) => {
            let texts = v.iter().map(|text| std::str::from_utf8(text).unwrap());
            ("ARRAY", Some("STRING"), texts.collect::<Vec<_>>().into())
        }
        Value::Array(Array::I32(v)) => ("ARRAY", Some("INT32"), v.clone().into()),
        Value::Array(Array::F32(v)) => {
            let bits = v.iter().map(|value| value.to_bits());
            ("ARRAY", Some("FLOAT32"), bits.collect::<Vec<_>>().into())
        }
        other => panic!("{what}: unexpected {other:?}"),
    };
    assert_eq!(theirs["type"], kind, "{what}");
    if let Some(elem) = elem {
        assert_eq!(theirs["elem"], elem, "{what}");
        let list = list.as_array().unwrap();
        assert_eq!(theirs["length"], list.len(), "{what}");
    }
    match theirs.get("value") {
        Some(value) => assert_eq!(*value, list, "{what}"),
        None if elem.is_some() => {
            assert_eq!(theirs["sha256"], sha(list.to_string().as_bytes()), "{what}");
        }
        None => {
            let text = list.as_str().unwrap();
            assert_eq!(theirs["length"], text.chars().count(), "{what}");
            assert_eq!(theirs["sha256"], sha(text.as_bytes()), "{what}");
        }
    }
}
