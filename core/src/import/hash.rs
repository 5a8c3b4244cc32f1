//! The hash of a tensor's source bytes, made while they are read.

use std::ops::Range;

use crate::error::{Error, Result};

/// One hash for each part. Units read the rows of scales that they share more than once; what counts
/// is every byte of a part once, in order, so that the result does not depend on the units.
#[derive(Default)]
pub(super) struct SourceHash {
    parts: Vec<(blake3::Hasher, u64)>,
}

impl SourceHash {
    /// Takes the bytes of a range of a part. Ranges of a part are given in order and without gaps.
    pub(super) fn add(&mut self, part: usize, range: &Range<u64>, bytes: &[u8]) -> Result<()> {
        while self.parts.len() <= part {
            self.parts.push((blake3::Hasher::new(), 0));
        }
        let Some((hasher, done)) = self.parts.get_mut(part) else { return Ok(()) };
        if range.start > *done {
            return Err(Error::shape(format!("bytes {done} to {} were not read", range.start)));
        }
        let known = usize::try_from(*done - range.start).unwrap_or(usize::MAX);
        if let Some(new) = bytes.get(known..) {
            hasher.update(new);
            *done += new.len() as u64;
        }
        Ok(())
    }

    /// This one, leaving an empty one in its place.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The hash of a plain tensor is that of its bytes; of several parts, that of their hashes.
    pub(super) fn finish(self) -> [u8; 32] {
        let hashes: Vec<blake3::Hash> =
            self.parts.iter().map(|(hasher, _)| hasher.finalize()).collect();
        match hashes.as_slice() {
            [] => *blake3::hash(&[]).as_bytes(),
            [only] => *only.as_bytes(),
            several => {
                let mut all = blake3::Hasher::new();
                several.iter().for_each(|hash| {
                    all.update(hash.as_bytes());
                });
                *all.finalize().as_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_count_once_and_gaps_are_errors() {
        let text = b"0123456789";
        let mut one = SourceHash::default();
        for range in [0..4, 2..6, 5..6, 6..10] {
            let at = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            one.add(0, &range, &text[at]).unwrap();
        }
        assert_eq!(one.finish(), *blake3::hash(text).as_bytes());
        assert!(SourceHash::default().add(0, &(1..2), b"1").is_err());
        let mut two = SourceHash::default();
        two.add(0, &(0..10), text).unwrap();
        two.add(1, &(0..3), b"abc").unwrap();
        let parts = [*blake3::hash(text).as_bytes(), *blake3::hash(b"abc").as_bytes()].concat();
        assert_eq!(two.finish(), *blake3::hash(&parts).as_bytes());
    }
}
