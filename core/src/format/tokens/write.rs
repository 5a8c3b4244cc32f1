//! A vocabulary to bytes: the same vocabulary always gives the same bytes.

use super::tail::put_tail;
use super::{HEADER, MAGIC, NODE, VERSION, first, next};
use crate::error::{Error, Result};
use crate::token::{Special, Vocab};

/// The bytes of `tokens.bin`.
///
/// # Errors
/// `Malformed` if two tokens have the same text or a score is not a finite number; `Limit` if a
/// part needs 4 GiB or more; `Unsupported` if an extra key has a value of a type that the format
/// has no code for.
pub fn write(vocab: &Vocab) -> Result<Vec<u8>> {
    let order = tree_order(&vocab.sorted_ids()?);
    let mut nodes = Vec::with_capacity(order.len() * NODE);
    let mut texts = Vec::new();
    for id in &order {
        let Some(token) = vocab.tokens.get(*id as usize) else { continue };
        if !token.score.is_finite() {
            return Err(Error::malformed(format!("token {id} has the score {}", token.score)));
        }
        texts.extend_from_slice(&token.text);
        nodes.extend_from_slice(&length(texts.len(), "token texts")?.to_le_bytes());
        nodes.extend_from_slice(&id.to_le_bytes());
        nodes.extend_from_slice(&token.score.to_bits().to_le_bytes());
        nodes.extend_from_slice(&roles(vocab, *id).to_le_bytes());
        nodes.extend_from_slice(&[token.kind as u8, u8::from(token.added), 0, 0]);
    }
    let mut ends = Vec::with_capacity(vocab.merges.len() * 4);
    let mut merges = Vec::new();
    for merge in &vocab.merges {
        merges.extend_from_slice(merge);
        ends.extend_from_slice(&length(merges.len(), "merges")?.to_le_bytes());
    }
    let mut tail = Vec::new();
    put_tail(vocab, &mut tail)?;

    let mut out = Vec::with_capacity(HEADER + nodes.len() + texts.len() + tail.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&length(vocab.tokens.len(), "tokens")?.to_le_bytes());
    out.extend_from_slice(&length(vocab.merges.len(), "merges")?.to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&(texts.len() as u64).to_le_bytes());
    out.extend_from_slice(&(merges.len() as u64).to_le_bytes());
    out.extend_from_slice(&(tail.len() as u64).to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    for part in [nodes, texts, ends, merges, tail] {
        out.extend_from_slice(&part);
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    Ok(out)
}

/// A count or length as 32 bits.
pub(super) fn length(len: usize, what: &str) -> Result<u32> {
    u32::try_from(len)
        .map_err(|_| Error::limit(format!("{what} of `tokens.bin` need {len}, beyond 32 bits")))
}

/// Ids in the order of the array, from ids in the order of texts.
fn tree_order(sorted: &[u32]) -> Vec<u32> {
    let mut order = vec![0; sorted.len()];
    let mut place = first(sorted.len());
    for &id in sorted {
        if let Some(slot) = place.checked_sub(1).and_then(|index| order.get_mut(index)) {
            *slot = id;
        }
        place = next(place, sorted.len());
    }
    order
}

/// The roles of a token, one bit each.
fn roles(vocab: &Vocab, id: u32) -> u32 {
    let of_id = |special: &Special| vocab.special.get(special) == Some(&id);
    Special::ALL.into_iter().filter(of_id).map(Special::bit).sum()
}
