//! Whether merging makes every token out of its own text.
//!
//! Some tokenizers take a piece of text that is a token whole, before any merging. Where merging
//! comes to the same token anyway, that makes no difference, and a runtime that does the one can
//! stand for the other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::hf::json::{Merges, Tokenizer, VocabList};

/// Whether merging turns the text of every token into that token alone. Added tokens do not count:
/// they are found before. Takes time in proportion to the texts, but for a logarithm.
pub(super) fn all_reached(tokenizer: &Tokenizer) -> bool {
    let VocabList::Ids(entries) = &tokenizer.model.vocab else { return false };
    let added: HashSet<&str> =
        tokenizer.added_tokens.iter().map(|token| token.content.as_str()).collect();
    let table = Table::of(tokenizer, entries);
    entries.iter().filter(|(text, _)| !added.contains(text.as_str())).all(|(text, id)| {
        let one = text.chars().nth(1).is_none();
        one || table.merge(text) == Some(*id)
    })
}

/// What merges: two ids to the priority and the id of the whole.
struct Table<'a> {
    ids: HashMap<&'a str, u32>,
    merges: HashMap<(u32, u32), (usize, u32)>,
}

/// A part of a text that is one token.
#[derive(Clone, Copy)]
struct Part {
    id: u32,
    /// Neighbours; the number of parts stands for none.
    before: usize,
    after: usize,
    alive: bool,
}

impl<'a> Table<'a> {
    fn of(tokenizer: &'a Tokenizer, entries: &'a [(String, u32)]) -> Self {
        let ids: HashMap<&str, u32> =
            entries.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        let Merges(list) = &tokenizer.model.merges;
        let mut merges = HashMap::with_capacity(list.len());
        let mut whole = String::new();
        for (priority, (left, right)) in list.iter().enumerate() {
            whole.clear();
            whole.extend([left.as_str(), right.as_str()]);
            if let (Some(a), Some(b), Some(c)) =
                (ids.get(left.as_str()), ids.get(right.as_str()), ids.get(whole.as_str()))
            {
                merges.entry((*a, *b)).or_insert((priority, *c));
            }
        }
        Self { ids, merges }
    }

    /// The token that a text merges to, if it comes to one.
    fn merge(&self, text: &str) -> Option<u32> {
        let mut buffer = [0; 4];
        let mut parts = Vec::new();
        for (index, c) in text.chars().enumerate() {
            let id = *self.ids.get(&*c.encode_utf8(&mut buffer))?;
            let before = index.checked_sub(1).unwrap_or(usize::MAX);
            parts.push(Part { id, before, after: index + 1, alive: true });
        }
        let mut left = parts.len();
        let mut queue = BinaryHeap::new();
        for index in 0..left {
            queue.extend(self.candidate(&parts, index));
        }
        while let Some(Reverse((_, index, pair, whole))) = queue.pop() {
            // Out of date unless both parts are still what they were.
            let Some(first) = parts.get(index).copied().filter(|part| part.alive) else { continue };
            let Some(second) = parts.get(first.after).copied() else { continue };
            if (first.id, second.id) != pair {
                continue;
            }
            if let Some(part) = parts.get_mut(first.after) {
                part.alive = false;
            }
            if let Some(part) = parts.get_mut(second.after) {
                part.before = index;
            }
            if let Some(part) = parts.get_mut(index) {
                *part = Part { id: whole, after: second.after, ..first };
            }
            left -= 1;
            queue.extend(self.candidate(&parts, index));
            queue.extend(self.candidate(&parts, first.before));
        }
        parts.first().filter(|_| left == 1).map(|part| part.id)
    }

    /// The merge of a part with the one after it: priority (of equal ones the first in the text
    /// comes first), place, both ids, and what they become.
    fn candidate(&self, parts: &[Part], index: usize) -> Option<Candidate> {
        let first = parts.get(index)?;
        let second = parts.get(first.after)?;
        let pair = (first.id, second.id);
        let (priority, whole) = *self.merges.get(&pair)?;
        Some(Reverse((priority, index, pair, whole)))
    }
}

type Candidate = Reverse<(usize, usize, (u32, u32), u32)>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reached(vocab: &[&str], merges: &[&str], added: &[&str]) -> bool {
        let vocab: serde_json::Map<_, _> =
            vocab.iter().enumerate().map(|(id, text)| ((*text).to_owned(), id.into())).collect();
        let added: Vec<_> = added.iter().map(|text| json!({"id": 0, "content": text})).collect();
        let json = json!({"model": {"vocab": vocab, "merges": merges}, "added_tokens": added});
        all_reached(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn merges_reach_what_they_lead_to() {
        let base = ["a", "b", "c", "ab", "bc", "abc"];
        assert!(reached(&base, &["a b", "b c", "ab c"], &[]));
        assert!(!reached(&base, &["a b", "b c"], &[]));
        // `b c` comes first, so `ab` + `c` never meet.
        assert!(!reached(&base, &["b c", "a b", "ab c"], &[]));
        assert!(reached(&["a", "xy"], &[], &["xy"]));
        assert!(!reached(&["a", "xy"], &[], &[]));
        assert!(reached(&["a", "aa", "aaaa"], &["a a", "aa aa"], &[]));
        assert!(!reached(&["a", "aa", "aaa"], &["a a", "a aa"], &[]));
    }

    #[test]
    fn a_long_text_takes_no_square_time() {
        let mut vocab = vec!["a".to_owned()];
        let mut merges = Vec::new();
        for power in 0..20 {
            let half = "a".repeat(1 << power);
            merges.push(format!("{half} {half}"));
            vocab.push(half.repeat(2));
        }
        let vocab: Vec<&str> = vocab.iter().map(String::as_str).collect();
        let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
        assert!(reached(&vocab, &merges, &[]));
    }
}
