//! WordPiece: both files that hold it, and what must not be in them.

use gmat_core::ErrorKind;
use gmat_core::format::gguf::Value;
use gmat_core::token::{Special, TokenKind, TokenizerOptions, Vocab};
use serde_json::{Value as Json, json};

use super::Files;

const TOKENS: [&str; 8] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ab", "##c", "##"];

fn wordpiece() -> Json {
    let vocab: serde_json::Map<_, _> =
        TOKENS.iter().enumerate().map(|(id, text)| ((*text).to_owned(), id.into())).collect();
    json!({
        "added_tokens": [{"id": 2, "content": "[CLS]", "special": true},
            {"id": 9, "content": "<user>", "special": false}],
        "normalizer": {"type": "BertNormalizer", "lowercase": false, "strip_accents": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocab,
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
    })
}

fn of(json: &Json) -> Files {
    Files::default().with("tokenizer.json", json.to_string())
}

fn texts(vocab: &Vocab) -> Vec<&str> {
    vocab.tokens.iter().map(|token| std::str::from_utf8(&token.text).unwrap()).collect()
}

fn key<'a>(vocab: &'a Vocab, name: &str) -> Option<&'a Value> {
    let name = format!("tokenizer.ggml.{name}");
    vocab.extra.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[test]
fn words_get_a_mark_and_their_rest_none() {
    let files = of(&wordpiece()).with("config.json", r#"{"vocab_size": 11, "type_vocab_size": 3}"#);
    assert_eq!(files.source().unwrap(), Some("wordpiece"));
    let vocab = files.plain_vocab().unwrap();
    assert_eq!((vocab.model.as_str(), vocab.pre.as_str()), ("bert", "bert-bge"));
    let expected = [
        "▁[PAD]",
        "▁[UNK]",
        "[CLS]",
        "▁[SEP]",
        "▁[MASK]",
        "▁ab",
        "c",
        "",
        "▁[PAD8]",
        "▁<user>",
        "▁[PAD10]",
    ];
    assert_eq!(texts(&vocab), expected);
    assert_eq!(vocab.tokens[2].kind, TokenKind::Control);
    assert_eq!(vocab.tokens[9].kind, TokenKind::UserDefined);
    assert_eq!(vocab.tokens[10].kind, TokenKind::Unused);
    assert_eq!(key(&vocab, "token_type_count"), Some(&Value::U32(3)));
    assert_eq!(key(&vocab, "normalizer.lowercase"), Some(&Value::Bool(false)));
    assert_eq!(key(&vocab, "normalizer.strip_accents"), Some(&Value::Bool(true)));
}

/// Without a `tokenizer.json`, special tokens are found by their names.
#[test]
fn a_list_of_words_is_enough() {
    let files = Files::default().with("vocab.txt", TOKENS.join("\r\n"));
    assert_eq!(files.source().unwrap(), Some("wordpiece"));
    let vocab = files.plain_vocab().unwrap();
    assert_eq!(texts(&vocab)[..6], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁ab"]);
    for (role, id) in [
        (Special::Bos, 2),
        (Special::Eos, 3),
        (Special::Sep, 3),
        (Special::Pad, 0),
        (Special::Unk, 1),
        (Special::Mask, 4),
    ] {
        assert_eq!(vocab.special.get(&role), Some(&id), "{role:?}");
    }
    assert_eq!(key(&vocab, "normalizer.lowercase"), Some(&Value::Bool(true)));
    let config = r#"{"do_lower_case": false, "cls_token": "ab"}"#;
    let vocab = files.with("tokenizer_config.json", config).plain_vocab().unwrap();
    assert_eq!(key(&vocab, "normalizer.lowercase"), Some(&Value::Bool(false)));
    assert_eq!((vocab.special[&Special::Bos], texts(&vocab)[5]), (5, "ab"));
}

#[test]
fn of_lines_that_are_the_same_the_last_counts() {
    let vocab = Files::default().with("vocab.txt", "a\nb\na\n").plain_vocab().unwrap();
    assert_eq!(texts(&vocab), ["▁[PAD0]", "▁b", "▁a"]);
}

#[test]
fn what_the_runtime_does_not_do_is_refused() {
    let mut json = wordpiece();
    json["pre_tokenizer"] = json!({"type": "Whitespace"});
    let error = of(&json).plain_vocab().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("`Whitespace`"), "{error}");
    assert!(error.hint().unwrap().contains("--pre bert-bge"), "{error:?}");
    let force = |name: &str| of(&json).vocab(&TokenizerOptions { pre: Some(name.to_owned()) });
    assert_eq!(force("jina-v2-en").unwrap().pre, "jina-v2-en");
    assert_eq!(force("gpt-2").unwrap_err().kind(), ErrorKind::Config);
    let mut json = wordpiece();
    json["model"]["continuing_subword_prefix"] = "@@".into();
    assert!(of(&json).plain_vocab().is_err());
}

#[test]
fn broken_vocabularies_are_refused() {
    for (what, text) in [
        ("nothing", &b""[..]),
        ("no UTF-8", b"a\n\xff\n"),
        ("two tokens that become one", "##▁a\na\n".as_bytes()),
    ] {
        let outcome = Files::default().with("vocab.txt", text).plain_vocab();
        assert!(outcome.is_err(), "{what}");
    }
    let mut json = wordpiece();
    json["model"]["vocab"] = json!({});
    assert!(of(&json).plain_vocab().is_err());
    let files = of(&wordpiece()).with("config.json", r#"{"vocab_size": 9223372036854775808}"#);
    assert_eq!(files.plain_vocab().unwrap_err().kind(), ErrorKind::Limit);
    let files = of(&wordpiece()).with("config.json", r#"{"type_vocab_size": 4294967296}"#);
    assert_eq!(files.plain_vocab().unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn a_million_words_are_read() {
    let words: String = (0..1_000_000).map(|n| format!("w{n}\n")).collect();
    let vocab = Files::default().with("vocab.txt", words).plain_vocab().unwrap();
    assert_eq!((vocab.tokens.len(), texts(&vocab)[999_999]), (1_000_000, "▁w999999"));
}
