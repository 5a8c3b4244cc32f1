//! Vocabularies made for tests.

use gmat_core::format::gguf::{Array, Value};
use gmat_core::token::{Special, Template, Token, TokenKind, Vocab};

/// A vocabulary with something in every field; texts are bytes, not all of them UTF-8.
pub(super) fn full() -> Vocab {
    let mut vocab = Vocab::new("gpt2");
    vocab.pre = "qwen2".into();
    let texts: [&[u8]; 9] =
        [b"b", b"a", b"", b"ab", b"\xff\xfe", b"a\0", "Ġ▁".as_bytes(), b"<s>", b"[PAD8]"];
    let kinds = [
        TokenKind::Normal,
        TokenKind::Normal,
        TokenKind::Unknown,
        TokenKind::UserDefined,
        TokenKind::Byte,
        TokenKind::Normal,
        TokenKind::Normal,
        TokenKind::Control,
        TokenKind::Unused,
    ];
    for (i, (text, kind)) in texts.into_iter().zip(kinds).enumerate() {
        let score = if i % 2 == 0 { -0.0 } else { -1.5e-30 * i as f32 };
        vocab.tokens.push(Token { text: text.to_vec(), score, kind, added: i == 7 });
    }
    vocab.scored = true;
    vocab.merges = vec![b"a b".to_vec(), b"b \xff".to_vec(), b"ab b".to_vec()];
    for (role, id) in [(Special::Bos, 7), (Special::Eos, 7), (Special::Unk, 2), (Special::Pad, 12)]
    {
        vocab.special.insert(role, id);
    }
    vocab.special.insert(Special::FimSep, 400);
    (vocab.add_bos, vocab.add_eos, vocab.add_space_prefix) = (Some(true), Some(false), Some(false));
    for (name, text) in [("default", "{{ messages }}"), ("tool_use", "…")] {
        vocab.templates.push(Template { name: name.into(), text: text.into() });
    }
    vocab.extra = vec![
        ("a.bool".into(), Value::Bool(true)),
        ("a.count".into(), Value::U32(u32::MAX)),
        ("a.number".into(), Value::I32(-5)),
        ("a.float".into(), Value::F32(0.1)),
        ("a.text".into(), Value::String(vec![0xff])),
        ("a.bytes".into(), Value::Array(Array::U8(vec![0, 1, 2]))),
        ("a.texts".into(), Value::Array(Array::String(vec![b"x".to_vec(), Vec::new()]))),
    ];
    vocab
}

/// `count` normal tokens `t0`, `t1`, ….
pub(super) fn many(count: usize) -> Vocab {
    let mut vocab = Vocab::new("gpt2");
    vocab.tokens = (0..count)
        .map(|id| Token {
            text: format!("t{id}").into_bytes(),
            score: 0.0,
            kind: TokenKind::Normal,
            added: false,
        })
        .collect();
    vocab
}
