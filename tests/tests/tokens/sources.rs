//! Tokenizer files as they occur and as they must not be.

use std::time::{Duration, Instant};

use gmat_core::ErrorKind;
use gmat_core::token::{Special, TokenKind, TokenizerOptions, Vocab};
use serde_json::{Value as Json, json};

use super::Files;

/// A small byte-level `tokenizer.json`: the alphabet, one merge, two added tokens.
fn byte_level() -> Json {
    let alphabet = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('Ā'..='Ń');
    let mut vocab = serde_json::Map::new();
    for (id, c) in alphabet.enumerate() {
        vocab.insert(c.to_string(), id.into());
    }
    vocab.insert("ab".into(), 256.into());
    json!({
        "version": "1.0",
        "added_tokens": [
            {"id": 257, "content": "<s>", "special": true, "normalized": false},
            {"id": 258, "content": "<tool>", "special": false, "normalized": false},
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["a b"]},
    })
}

fn files(json: &Json) -> Files {
    Files::default().with("tokenizer.json", json.to_string())
}

fn text(vocab: &Vocab, id: usize) -> &str {
    std::str::from_utf8(&vocab.tokens[id].text).unwrap()
}

#[test]
fn tokenizer_json_alone_is_enough() {
    let files = files(&byte_level());
    assert_eq!(files.source().unwrap(), Some("hf-bpe"));
    let vocab = files.plain_vocab().unwrap();
    assert_eq!((vocab.model.as_str(), vocab.pre.as_str()), ("gpt2", "gpt-2"));
    assert_eq!(vocab.tokens.len(), 259);
    assert_eq!(vocab.tokens[257].kind, TokenKind::Control);
    assert_eq!(vocab.tokens[258].kind, TokenKind::UserDefined);
    assert_eq!(vocab.merges, [b"a b".to_vec()]);
    assert_eq!((vocab.add_bos, vocab.add_eos), (None, None));
    assert!(vocab.special.is_empty() && vocab.templates.is_empty());
}

#[test]
fn byte_order_marks_are_skipped() {
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend_from_slice(byte_level().to_string().as_bytes());
    let files = Files::default()
        .with("tokenizer.json", marked)
        .with("tokenizer_config.json", "\u{feff}{\"bos_token\": {\"content\": \"<s>\"}}")
        .with("chat_template.jinja", "\u{feff}a\r\nb\n");
    let vocab = files.plain_vocab().unwrap();
    assert_eq!(vocab.special[&Special::Bos], 257);
    assert_eq!(vocab.templates[0].text, "a\nb\n");
}

#[test]
fn spaces_in_merges_are_written_in_the_alphabet() {
    let mut json = byte_level();
    json["model"]["vocab"][" "] = 259.into();
    json["model"]["vocab"]["  "] = 260.into();
    json["model"]["merges"] = json!([["a", "b"], [" ", " "]]);
    let vocab = files(&json).plain_vocab().unwrap();
    assert_eq!(vocab.merges, [b"a b".to_vec(), "Ġ Ġ".as_bytes().to_vec()]);
}

#[test]
fn tokens_come_from_every_file() {
    let config = json!({
        "added_tokens_decoder": {"257": {"content": "<s>", "special": true},
            "259": {"content": "<|x|>", "special": false}},
        "eos_token": "<end>", "unk_token": "ab", "additional_special_tokens": ["<extra>"],
    });
    let files = files(&byte_level())
        .with("tokenizer_config.json", config.to_string())
        .with("added_tokens.json", r#"{"<late>": 261}"#)
        .with("config.json", r#"{"vocab_size": 270, "eos_token_id": [3, 4], "pad_token_id": 7}"#);
    let vocab = files.plain_vocab().unwrap();
    assert_eq!((text(&vocab, 259), vocab.tokens[259].kind), ("<|x|>", TokenKind::Control));
    assert_eq!((text(&vocab, 260), vocab.tokens[260].kind), ("[PAD260]", TokenKind::Unused));
    assert_eq!((text(&vocab, 261), vocab.tokens[261].kind), ("<late>", TokenKind::UserDefined));
    assert_eq!((text(&vocab, 262), vocab.tokens[262].kind), ("<end>", TokenKind::Control));
    assert_eq!((text(&vocab, 263), vocab.tokens[263].kind), ("<extra>", TokenKind::Control));
    // A special token that is a normal one too is for control.
    assert_eq!((text(&vocab, 256), vocab.tokens[256].kind), ("ab", TokenKind::Control));
    assert_eq!(vocab.special.get(&Special::Pad), Some(&7));
    assert_eq!(vocab.special.get(&Special::Eos), None);
}

#[test]
fn a_map_of_special_tokens_stands_in_for_the_config() {
    let map = r#"{"bos_token": {"content": "<s>"}, "pad_token": "<pad>"}"#;
    let files = files(&byte_level())
        .with("special_tokens_map.json", map)
        .with("config.json", "\u{feff}{\"vocab_size\": 260}");
    let vocab = files.plain_vocab().unwrap();
    assert_eq!(vocab.special.get(&Special::Bos), Some(&257));
    assert_eq!((text(&vocab, 259), vocab.tokens[259].kind), ("<pad>", TokenKind::Control));
    // Next to a config it says nothing.
    let vocab = files.with("tokenizer_config.json", "{}").plain_vocab().unwrap();
    assert_eq!(vocab.tokens.len(), 259);
}

#[test]
fn the_pre_tokenizer_can_be_forced() {
    let mut json = byte_level();
    json["pre_tokenizer"] = json!({"type": "Whitespace"});
    let files = files(&json);
    let error = files.plain_vocab().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("--pre"), "{error:?}");
    let force = |name: &str| files.vocab(&TokenizerOptions { pre: Some(name.to_owned()) });
    assert_eq!(force("qwen2").unwrap().pre, "qwen2");
    let error = force("qwen-2").unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::Config, Some("did you mean `qwen2`?")));
}

#[test]
fn named_templates_are_kept_apart() {
    let config = json!({"chat_template": [
        {"name": "default", "template": "D"}, {"name": "tool use", "template": "T"}]});
    let files = files(&byte_level()).with("tokenizer_config.json", config.to_string());
    let templates = files.plain_vocab().unwrap().templates;
    let pairs: Vec<_> = templates.iter().map(|t| (t.name.as_str(), t.text.as_str())).collect();
    assert_eq!(pairs, [("default", "D"), ("tool_use", "T")]);
    let twice = json!({"chat_template": [
        {"name": "a b", "template": "D"}, {"name": "a_b", "template": "T"}]});
    assert!(files.with("tokenizer_config.json", twice.to_string()).plain_vocab().is_err());
}

#[test]
fn templates_come_from_files_of_their_own() {
    let files = files(&byte_level())
        .with("chat_template.jinja", "D")
        .with("additional_chat_templates/rag.jinja", "R")
        .with("additional_chat_templates/notes.txt", "x");
    let names = |files: &Files| -> Vec<String> {
        files.plain_vocab().unwrap().templates.into_iter().map(|template| template.name).collect()
    };
    assert_eq!(names(&files), ["default", "rag"]);
    let json = files.clone().with("tokenizer_config.json", r#"{"chat_template": "C"}"#);
    assert_eq!(names(&json), ["default"]);
    let older = files.without("chat_template.jinja").with(
        "chat_template.json",
        r#"{"chat_template": [{"name": "default", "template": "D"}, {"name": "t", "template": "T"}]}"#,
    );
    assert_eq!(names(&older), ["default", "t"]);
}

#[test]
fn contradictions_are_refused() {
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Json));
    let edits: [Edit<'_>; 14] = [
        ("one id for two tokens", &|json| json["model"]["vocab"]["ab"] = 0.into()),
        ("one id for two added tokens", &|json| json["added_tokens"][1]["id"] = 257.into()),
        ("an added token over a normal one", &|json| json["added_tokens"][1]["id"] = 5.into()),
        ("two ids for one token", &|json| json["added_tokens"][0]["content"] = "ab".into()),
        ("an id beyond reason", &|json| json["added_tokens"][1]["id"] = 4_000_000_000u32.into()),
        ("an id beyond 32 bits", &|json| json["added_tokens"][1]["id"] = (1u64 << 63).into()),
        ("a merge of unknown tokens", &|json| json["model"]["merges"] = json!(["a bc"])),
        ("a merge to an unknown token", &|json| json["model"]["merges"] = json!(["b a"])),
        ("no vocabulary", &|json| json["model"]["vocab"] = json!({})),
        ("a unigram vocabulary", &|json| json["model"]["vocab"] = json!([["a", 0.5]])),
        ("an id beyond 64 bits", &|json| json["model"]["vocab"]["ab"] = json!(1e30)),
        ("prefixes", &|json| json["model"]["continuing_subword_prefix"] = "##".into()),
        ("suffixes", &|json| json["model"]["end_of_word_suffix"] = "</w>".into()),
        ("an unknown post-processor", &|json| json["post_processor"] = json!({"type": "New"})),
    ];
    for (what, edit) in edits {
        let mut json = byte_level();
        edit(&mut json);
        let error = files(&json).plain_vocab().map(|_| ()).expect_err(what);
        assert_ne!(error.to_string(), "", "{what}");
    }
    // Twice in the text of the file, which a JSON map would hide.
    let twice = byte_level().to_string().replacen("\"ab\":256", "\"ab\":256,\"ab\":259", 1);
    let error = Files::default().with("tokenizer.json", twice).plain_vocab().unwrap_err();
    assert!(error.to_string().contains("`ab`"), "{error}");
}

#[test]
fn damaged_files_never_panic() {
    for (model, name) in [
        ("llama3", "tokenizer.json"),
        ("llama3", "tokenizer_config.json"),
        ("llama3", "config.json"),
        ("llama2", "tokenizer.model"),
        ("llama2", "tokenizer.json"),
        ("llama2", "tokenizer_config.json"),
        ("bert", "tokenizer.json"),
        ("bert", "vocab.txt"),
        ("../tokenizers/t5", "spiece.model"),
    ] {
        let mut files = Files::of_oracle(model);
        if name == "vocab.txt" {
            files = files.without("tokenizer.json");
        }
        let bytes = files.0[name].clone();
        let json = name.ends_with(".json");
        for len in (0..bytes.trim_ascii_end().len()).step_by(37) {
            // Without its model, the JSON file beside it may do.
            let outcome = files.clone().with(name, &bytes[..len]).plain_vocab();
            assert!(!json || outcome.is_err(), "{name} cut after {len}");
        }
        for at in (0..bytes.len()).step_by(61) {
            for value in [0, 0x22, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = files.clone().with(name, damaged).plain_vocab();
            }
        }
        let (list, object) = ("[".repeat(1_000_000), "{\"a\":".repeat(300_000));
        for deep in [list.clone(), object.clone(), format!("{{\"normalizer\":{list}")] {
            let outcome = files.clone().with(name, deep).plain_vocab();
            assert!(!json || outcome.is_err(), "{name}");
        }
    }
}

#[test]
fn lying_lengths_in_a_model_are_refused() {
    let files = Files::of_oracle("llama2").without("tokenizer.json");
    let good = files.0["tokenizer.model"].clone();
    for length in ["\u{7f}", "\u{1}"] {
        let mut bytes = good.clone();
        bytes.splice(1..2, length.bytes());
        assert!(files.clone().with("tokenizer.model", bytes).plain_vocab().is_err());
    }
    // A piece of 2^63 bytes at the end.
    let mut bytes = good.clone();
    bytes.extend_from_slice(b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01");
    assert!(files.clone().with("tokenizer.model", bytes).plain_vocab().is_err());
    // A text that is not UTF-8, a score that is not a number, a type that does not exist.
    for piece in [&b"\x0a\x02\xff\xff"[..], b"\x0a\x01a\x15\0\0\xc0\x7f", b"\x0a\x01a\x18\x09", b""]
    {
        let mut bytes = good.clone();
        bytes.extend_from_slice(&[0x0a, u8::try_from(piece.len()).unwrap()]);
        bytes.extend_from_slice(piece);
        assert!(files.clone().with("tokenizer.model", bytes).plain_vocab().is_err(), "{piece:x?}");
    }
}

/// Without `tokenizer.model`, the merges of `tokenizer.json` give the same tokens, kinds and keys;
/// scores come out in the same order.
#[test]
fn llama2_reads_the_same_from_json() {
    for model in ["llama2", "mistral"] {
        let files = Files::of_oracle(model);
        let expected = files.plain_vocab().unwrap();
        let files = files.without("tokenizer.model");
        assert_eq!(files.source().unwrap(), Some("hf-spm"));
        let vocab = files.plain_vocab().unwrap();
        let strip = |vocab: &Vocab| {
            let mut vocab = vocab.clone();
            vocab.tokens.iter_mut().for_each(|token| token.score = 0.0);
            vocab
        };
        assert_eq!(strip(&vocab), strip(&expected), "{model}");
        let merged = |vocab: &Vocab| {
            let mut ids: Vec<usize> = (0..vocab.tokens.len())
                .filter(|id| {
                    let token = &vocab.tokens[*id];
                    let text = std::str::from_utf8(&token.text).unwrap();
                    token.kind == TokenKind::Normal && text.chars().count() > 1
                })
                .collect();
            ids.sort_by(|a, b| vocab.tokens[*b].score.total_cmp(&vocab.tokens[*a].score));
            ids
        };
        assert_eq!(merged(&vocab), merged(&expected), "{model}");
        assert!(merged(&vocab).len() > 100, "{model}");
    }
}

/// The merges of a real vocabulary come back from its ranks.
#[test]
fn tiktoken_ranks_give_the_merges_back() {
    let files = Files::of_oracle("llama3");
    let expected = files.plain_vocab().unwrap();
    let normal = expected.tokens.iter().filter(|token| token.kind == TokenKind::Normal);
    let mut lines = String::new();
    for (rank, token) in normal.enumerate() {
        let text = std::str::from_utf8(&token.text).unwrap();
        let bytes: Vec<u8> = text.chars().map(byte_of).collect();
        lines.push_str(&format!("{} {rank}\n", base64(&bytes)));
    }
    let files = files.without("tokenizer.json").with("tokenizer.model", lines.clone());
    assert_eq!(files.source().unwrap(), Some("tiktoken"));
    let vocab = files.plain_vocab().unwrap();
    assert_eq!(vocab.pre, "llama-bpe");
    assert_eq!(vocab.tokens, expected.tokens);
    // `tokenizer.json` may list several ways to the same token; ranks have the one that happens.
    assert!(vocab.merges.len() > 400 && vocab.merges.len() <= expected.merges.len());
    for merge in &vocab.merges {
        assert!(expected.merges.contains(merge), "{}", String::from_utf8_lossy(merge));
    }

    // Kimi's file name is enough; its unnamed special tokens are reserved.
    let files = files.without("tokenizer.model").with("tiktoken.model", lines);
    let files = files
        .with(
            "config.json",
            r#"{"vocab_size": 1100, "model_type": "deepseek_v3", "bos_token_id": 760}"#,
        )
        .with(
            "tokenizer_config.json",
            r#"{"added_tokens_decoder": {"760": {"content": "[BOS]"}}}"#,
        );
    let vocab = files.plain_vocab().unwrap();
    assert_eq!((vocab.pre.as_str(), vocab.tokens.len()), ("kimi-k2", 752 + 256));
    assert_eq!((text(&vocab, 760), vocab.tokens[760].kind), ("[BOS]", TokenKind::Control));
    assert_eq!(text(&vocab, 800), "<|reserved_token_800|>");
    assert_eq!(vocab.special[&Special::Bos], 760);

    // Any other name says nothing about splitting.
    let bytes = files.0["tiktoken.model"].clone();
    let files = files.without("tiktoken.model").with("my.tiktoken", bytes);
    let error = files.plain_vocab().unwrap_err();
    assert!(error.to_string().contains("deepseek_v3"), "{error}");
    let forced = files.vocab(&TokenizerOptions { pre: Some("qwen2".into()) }).unwrap();
    assert_eq!(forced.pre, "qwen2");
}

#[test]
fn a_million_tokens_are_read_in_seconds() {
    let mut json = byte_level();
    json["model"]["merges"] = json!([]);
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    for id in 259..1_000_000 {
        vocab.insert(format!("t{id}"), id.into());
    }
    let files = files(&json);
    drop(json);
    let start = Instant::now();
    let vocab = files.plain_vocab().unwrap();
    assert_eq!(vocab.tokens.len(), 1_000_000);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// The byte of a character of the byte-level alphabet, by the definition that lists the bytes that
/// stand for themselves.
fn byte_of(c: char) -> u8 {
    let plain = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match u32::from(c).checked_sub(256) {
        None => u8::try_from(c).unwrap(),
        Some(nth) => (0..=255).filter(|byte| !plain(byte)).nth(nth as usize).unwrap(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
