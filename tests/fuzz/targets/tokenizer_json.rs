//! Any bytes as `tokenizer.json` are a vocabulary or refused, by every reader of that file.

#![no_main]

#[path = "shared/vocab.rs"]
mod vocab;

use libfuzzer_sys::fuzz_target;
use vocab::{Files, check};

fuzz_target!(|data: &[u8]| {
    for name in ["tokenizer.json"] {
        check(&Files::of(name, data));
    }
});
