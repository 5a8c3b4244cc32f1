//! Unigram: SentencePiece models and `tokenizer.json`, and which of both has the say.

use gmat_core::ErrorKind;
use gmat_core::format::gguf::{Array, Value};
use gmat_core::token::{Special, TokenKind, TokenizerOptions, Vocab};
use serde_json::{Value as Json, json};

use super::Files;

/// A field of a protobuf message that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    out.extend_from_slice(bytes);
    out
}

/// A model of these pieces, each with its type; `more` is appended.
fn model(pieces: &[(&str, u8)], more: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, (text, kind)) in pieces.iter().enumerate() {
        let mut piece = field(1, text.as_bytes());
        piece.push(0x15);
        piece.extend_from_slice(&(-(id as f32)).to_le_bytes());
        piece.extend_from_slice(&[0x18, *kind]);
        out.extend(field(1, &piece));
    }
    out.extend_from_slice(more);
    out
}

const PIECES: [(&str, u8); 5] = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("▁a", 1), ("b", 1)];

fn tokenizer_json() -> Json {
    json!({
        "added_tokens": [{"id": 0, "content": "<s>", "special": true},
            {"id": 6, "content": "<mask>", "special": true},
            {"id": 8, "content": "<user>", "special": false}],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAAAGEA"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true}]},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": [["<s>", 0.0], ["<pad>", 0.0],
            ["</s>", 0.0], ["<unk>", 0.0], ["▁a", -3.0], ["b", -4.5], ["<mask>", 0.0]]},
    })
}

fn texts(vocab: &Vocab) -> Vec<&str> {
    vocab.tokens.iter().map(|token| std::str::from_utf8(&token.text).unwrap()).collect()
}

fn key<'a>(vocab: &'a Vocab, name: &str) -> Option<&'a Value> {
    let name = format!("tokenizer.ggml.{name}");
    vocab.extra.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[test]
fn models_of_every_name_are_read() {
    for name in ["tokenizer.model", "spiece.model", "sentencepiece.model", "spm.model"] {
        let files = Files::default()
            .with(name, model(&PIECES, &[]))
            .with("added_tokens.json", r#"{"<x>": 6, "<far>": 900}"#)
            .with("config.json", r#"{"vocab_size": 8, "eos_token_id": 2, "pad_token_id": 77}"#);
        assert_eq!(files.source().unwrap(), Some("unigram"), "{name}");
        let vocab = files.plain_vocab().unwrap();
        assert_eq!((vocab.model.as_str(), vocab.pre.as_str()), ("t5", "default"));
        let expected = ["<unk>", "<s>", "</s>", "▁a", "b", "[PAD5]", "<x>", "[PAD7]"];
        assert_eq!(texts(&vocab), expected);
        let kinds: Vec<u8> = vocab.tokens.iter().map(|token| token.kind as u8).collect();
        assert_eq!(kinds, [2, 3, 3, 1, 1, 5, 4, 5]);
        assert_eq!(vocab.tokens[4].score, -4.0);
        assert_eq!(vocab.special.get(&Special::Eos), Some(&2));
        assert_eq!(vocab.special.get(&Special::Pad), None);
        assert_eq!(vocab.add_space_prefix, Some(true));
        assert_eq!(key(&vocab, "remove_extra_whitespaces"), Some(&Value::Bool(true)));
        assert_eq!(key(&vocab, "precompiled_charsmap"), None);
    }
}

#[test]
fn fairseq_ids_come_with_the_name() {
    let files = Files::default().with("sentencepiece.bpe.model", model(&PIECES, &[]));
    let files = files.with("config.json", r#"{"vocab_size": 7, "type_vocab_size": 1}"#);
    let vocab = files.plain_vocab().unwrap();
    assert_eq!(texts(&vocab), ["<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "[PAD5]"]);
    assert_eq!(vocab.tokens[3].kind, TokenKind::Unknown);
    assert_eq!(key(&vocab, "token_type_count"), Some(&Value::U32(1)));
    // A `tokenizer.json` that agrees changes nothing, one that does not has the say.
    let both = files.clone().with("tokenizer.json", tokenizer_json().to_string());
    assert_eq!(texts(&both.plain_vocab().unwrap())[6], "[PAD5]");
    let mut json = tokenizer_json();
    json["model"]["vocab"][4][0] = "b".into();
    json["model"]["vocab"][5][0] = "▁a".into();
    let other = files.clone().with("tokenizer.json", json.to_string()).plain_vocab().unwrap();
    assert_eq!(texts(&other)[4..7], ["b", "▁a", "<mask>"]);
    let unlike = model(&[("<pad>", 3), ("<unk>", 2)], &[]);
    let error = files.with("sentencepiece.bpe.model", unlike).plain_vocab().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn tokenizer_json_alone_is_enough() {
    let files = Files::default().with("tokenizer.json", tokenizer_json().to_string());
    assert_eq!(files.source().unwrap(), Some("unigram"));
    let vocab = files.plain_vocab().unwrap();
    let expected = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "<mask>", "[PAD7]", "<user>"];
    assert_eq!(texts(&vocab), expected);
    let kinds: Vec<u8> = vocab.tokens.iter().map(|token| token.kind as u8).collect();
    assert_eq!(kinds, [3, 1, 1, 2, 1, 1, 3, 5, 4]);
    assert_eq!(vocab.tokens[5].score, -4.5);
    assert_eq!(vocab.add_space_prefix, Some(true));
    assert_eq!(key(&vocab, "remove_extra_whitespaces"), Some(&Value::Bool(true)));
    let map = Value::Array(Array::U8(vec![0, 0, 0, 0, b'a', 0]));
    assert_eq!(key(&vocab, "precompiled_charsmap"), Some(&map));
}

#[test]
fn what_no_runtime_does_is_refused() {
    let mut json = tokenizer_json();
    json["normalizer"] = json!({"type": "Lowercase"});
    let files = Files::default().with("tokenizer.json", json.to_string());
    let error = files.plain_vocab().unwrap_err();
    assert!(error.to_string().contains("Lowercase"), "{error}");
    let force = |name: &str| files.vocab(&TokenizerOptions { pre: Some(name.to_owned()) });
    assert!(force("default").is_ok());
    assert_eq!(force("gpt-2").unwrap_err().kind(), ErrorKind::Config);
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Json));
    let edits: [Edit<'_>; 6] = [
        ("no vocabulary", &|json| json["model"]["vocab"] = json!([])),
        ("a map for a list", &|json| json["model"]["vocab"] = json!({"a": 1})),
        ("a token twice", &|json| json["model"]["vocab"][5][0] = "▁a".into()),
        ("a score beyond single precision", &|json| json["model"]["vocab"][5][1] = json!(1e300)),
        ("an added token over another", &|json| json["added_tokens"][0]["content"] = "<z>".into()),
        ("an entry of three", &|json| json["model"]["vocab"][5] = json!(["c", 1.0, 2])),
    ];
    for (what, edit) in edits {
        let mut json = tokenizer_json();
        edit(&mut json);
        let files = Files::default().with("tokenizer.json", json.to_string());
        assert!(files.plain_vocab().is_err(), "{what}");
    }
}

#[test]
fn hostile_models_are_refused() {
    for (what, more) in [
        ("a piece of 2^63 bytes", &b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"[..]),
        ("the kind of Char models", b"\x12\x02\x18\x04"),
        ("a map that ends early", b"\x1a\x07\x12\x05\x04\0\0\0a"),
        ("no UTF-8", b"\x0a\x04\x0a\x02\xff\xff"),
        ("a piece twice", b"\x0a\x03\x0a\x01b"),
    ] {
        let files = Files::default().with("spiece.model", model(&PIECES, more));
        assert!(files.plain_vocab().is_err(), "{what}");
    }
    assert!(Files::default().with("spiece.model", "x").plain_vocab().is_err());
    let files = Files::default().with("spiece.model", model(&PIECES, &[]));
    let files = files.with("config.json", r#"{"vocab_size": 9223372036854775808}"#);
    assert_eq!(files.plain_vocab().unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(Files::default().with("vocab.xyz", "x").source().unwrap(), None);
}
