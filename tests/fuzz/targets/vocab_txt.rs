//! Any bytes as `vocab.txt` are a vocabulary or refused.

#![no_main]

#[path = "shared/vocab.rs"]
mod vocab;

use libfuzzer_sys::fuzz_target;
use vocab::{Files, check};

fuzz_target!(|data: &[u8]| {
    for name in ["vocab.txt"] {
        check(&Files::of(name, data));
    }
});
