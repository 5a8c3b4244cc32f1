//! Which symbol gets which code.
//!
//! Lengths are optimal for the limit: the package-merge algorithm of Larmore and Hirschberg (1990).

use super::{MAX_BITS, SLOTS};

/// How often each byte occurs.
pub(crate) fn counts(symbols: &[u8]) -> [u64; 256] {
    // Several counters for each: equal neighbours must not wait for each other.
    let mut several = [[0u32; 256]; 4];
    let mut sum = [0u64; 256];
    // Below what a counter holds.
    for piece in symbols.chunks(1 << 30) {
        let (fours, rest) = piece.as_chunks::<4>();
        for four in fours {
            for (counter, symbol) in several.iter_mut().zip(four) {
                counter[usize::from(*symbol)] += 1;
            }
        }
        for symbol in rest {
            several[0][usize::from(*symbol)] += 1;
        }
        for counter in &mut several {
            for (all, own) in sum.iter_mut().zip(counter.iter_mut()) {
                *all += u64::from(std::mem::take(own));
            }
        }
    }
    sum
}

/// Lengths of the codes of all bytes, 0 for those that do not occur.
pub(crate) fn lengths(counts: &[u64; 256]) -> [u8; 256] {
    let mut leaves: Vec<(u64, u8)> =
        (0..=255u8).zip(counts).filter(|(_, n)| **n > 0).map(|(symbol, n)| (*n, symbol)).collect();
    leaves.sort_unstable();
    let mut lengths = [0; 256];
    if leaves.len() < 2 {
        return lengths;
    }
    // Row by row from the deepest codes up: leaves, and pairs of the row before; true marks a leaf.
    let mut weights: Vec<u64> = leaves.iter().map(|(count, _)| *count).collect();
    let mut rows = vec![vec![true; leaves.len()]];
    for _ in 1..MAX_BITS {
        let mut pairs =
            weights.chunks_exact(2).map(|pair| pair.iter().sum::<u64>()).collect::<Vec<_>>();
        pairs.reverse();
        let (mut merged, mut kinds) = (Vec::new(), Vec::new());
        for (leaf, _) in &leaves {
            while let Some(pair) = pairs.pop_if(|pair| *pair < *leaf) {
                merged.push(pair);
                kinds.push(false);
            }
            merged.push(*leaf);
            kinds.push(true);
        }
        kinds.resize(kinds.len() + pairs.len(), false);
        merged.extend(pairs.into_iter().rev());
        (weights, _) = (merged, rows.push(kinds));
    }
    let mut taken = 2 * leaves.len() - 2;
    for kinds in rows.iter().rev() {
        let deeper = kinds.iter().take(taken).filter(|leaf| **leaf).count();
        for (_, symbol) in leaves.iter().take(deeper) {
            lengths[usize::from(*symbol)] += 1;
        }
        taken = 2 * (taken - deeper);
    }
    lengths
}

/// Bytes of everything that [`super::encode`] writes, at most.
pub(crate) fn encoded_len(counts: &[u64; 256], lengths: &[u8; 256]) -> usize {
    let bits: u64 = counts.iter().zip(lengths).map(|(n, len)| n * u64::from(*len)).sum();
    let (first, last) = span(lengths);
    let table = 2 + (usize::from(last) - usize::from(first)) / 2 + 1;
    usize::try_from(bits / 8).unwrap_or(usize::MAX).saturating_add(table + 4 * (4 + 1))
}

/// The first and the last symbol that have a code.
pub(super) fn span(lengths: &[u8; 256]) -> (u8, u8) {
    let mut coded = (0..=255u8).zip(lengths).filter(|(_, len)| **len > 0).map(|(symbol, _)| symbol);
    let first = coded.next().unwrap_or(0);
    (first, coded.next_back().unwrap_or(first))
}

/// The code of every symbol: its bits in the order in which they are put in (the first one lowest).
/// None if the lengths are not those of a complete code.
pub(super) fn codes(lengths: &[u8; 256]) -> Option<[u16; 256]> {
    let mut codes = [0; 256];
    let mut next = 0usize;
    for len in 1..=MAX_BITS {
        for (code, own) in codes.iter_mut().zip(lengths) {
            if u32::from(*own) == len {
                let bits = u16::try_from(next >> (MAX_BITS - len)).ok()?;
                *code = bits.reverse_bits() >> (u16::BITS - len);
                next += 1 << (MAX_BITS - len);
            }
        }
    }
    let short = lengths.iter().all(|len| u32::from(*len) <= MAX_BITS);
    (next == SLOTS && short).then_some(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of the best code of any length, by pairing the two rarest (the textbook method).
    fn unlimited(counts: &[u64; 256]) -> u64 {
        let mut open: Vec<u64> = counts.iter().copied().filter(|n| *n > 0).collect();
        let mut bits = 0;
        while open.len() > 1 {
            open.sort_unstable_by(|a, b| b.cmp(a));
            let pair = open.pop().unwrap() + open.pop().unwrap();
            bits += pair;
            open.push(pair);
        }
        bits
    }

    #[test]
    fn lengths_are_optimal_and_complete() {
        for (seed, spread) in [(3u64, 40), (5, 200), (7, 256), (11, 2), (13, 3)] {
            let mut counts = [0u64; 256];
            for (i, count) in (0u64..).zip(&mut counts).take(spread) {
                *count = 1 + (i * 7919 * seed) % 977;
            }
            let lengths = lengths(&counts);
            assert!(codes(&lengths).is_some(), "{spread}");
            let bits: u64 = counts.iter().zip(lengths).map(|(n, len)| n * u64::from(len)).sum();
            let best = unlimited(&counts);
            assert!(bits >= best && bits <= best + best / 200, "{spread}: {bits} {best}");
            if lengths.iter().all(|len| u32::from(*len) < MAX_BITS) {
                assert_eq!(bits, best, "{spread}");
            }
        }
    }

    #[test]
    fn long_codes_are_cut_to_the_limit() {
        // Fibonacci numbers ask for codes as long as there are symbols.
        let mut counts = [0u64; 256];
        let (mut a, mut b) = (1, 1);
        for count in counts.iter_mut().take(60) {
            *count = a;
            (a, b) = (b, a + b);
        }
        let lengths = lengths(&counts);
        assert!(codes(&lengths).is_some());
        assert_eq!(lengths.iter().max(), Some(&11));
        assert!(lengths.windows(2).take(59).all(|pair| pair[0] >= pair[1]));
    }

    #[test]
    fn codes_that_are_not_complete_are_refused() {
        let with = |pairs: &[(usize, u8)]| {
            let mut lengths = [0; 256];
            pairs.iter().for_each(|(symbol, len)| lengths[*symbol] = *len);
            codes(&lengths)
        };
        assert_eq!(
            with(&[(7, 1), (9, 2), (200, 2)]).map(|c| [c[7], c[9], c[200]]),
            Some([0, 1, 3])
        );
        assert!(with(&[]).is_none());
        assert!(with(&[(7, 1)]).is_none());
        assert!(with(&[(7, 1), (9, 1), (10, 1)]).is_none());
        assert!(with(&[(7, 1), (9, 12), (10, 1)]).is_none());
    }
}
