//! Bits to symbols: several of them with one look at a table, in four streams at a time.

use gmat_core::Result;

use super::code::codes;
use super::{MAX_BITS, SLOTS, STREAMS, part};
use crate::lossless::input::Input;

/// Looks at the table for each word of eight bytes that is read: 55 of its at least 56 bits.
const LOOKS: usize = 5;

/// Symbols of an entry, at most.
const SYMBOLS: usize = 6;

/// For all strings of 11 bits: the first symbol, and its length in bits above.
type Single = [u16; SLOTS];

/// The same with all symbols that fit: up to six of them, from the lowest byte on, their number in the
/// next byte, and their length in bits in the highest.
type Several = [u64; SLOTS];

/// Reads what [`super::encode`] wrote: `symbols` of them.
///
/// # Errors
/// `Malformed` if the code is not complete, or a stream ends too early or too late.
pub(crate) fn decode(input: &mut Input<'_>, symbols: usize) -> Result<Vec<u8>> {
    let lengths = read_lengths(input)?;
    let codes = codes(&lengths).ok_or_else(|| input.malformed("not a complete Huffman code"))?;
    let single = single(&codes, &lengths);
    let mut sizes = [0; STREAMS];
    for size in &mut sizes {
        *size = input.len()?;
    }
    let mut streams = Vec::new();
    for size in sizes {
        streams.push(input.take(size)?);
    }
    // Every symbol has a bit at least, so that no few bytes ask for much memory.
    let bytes: usize = sizes.iter().fold(0, |sum, size| sum.saturating_add(*size));
    if bytes.saturating_mul(8) < symbols {
        return Err(input.malformed(format!("{bytes} bytes do not hold {symbols} symbols")));
    }
    let mut out = vec![0; symbols];
    let mut rest = out.as_mut_slice();
    let mut lanes = Vec::new();
    for (number, bytes) in streams.into_iter().enumerate() {
        let (own, after) = std::mem::take(&mut rest).split_at_mut(part(number, symbols).len());
        lanes.push(Lane { bytes, at: 0, word: 0, bits: 0, out: own, done: 0 });
        rest = after;
    }
    // Below that the table takes longer than it saves.
    if symbols > SLOTS
        && let [a, b, c, d] = lanes.as_mut_slice()
    {
        let several = several(&single);
        while a.advance(&several)
            && b.advance(&several)
            && c.advance(&several)
            && d.advance(&several)
        {}
    }
    match lanes.into_iter().all(|lane| lane.finish(&single)) {
        true => Ok(out),
        false => Err(input.malformed("a stream of Huffman codes ends too early or too late")),
    }
}

fn read_lengths(input: &mut Input<'_>) -> Result<[u8; 256]> {
    let [first, last] = input.array()?;
    if first > last {
        return Err(input.malformed(format!("symbols from {first} to {last}")));
    }
    let mut lengths = [0; 256];
    let (first, last) = (usize::from(first), usize::from(last));
    let used = lengths.get_mut(first..=last).unwrap_or_default();
    let nibbles = input.take(used.len().div_ceil(2))?;
    for (pair, byte) in used.chunks_mut(2).zip(nibbles) {
        for (len, nibble) in pair.iter_mut().zip([byte & 15, byte >> 4]) {
            *len = nibble;
        }
    }
    // One way only to write a table: no symbols without code at its ends, nothing in its padding.
    let ends = [first, last].iter().all(|at| lengths.get(*at).is_some_and(|len| *len > 0));
    let padding = (last - first) % 2 == 0 && nibbles.last().is_some_and(|byte| byte >> 4 > 0);
    if !ends || padding {
        return Err(input.malformed("a table of code lengths with needless entries"));
    }
    Ok(lengths)
}

fn single(codes: &[u16; 256], lengths: &[u8; 256]) -> Box<Single> {
    let mut table = Box::new([0; SLOTS]);
    for ((symbol, code), len) in (0u16..).zip(codes).zip(lengths).filter(|(_, len)| **len > 0) {
        for entry in table.iter_mut().skip(usize::from(*code)).step_by(1 << *len) {
            *entry = symbol | u16::from(*len) << 8;
        }
    }
    table
}

fn several(single: &Single) -> Box<Several> {
    let mut table = Box::new([0; SLOTS]);
    for (slot, entry) in table.iter_mut().enumerate() {
        let (mut count, mut used) = (0, 0);
        let mut word = 0;
        while count < SYMBOLS {
            let one = single[(slot >> used) % SLOTS];
            let len = u32::from(one >> 8);
            if used + len > MAX_BITS {
                break;
            }
            word |= u64::from(one & 0xff) << (8 * count);
            used += len;
            count += 1;
        }
        *entry = word | (count as u64) << 48 | u64::from(used) << 56;
    }
    table
}

/// The lowest bits, of which tables are asked.
#[inline(always)]
fn slot(word: u64) -> usize {
    usize::from((word & 0xffff) as u16) % SLOTS
}

/// One stream, and where its symbols go.
struct Lane<'a> {
    bytes: &'a [u8],
    /// Bytes taken in whole.
    at: usize,
    /// Bits taken in, the next one lowest. Above the first `bits` may be bits of bytes that will be
    /// taken in next, or zeros.
    word: u64,
    bits: u32,
    out: &'a mut [u8],
    done: usize,
}

impl Lane<'_> {
    /// Decodes some symbols; false, with nothing done, near the end of the bytes or of the room.
    #[inline(always)]
    fn advance(&mut self, table: &Several) -> bool {
        let next = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>());
        let room = self.out.get_mut(self.done..).and_then(|rest| rest.first_chunk_mut::<40>());
        let (Some(next), Some(room)) = (next, room) else { return false };
        let mut word = self.word | u64::from_le_bytes(*next) << self.bits;
        self.at += ((63 - self.bits) / 8) as usize;
        self.bits |= 56;
        let mut done = 0;
        for _ in 0..LOOKS {
            let entry = table[slot(word)];
            // What is beyond the symbols of this entry is overwritten by the next.
            if let Some(to) = room.get_mut(done..done + 8) {
                to.copy_from_slice(&entry.to_le_bytes());
            }
            let used = (entry >> 56) as u32;
            word >>= used;
            self.bits -= used;
            done += (entry >> 48 & 0xff) as usize;
        }
        self.word = word;
        self.done += done;
        true
    }

    /// Decodes the rest, symbol by symbol; whether the stream is neither too short nor too long.
    fn finish(mut self, table: &Single) -> bool {
        for to in self.out.get_mut(self.done..).unwrap_or_default() {
            while self.bits < MAX_BITS
                && let Some(byte) = self.bytes.get(self.at)
            {
                self.word |= u64::from(*byte) << self.bits;
                self.bits += 8;
                self.at += 1;
            }
            let entry = table[slot(self.word)];
            let len = u32::from(entry >> 8);
            if len > self.bits {
                return false;
            }
            *to = (entry & 0xff) as u8;
            self.word >>= len;
            self.bits -= len;
        }
        let padding = self.word & ((1 << self.bits.min(63)) - 1);
        self.at == self.bytes.len() && self.bits < 8 && padding == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{counts, encode, encoded_len, lengths};
    use super::*;

    fn sample(count: usize, spread: usize) -> Vec<u8> {
        let mut state = 12345u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 40).unwrap()
        };
        // The minimum of some is likelier to be small.
        let one = |_| (next() % spread).min(next() % spread).min(next() % spread);
        (0..count).map(one).map(|n| u8::try_from(n).unwrap()).collect()
    }

    #[test]
    fn symbols_of_any_number_come_back() {
        for count in [2, 3, 4, 5, 7, 8, 100, 1000, 2049, 5000, 70_001] {
            for spread in [2, 3, 17, 40, 256] {
                let mut symbols = sample(count, spread);
                (symbols[0], symbols[1]) = (0, 1);
                let counts = counts(&symbols);
                let lengths = lengths(&counts);
                let mut out = Vec::new();
                encode(&symbols, &lengths, &mut out);
                assert!(out.len() <= encoded_len(&counts, &lengths));
                let mut input = Input::new(&out);
                assert!(decode(&mut input, count).unwrap() == symbols, "{count} {spread}");
                input.finish().unwrap();
                let cut = out.get(..out.len() - 1).unwrap();
                assert!(decode(&mut Input::new(cut), count).is_err());
            }
        }
    }
}
