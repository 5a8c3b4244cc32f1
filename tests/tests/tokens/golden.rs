//! Tiny tokenizers of many kinds, against the keys that the reference converter wrote.
//!
//! Each folder of `data/tokenizers` has the files of a model and, in `expected.json`, the name of
//! the pre-tokenizer that was forced on the converter, and `[key, type, value]` of its keys. Long
//! arrays are given as length and SHA-256 of their JSON text.

use std::collections::{BTreeMap, BTreeSet};

use gmat_core::format::gguf::{Array, Meta, Value};
use gmat_core::token::TokenizerOptions;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::Files;

#[test]
fn keys_are_those_of_the_reference() {
    for (model, source) in [
        ("bert", "wordpiece"),
        ("deepseek3", "hf-bpe"),
        ("gemma3", "sentencepiece"),
        ("llama3-rope", "hf-bpe"),
        ("phi3", "sentencepiece"),
        ("t5", "unigram"),
    ] {
        let files = Files::of(&format!("tokenizers/{model}"));
        assert_eq!(files.source().unwrap(), Some(source), "{model}");
        let expected: Json = serde_json::from_slice(&files.0["expected.json"]).unwrap();
        let pre = expected["forced_pre"].as_str().map(str::to_owned);
        let vocab = files.vocab(&TokenizerOptions { pre }).unwrap();
        let config = files.config().unwrap();
        let rows = config.u64(&["vocab_size"]).unwrap();
        let mut meta = Meta::new();
        vocab.to_meta(rows, &BTreeMap::new(), &mut meta).unwrap();

        let theirs: BTreeMap<&str, &Json> = expected["kv"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (entry[0].as_str().unwrap(), &entry[2]))
            .collect();
        let names: BTreeSet<&str> = meta.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names, theirs.keys().copied().collect(), "{model}");
        for (key, value) in theirs {
            assert_eq!(shown(meta.value(key).unwrap(), value), *value, "{model}: {key}");
        }
    }
}

/// A value as `theirs` has it: whole, or as length and hash.
fn shown(value: &Value, theirs: &Json) -> Json {
    let list: Json = match value {
        Value::U32(v) => return (*v).into(),
        Value::Bool(v) => return (*v).into(),
        Value::String(_) => return value.as_str().into(),
        Value::Array(Array::String(v)) => {
            v.iter().map(|text| std::str::from_utf8(text).unwrap()).collect::<Vec<_>>().into()
        }
        Value::Array(Array::I32(v)) => v.clone().into(),
        Value::Array(Array::U8(v)) => v.clone().into(),
        Value::Array(Array::F32(v)) => {
            v.iter().map(|score| f64::from(*score)).collect::<Vec<_>>().into()
        }
        other => panic!("unexpected {other:?}"),
    };
    if theirs.is_array() {
        return list;
    }
    let hash = Sha256::digest(list.to_string());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"len": list.as_array().unwrap().len(), "sha256_json": hash})
}
