//! `tokens.bin`: round trips, look-up, and every kind of damage.

use std::time::{Duration, Instant};

use gmat_core::ErrorKind;
use gmat_core::format::gguf::Value;
use gmat_core::format::tokens::{Tree, read, write};
use gmat_core::token::{Special, Vocab};

use super::made::{full, many};

#[test]
fn round_trip_keeps_everything() {
    for vocab in [full(), Vocab::new("llama"), many(1), many(2), many(1000)] {
        let bytes = write(&vocab).unwrap();
        let again = read(&bytes).unwrap();
        assert_eq!(again, vocab);
        let bits =
            |vocab: &Vocab| vocab.tokens.iter().map(|t| t.score.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&again), bits(&vocab));
        assert_eq!(write(&again).unwrap(), bytes);
    }
}

#[test]
fn tokens_are_found_without_unpacking() {
    let vocab = full();
    let bytes = write(&vocab).unwrap();
    let tree = Tree::parse(&bytes).unwrap();
    assert_eq!(tree.len(), vocab.tokens.len());
    for (id, token) in vocab.tokens.iter().enumerate() {
        let found = tree.find(&token.text).unwrap();
        assert_eq!((found.id as usize, found.text), (id, token.text.as_slice()));
        assert_eq!((found.kind, found.added), (token.kind, token.added));
        for role in Special::ALL {
            assert_eq!(found.is(role), vocab.special.get(&role) == Some(&found.id), "{role:?}");
        }
    }
    for text in [&b"c"[..], b"a\0\0", b"\xff", b"zzz"] {
        assert_eq!(tree.find(text), None);
    }
    let texts: Vec<&[u8]> = tree.iter().map(|found| found.text).collect();
    assert!(texts.is_sorted());
    let merges: Vec<&[u8]> = tree.merges().collect();
    assert_eq!(merges, vocab.merges.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

#[test]
fn a_million_tokens_take_seconds() {
    let start = Instant::now();
    let vocab = many(1_000_000);
    let bytes = write(&vocab).unwrap();
    let tree = Tree::parse(&bytes).unwrap();
    for id in (0..1_000_000).step_by(777) {
        assert_eq!(tree.find(format!("t{id}").as_bytes()).unwrap().id, id);
    }
    assert_eq!(tree.into_vocab().unwrap(), vocab);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let mut twice = many(3);
    twice.tokens[2].text = b"t0".to_vec();
    let error = write(&twice).unwrap_err();
    assert_eq!(error.to_string(), "token `t0` has the ids 0 and 2");
    let mut odd = many(1);
    odd.tokens[0].score = f32::NAN;
    assert_eq!(write(&odd).unwrap_err().kind(), ErrorKind::Malformed);
    let mut extra = many(1);
    extra.extra.push(("key".into(), Value::F64(1.0)));
    let error = write(&extra).unwrap_err();
    assert!(error.to_string().contains("`key`"), "{error}");
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = write(&full()).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(read(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn cut_and_grown_files_are_found() {
    let bytes = write(&full()).unwrap();
    let cuts = (0..bytes.len()).step_by(37).chain(bytes.len().saturating_sub(40)..bytes.len());
    for len in cuts {
        assert!(read(&bytes[..len]).is_err(), "cut after {len}");
    }
    let mut grown = bytes.clone();
    grown.push(0);
    assert!(read(&grown).is_err());
}

/// Damage with a checksum that fits it: what a hostile file would have.
#[test]
fn forged_files_are_refused_or_harmless() {
    let bytes = write(&full()).unwrap();
    let body = bytes.len() - 32;
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut forged = bytes[..body].to_vec();
        change(&mut forged);
        let checksum = *blake3::hash(&forged).as_bytes();
        forged.extend_from_slice(&checksum);
        forged
    };
    // Whatever is accepted is a file like any other: it says the same when written again.
    let check = |forged: &[u8]| {
        if let Ok(vocab) = read(forged) {
            assert_eq!(write(&vocab).unwrap(), forged);
        }
    };
    for at in 0..body {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            check(&forge(&|bytes| bytes[at] = value));
        }
    }
    // Counts and lengths, all of them in the first 64 bytes, and any four or eight bytes later.
    for at in 8..body - 8 {
        for value in [1 << 63, u64::MAX, u64::MAX / 20 + 1, 1 << 32, u64::from(u32::MAX)] {
            check(&forge(&|bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes())));
        }
    }
    for at in 16..56 {
        let forged = forge(&|bytes| bytes[at] ^= 0x10);
        assert!(read(&forged).is_err(), "header byte {at}");
    }
    let newer = forge(&|bytes| bytes[8] = 2);
    assert_eq!(read(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(read(&forge(&|bytes| bytes[0] = b'X')).unwrap_err().to_string().contains("GMATTOKS"));
}

#[test]
fn nodes_out_of_order_or_repeated_are_refused() {
    let bytes = write(&many(7)).unwrap();
    let body = bytes.len() - 32;
    let forge = |change: &dyn Fn(&mut [u8])| {
        let mut forged = bytes[..body].to_vec();
        change(&mut forged);
        let checksum = *blake3::hash(&forged).as_bytes();
        forged.extend_from_slice(&checksum);
        read(&forged).unwrap_err().to_string()
    };
    // Texts start after the nodes, two bytes each.
    let texts = 64 + 7 * 20;
    let error = forge(&|bytes| bytes[texts] = b'z');
    assert!(error.contains("out of order"), "{error}");
    let error = forge(&|bytes| bytes[64 + 4] = bytes[64 + 20 + 4]);
    assert!(error.contains("repeats the id"), "{error}");
    let error = forge(&|bytes| bytes[64 + 4] = 7);
    assert!(error.contains("has the id 7"), "{error}");
    let error = forge(&|bytes| bytes[64 + 16] = 7);
    assert!(error.contains("has the type 7"), "{error}");
    let error = forge(&|bytes| bytes[64 + 10..64 + 12].fill(0xff));
    assert!(error.contains("score"), "{error}");
    let error = forge(&|bytes| {
        bytes[64 + 12] = 1;
        bytes[64 + 20 + 12] = 1;
    });
    assert!(error.contains("roles"), "{error}");
}
