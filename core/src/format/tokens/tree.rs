//! A checked view of the bytes of `tokens.bin`, and look-up without unpacking.

use std::cmp::Ordering;

use super::tail::{Tail, parse_tail};
use super::{CHECKSUM, HEADER, MAGIC, NODE, VERSION, first, next};
use crate::error::{Error, Result};
use crate::token::{MAX_TOKENS, Special, TokenKind};

/// What the tree says about a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<'a> {
    /// Text.
    pub text: &'a [u8],
    /// Id.
    pub id: u32,
    /// Merge priority.
    pub score: f32,
    /// What it is.
    pub kind: TokenKind,
    /// Whether it was added to the vocabulary.
    pub added: bool,
    roles: u32,
}

impl Found<'_> {
    /// Whether the token has that role.
    #[must_use]
    pub fn is(&self, special: Special) -> bool {
        self.roles & special.bit() != 0
    }
}

/// The vocabulary tree of a `tokens.bin`, all of which has been checked.
pub struct Tree<'a> {
    nodes: &'a [[u8; NODE]],
    texts: &'a [u8],
    ends: &'a [[u8; 4]],
    merges: &'a [u8],
    pub(super) tail: Tail,
}

impl<'a> Tree<'a> {
    /// Checks the bytes of a `tokens.bin`. Takes time in proportion to their number and no more
    /// memory than they do.
    ///
    /// # Errors
    /// `Malformed` if the bytes are not a `tokens.bin` or contradict themselves, or if the
    /// checksum differs; `Unsupported` if the version is newer than this program.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let parts = Parts::split(bytes)?;
        let tail = parse_tail(parts.tail, parts.nodes.len())?;
        let tree = Self {
            nodes: parts.nodes,
            texts: parts.texts,
            ends: parts.ends,
            merges: parts.merges,
            tail,
        };
        tree.check_nodes()?;
        tree.check_order()?;
        tree.check_merges()?;
        Ok(tree)
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The token with exactly that text.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<Found<'a>> {
        let mut place = 1;
        while place <= self.nodes.len() {
            let here = self.node(place)?;
            place = match text.cmp(here.text) {
                Ordering::Equal => return Some(here),
                Ordering::Less => 2 * place,
                Ordering::Greater => 2 * place + 1,
            };
        }
        None
    }

    /// All tokens, in the order of their texts.
    pub fn iter(&self) -> impl Iterator<Item = Found<'a>> + '_ {
        let mut place = first(self.len());
        std::iter::from_fn(move || {
            let here = self.node(place)?;
            place = next(place, self.len());
            Some(here)
        })
    }

    /// Merges, in the order of priority.
    pub fn merges(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let mut start = 0;
        self.ends.iter().map_while(move |end| {
            let end = u32::from_le_bytes(*end) as usize;
            let merge = self.merges.get(start..end);
            start = end;
            merge
        })
    }

    /// The node at a place; `None` for places that do not exist.
    fn node(&self, place: usize) -> Option<Found<'a>> {
        let index = place.checked_sub(1)?;
        let fields = Fields::of(self.nodes.get(index)?);
        let start = match index.checked_sub(1) {
            Some(before) => Fields::of(self.nodes.get(before)?).text_end,
            None => 0,
        };
        Some(Found {
            text: self.texts.get(start as usize..fields.text_end as usize)?,
            id: fields.id,
            score: f32::from_bits(fields.score),
            kind: TokenKind::from_number(fields.kind)?,
            added: fields.flags == 1,
            roles: fields.roles,
        })
    }

    /// Every field of every node, by itself and against the others.
    fn check_nodes(&self) -> Result<()> {
        let mut seen = vec![false; self.nodes.len()];
        let mut start = 0;
        // Roles that are taken: of ids without a token, then of the nodes so far.
        let mut taken: u32 = self.tail.special.keys().map(|special| special.bit()).sum();
        for (index, node) in self.nodes.iter().enumerate() {
            let fields = Fields::of(node);
            let bad = |what: String| {
                Error::malformed(format!("node {} of `tokens.bin` {what}", index + 1))
            };
            if fields.text_end < start || fields.text_end as usize > self.texts.len() {
                return Err(bad(format!("ends its text at {}", fields.text_end)));
            }
            start = fields.text_end;
            match seen.get_mut(fields.id as usize) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(bad(format!("repeats the id {}", fields.id))),
                None => return Err(bad(format!("has the id {}", fields.id))),
            }
            if !f32::from_bits(fields.score).is_finite() {
                return Err(bad("has a score that is not a number".to_owned()));
            }
            if TokenKind::from_number(fields.kind).is_none() {
                return Err(bad(format!("has the type {}", fields.kind)));
            }
            if fields.flags > 1 || fields.zero != 0 {
                return Err(bad("has unknown flags".to_owned()));
            }
            if fields.roles >> Special::ALL.len() != 0 || fields.roles & taken != 0 {
                return Err(bad(format!("has the roles {:#x}", fields.roles)));
            }
            taken |= fields.roles;
        }
        if start as usize != self.texts.len() {
            return Err(Error::malformed("`tokens.bin` has texts that belong to no token"));
        }
        Ok(())
    }

    /// Texts ascend strictly, so that every one is found.
    fn check_order(&self) -> Result<()> {
        let mut last: Option<&[u8]> = None;
        for token in self.iter() {
            if last.is_some_and(|last| last >= token.text) {
                return Err(Error::malformed(format!(
                    "token {} of `tokens.bin` is out of order",
                    token.id
                )));
            }
            last = Some(token.text);
        }
        Ok(())
    }

    fn check_merges(&self) -> Result<()> {
        let last = self.ends.last().map_or(0, |end| u32::from_le_bytes(*end) as usize);
        if last != self.merges.len() || self.merges().count() != self.ends.len() {
            return Err(Error::malformed("merges of `tokens.bin` do not fit their table"));
        }
        Ok(())
    }
}

/// The fields of a node.
struct Fields {
    text_end: u32,
    id: u32,
    score: u32,
    roles: u32,
    kind: u8,
    flags: u8,
    zero: u16,
}

impl Fields {
    fn of(node: &[u8; NODE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, kind, flags, y, z] = *node;
        Self {
            text_end: u32::from_le_bytes([a, b, c, d]),
            id: u32::from_le_bytes([e, f, g, h]),
            score: u32::from_le_bytes([i, j, k, l]),
            roles: u32::from_le_bytes([m, n, o, p]),
            kind,
            flags,
            zero: u16::from_le_bytes([y, z]),
        }
    }
}

/// The parts of the file, cut at the lengths of a header that adds up.
struct Parts<'a> {
    nodes: &'a [[u8; NODE]],
    texts: &'a [u8],
    ends: &'a [[u8; 4]],
    merges: &'a [u8],
    tail: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self> {
        let short =
            || Error::malformed(format!("`tokens.bin` is cut off after {} bytes", bytes.len()));
        if !bytes.starts_with(MAGIC) {
            return Err(Error::malformed("not a `tokens.bin`: it does not start with `GMATTOKS`"));
        }
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or_else(short)?;
        let version = field32(header, 8);
        if version > VERSION {
            return Err(Error::unsupported(format!(
                "`tokens.bin` has version {version}; this program reads up to {VERSION}"
            )));
        }
        let tokens = u64::from(field32(header, 12));
        let merges = u64::from(field32(header, 16));
        let (text_len, merge_len, tail_len) =
            (field64(header, 24), field64(header, 32), field64(header, 40));
        let total = [text_len, merge_len, tail_len]
            .into_iter()
            .try_fold((HEADER + CHECKSUM) as u64, u64::checked_add)
            .and_then(|sum| sum.checked_add(tokens * NODE as u64))
            .and_then(|sum| sum.checked_add(merges * 4));
        if total != Some(bytes.len() as u64) {
            return Err(Error::malformed(format!(
                "`tokens.bin` has {} bytes, but its header announces {}",
                bytes.len(),
                total.map_or("more than 2^64".to_owned(), |total| total.to_string())
            )));
        }
        let (body, checksum) = bytes.split_at_checked(bytes.len() - CHECKSUM).ok_or_else(short)?;
        if blake3::hash(body) != *checksum {
            return Err(Error::malformed("the checksum of `tokens.bin` differs"));
        }
        if version == 0
            || field32(header, 20) != 0
            || field64(header, 48) != 0
            || field64(header, 56) != 0
        {
            return Err(Error::malformed("the header of `tokens.bin` is not one of version 1"));
        }
        if tokens > MAX_TOKENS as u64 {
            return Err(Error::limit(format!(
                "`tokens.bin` has {tokens} tokens; at most {MAX_TOKENS} are supported"
            )));
        }
        // The sum above is the length of a slice, so every part fits into memory.
        let mut rest = body.get(HEADER..).ok_or_else(short)?;
        let mut part = |len: u64| {
            let (part, after) =
                usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len))?;
            rest = after;
            Some(part)
        };
        let nodes = part(tokens * NODE as u64).ok_or_else(short)?.as_chunks().0;
        let texts = part(text_len).ok_or_else(short)?;
        let ends = part(merges * 4).ok_or_else(short)?.as_chunks().0;
        let merges = part(merge_len).ok_or_else(short)?;
        let tail = part(tail_len).ok_or_else(short)?;
        Ok(Self { nodes, texts, ends, merges, tail })
    }
}

fn field32(header: &[u8; HEADER], at: usize) -> u32 {
    header.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_le_bytes)
}

fn field64(header: &[u8; HEADER], at: usize) -> u64 {
    header.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes)
}
