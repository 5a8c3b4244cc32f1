//! Any bytes as a SentencePiece model are a vocabulary or refused, under each of its names.

#![no_main]

#[path = "shared/vocab.rs"]
mod vocab;

use libfuzzer_sys::fuzz_target;
use vocab::{Files, check};

fuzz_target!(|data: &[u8]| {
    for name in ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"] {
        check(&Files::of(name, data));
    }
});
