//! Any bytes as tiktoken ranks are a vocabulary or refused, alone and after the ranks of all bytes.

#![no_main]

#[path = "shared/vocab.rs"]
mod vocab;

use libfuzzer_sys::fuzz_target;
use vocab::{Files, check};

fuzz_target!(|data: &[u8]| {
    for name in ["tiktoken.model", "qwen.tiktoken", "tokenizer.model"] {
        check(&Files::of(name, data));
    }
    // Without a token for every byte, ranks are refused at once.
    let all: String = (0..=255u8).map(|byte| format!("{} {byte}\n", base64(byte))).collect();
    let whole = [all.as_bytes(), data].concat();
    check(&Files::of("tiktoken.model", &whole));
});

/// One byte in base64.
fn base64(byte: u8) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    format!("{}{}==", digit(byte >> 2), digit((byte & 3) << 4))
}
