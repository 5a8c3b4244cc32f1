//! Symbols to bits.

use super::code::{codes, span};
use super::{STREAMS, part};

/// Symbols whose codes fit beside the bits of an unfinished byte.
const AT_ONCE: usize = 5;

/// Appends table and streams. `lengths` are those of a complete code with all symbols that occur.
pub(crate) fn encode(symbols: &[u8], lengths: &[u8; 256], out: &mut Vec<u8>) {
    let (first, last) = span(lengths);
    out.extend([first, last]);
    let used = lengths.get(usize::from(first)..=usize::from(last)).unwrap_or_default();
    for pair in used.chunks(2) {
        let [low, high] = [0, 1].map(|at| pair.get(at).copied().unwrap_or(0));
        out.push(low | high << 4);
    }
    // The code in the lower half, its length in the upper.
    let mut table = [0u32; 256];
    for ((entry, code), len) in
        table.iter_mut().zip(codes(lengths).unwrap_or([0; 256])).zip(lengths)
    {
        *entry = u32::from(code) | u32::from(*len) << 16;
    }
    let sizes = out.len();
    out.resize(sizes + 4 * STREAMS, 0);
    for stream in 0..STREAMS {
        let start = out.len();
        let own = symbols.get(part(stream, symbols.len())).unwrap_or_default();
        pack(own, &table, out);
        let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(size) = out.get_mut(sizes + 4 * stream..sizes + 4 * stream + 4) {
            size.copy_from_slice(&len);
        }
    }
}

fn pack(symbols: &[u8], table: &[u32; 256], out: &mut Vec<u8>) {
    let mut at = out.len();
    // Codes have 11 bits at most, and words of eight bytes are written whole.
    out.resize(at + symbols.len() / 8 * 11 + 32, 0);
    let (mut word, mut bits) = (0u64, 0);
    let (some, rest) = symbols.as_chunks::<AT_ONCE>();
    for symbols in some.iter().map(<[u8; AT_ONCE]>::as_slice).chain([rest]) {
        for symbol in symbols {
            let entry = table[usize::from(*symbol)];
            word |= u64::from(entry & 0xffff) << bits;
            bits += entry >> 16;
        }
        if let Some(to) = out.get_mut(at..at + 8) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        at += (bits / 8) as usize;
        word >>= bits / 8 * 8;
        bits %= 8;
    }
    if bits > 0 {
        if let Some(to) = out.get_mut(at) {
            *to = (word & 0xff) as u8;
        }
        at += 1;
    }
    out.truncate(at);
}
