//! Bytes in a Huffman code of at most 11 bits, in four streams that are decoded at the same time.
//!
//! ```text
//! u8 first symbol · u8 last symbol · code lengths of these, four bits each (low nibble first)
//! u32 length in bytes of each of the four streams · the streams
//! ```
//! The code is canonical: shorter codes come first, equal lengths by symbol; it is complete. Stream k
//! holds symbols k·q to (k+1)·q, q being a quarter of all, rounded up. Bits are put in from the
//! lowest on, each code beginning with its highest bit; the last byte is filled up with zeros.

mod code;
mod decode;
mod encode;

pub(super) use self::code::{counts, encoded_len, lengths};
pub(super) use self::decode::decode;
pub(super) use self::encode::encode;

/// Longest code: a table of all of that many bits fits in the first-level cache.
const MAX_BITS: u32 = 11;

/// Number of different strings of so many bits.
const SLOTS: usize = 1 << MAX_BITS;

/// Streams.
const STREAMS: usize = 4;

/// The symbols of a stream, as a range.
fn part(stream: usize, symbols: usize) -> std::ops::Range<usize> {
    let quarter = symbols.div_ceil(STREAMS);
    let start = quarter.saturating_mul(stream).min(symbols);
    start..start.saturating_add(quarter).min(symbols)
}
