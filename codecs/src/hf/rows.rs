//! Tokens by id while they are being collected.

use std::collections::btree_map::Entry;

use gmat_core::token::{MAX_PADDING, MAX_TOKENS, Token, TokenKind, pad_token};
use gmat_core::{Error, Result};

/// Tokens by id, with gaps.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    slots: Vec<Option<Token>>,
    /// Ids seen so far; what is beyond `slots` waits until the end, so that no id, however large,
    /// can make the list grow before it is known how many tokens there are.
    beyond: std::collections::BTreeMap<u32, Token>,
}

impl Rows {
    /// Normal tokens from a list of texts and ids.
    ///
    /// # Errors
    /// `Malformed` if two texts have the same id; `Limit` if ids are absurdly large.
    pub(crate) fn from_vocab(entries: &[(String, u32)]) -> Result<Self> {
        let len = entries.iter().map(|(_, id)| *id as usize + 1).max().unwrap_or(0);
        check_len(len, entries.len())?;
        let mut slots: Vec<Option<Token>> = vec![None; len];
        for (text, id) in entries {
            let Some(slot) = slots.get_mut(*id as usize) else { continue };
            if let Some(other) = slot {
                return Err(Error::malformed(format!(
                    "tokens `{}` and `{text}` both have the id {id}",
                    String::from_utf8_lossy(&other.text)
                )));
            }
            *slot = Some(Token {
                text: text.clone().into_bytes(),
                score: 0.0,
                kind: TokenKind::Normal,
                added: false,
            });
        }
        Ok(Self { slots, ..Self::default() })
    }

    /// The token with that id.
    pub(crate) fn get(&self, id: u32) -> Option<&Token> {
        match self.slots.get(id as usize) {
            Some(slot) => slot.as_ref(),
            None => self.beyond.get(&id),
        }
    }

    /// Puts a token in place of whatever has that id.
    pub(crate) fn put(&mut self, id: u32, token: Token) {
        match self.slots.get_mut(id as usize) {
            Some(slot) => *slot = Some(token),
            None => match self.beyond.entry(id) {
                Entry::Occupied(mut entry) => *entry.get_mut() = token,
                Entry::Vacant(entry) => {
                    entry.insert(token);
                }
            },
        }
    }

    /// All tokens, gaps filled with `[PAD<id>]` of that score.
    ///
    /// # Errors
    /// `Limit` if there are more gaps than can be filled.
    pub(crate) fn finish(mut self, padding_score: f32) -> Result<Vec<Token>> {
        let len = match self.beyond.last_key_value() {
            Some((id, _)) => *id as usize + 1,
            None => self.slots.len(),
        };
        check_len(len, self.slots.len() + self.beyond.len())?;
        self.slots.resize(len, None);
        for (id, token) in std::mem::take(&mut self.beyond) {
            self.put(id, token);
        }
        let filled = self.slots.into_iter().enumerate();
        Ok(filled.map(|(id, slot)| slot.unwrap_or_else(|| pad_token(id, padding_score))).collect())
    }
}

/// Adds padding until there are `rows` tokens.
///
/// # Errors
/// `Limit` if that takes more than can be padded.
pub(crate) fn pad(tokens: &mut Vec<Token>, rows: Option<u64>, score: f32) -> Result<()> {
    let Some(rows) = rows else { return Ok(()) };
    let len = usize::try_from(rows).unwrap_or(usize::MAX);
    if len > tokens.len() {
        check_len(len, tokens.len())?;
        tokens.extend((tokens.len()..len).map(|id| pad_token(id, score)));
    }
    Ok(())
}

/// Whether ids below `len` are acceptable for `count` tokens.
fn check_len(len: usize, count: usize) -> Result<()> {
    if len > MAX_TOKENS || len.saturating_sub(count) > MAX_PADDING {
        return Err(Error::limit(format!(
            "token ids reach {}, but there are only {count} tokens",
            len.saturating_sub(1)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token { text: text.into(), score: 0.0, kind: TokenKind::Normal, added: true }
    }

    #[test]
    fn gaps_become_padding() {
        let mut rows = Rows::from_vocab(&[("b".into(), 2), ("a".into(), 0)]).unwrap();
        rows.put(4, token("d"));
        rows.put(0, token("c"));
        assert_eq!(rows.get(4).map(|t| t.added), Some(true));
        let texts: Vec<_> = rows.finish(-1.0).unwrap().into_iter().map(|t| t.text).collect();
        assert_eq!(texts, [&b"c"[..], b"[PAD1]", b"b", b"[PAD3]", b"d"]);
    }

    #[test]
    fn one_id_for_two_and_huge_ids_are_refused() {
        assert!(Rows::from_vocab(&[("a".into(), 1), ("b".into(), 1)]).is_err());
        assert!(Rows::from_vocab(&[("a".into(), u32::MAX)]).is_err());
        let mut rows = Rows::default();
        rows.put(u32::MAX, token("x"));
        assert!(rows.finish(0.0).is_err());
    }
}
