//! Bytes back to a vocabulary.

use super::tree::Tree;
use crate::error::{Error, Result};
use crate::token::{Special, Token, Vocab};

/// The vocabulary in the bytes of a `tokens.bin`.
///
/// # Errors
/// As [`Tree::parse`].
pub fn read(bytes: &[u8]) -> Result<Vocab> {
    Tree::parse(bytes)?.into_vocab()
}

impl Tree<'_> {
    /// The vocabulary, unpacked.
    ///
    /// # Errors
    /// `Malformed` if an id is missing, which a parsed tree has excluded.
    pub fn into_vocab(self) -> Result<Vocab> {
        let mut tokens: Vec<Option<Token>> = vec![None; self.len()];
        let mut special = std::collections::BTreeMap::new();
        for found in self.iter() {
            if let Some(slot) = tokens.get_mut(found.id as usize) {
                *slot = Some(Token {
                    text: found.text.to_vec(),
                    score: found.score,
                    kind: found.kind,
                    added: found.added,
                });
            }
            for role in Special::ALL.into_iter().filter(|role| found.is(*role)) {
                special.insert(role, found.id);
            }
        }
        let tokens: Option<Vec<Token>> = tokens.into_iter().collect();
        let merges = self.merges().map(<[u8]>::to_vec).collect();
        let tail = self.tail;
        special.extend(tail.special);
        let [add_bos, add_eos, add_sep, add_space_prefix] = tail.flags;
        Ok(Vocab {
            model: tail.model,
            pre: tail.pre,
            tokens: tokens.ok_or_else(|| Error::malformed("`tokens.bin` lacks an id"))?,
            scored: tail.scored,
            merges,
            special,
            add_bos,
            add_eos,
            add_sep,
            add_space_prefix,
            templates: tail.templates,
            extra: tail.extra,
        })
    }
}
