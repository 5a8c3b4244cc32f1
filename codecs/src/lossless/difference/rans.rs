//! Asymmetric numeral systems with ranges (rANS; Duda 2013): states of 32 bits that give and take words
//! of 16, four of them in turn, so that a processor works on several tokens at a time.

use super::tables::{CONTEXTS, PRECISION, TOTAL, Tables};

/// States.
pub(super) const STATES: usize = 4;

/// A state is never below; all begin with it, for the writer, and end with it, for the reader.
const LOW: u32 = 1 << 16;

/// What the writer made.
pub(super) struct Coded {
    pub(super) states: [u32; STATES],
    /// In the order in which they were given, which is the reverse of the reader's.
    pub(super) words: Vec<u16>,
}

/// Codes tokens; number i is of context `contexts[i]` and goes to state i mod 4.
pub(super) fn encode(tokens: &[u8], contexts: &[u8], tables: &Tables) -> Coded {
    let mut ranges = Vec::with_capacity(tables.tables.len());
    for table in &tables.tables {
        let mut start = 0;
        ranges.push(table.map(|frequency| {
            start += frequency;
            (start - frequency, frequency)
        }));
    }
    let mut states = [LOW; STATES];
    let mut words = Vec::new();
    for (number, (token, context)) in tokens.iter().zip(contexts).enumerate().rev() {
        let table = tables.of[usize::from(*context) % CONTEXTS];
        let range = ranges.get(table).map(|table| table[usize::from(*token)]);
        let (start, frequency) = range.unwrap_or((0, TOTAL));
        let state = &mut states[number % STATES];
        if u64::from(*state) >= u64::from(frequency) << (32 - PRECISION) {
            words.push((*state & 0xffff) as u16);
            *state >>= 16;
        }
        // Tokens that occur have a frequency.
        let frequency = frequency.max(1);
        *state = ((*state / frequency) << PRECISION) + *state % frequency + start;
    }
    Coded { states, words }
}

/// Reads tokens.
pub(super) struct Decoder<'a> {
    states: [u32; STATES],
    words: &'a [[u8; 2]],
    /// For each number below [`TOTAL`], table by table: the token in the lowest 8 bits, its place in
    /// the token's range in the next 12, and the length of that range less one in the highest.
    slots: Vec<u32>,
    /// Where the table of each context begins.
    starts: [usize; CONTEXTS],
    whole: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(states: [u32; STATES], words: &'a [u8], tables: &Tables) -> Self {
        let mut slots = Vec::with_capacity(tables.tables.len() * TOTAL as usize);
        for table in &tables.tables {
            for (token, frequency) in (0u32..).zip(table) {
                let entry = |place| token | place << 8 | (frequency - 1) << 20;
                slots.extend((0..*frequency).map(entry));
            }
        }
        let whole = states.iter().all(|state| *state >= LOW);
        let starts = tables.of.map(|table| table * TOTAL as usize);
        Self { states, words: words.as_chunks().0, slots, starts, whole }
    }

    /// The next token of a state; none if words are missing.
    #[inline]
    pub(super) fn next(&mut self, state: usize, context: u8) -> Option<u8> {
        let start = self.starts[usize::from(context) % CONTEXTS];
        let own = &mut self.states[state % STATES];
        let entry = *self.slots.get(start + (*own % TOTAL) as usize)?;
        // At most the state itself: a range is no longer than all of them.
        let next = ((entry >> 20) + 1).wrapping_mul(*own >> PRECISION);
        *own = next.wrapping_add(entry >> 8 & (TOTAL - 1));
        if *own < LOW {
            let (word, rest) = self.words.split_first()?;
            *own = *own << 16 | u32::from(u16::from_le_bytes(*word));
            self.words = rest;
        }
        Some((entry & 0xff) as u8)
    }

    /// Whether all words have been used, and the states are what they were before the first token.
    pub(super) fn is_done(&self) -> bool {
        self.whole && self.words.is_empty() && self.states == [LOW; STATES]
    }
}
