//! Single bits, from the lowest of each byte on.

/// Writes bits.
#[derive(Default)]
pub(super) struct BitWriter {
    out: Vec<u8>,
    word: u64,
    bits: u32,
}

impl BitWriter {
    /// Appends the lowest `len` bits of `value`, lowest first; `value` has no others.
    pub(super) fn put(&mut self, value: u64, len: u32) {
        if len > 32 {
            self.put(value & 0xffff_ffff, 32);
            return self.put(value >> 32, len - 32);
        }
        self.word |= value << self.bits;
        self.bits += len;
        if self.bits >= 32 {
            let [a, b, c, d, ..] = self.word.to_le_bytes();
            self.out.extend([a, b, c, d]);
            self.word >>= 32;
            self.bits -= 32;
        }
    }

    /// All bytes, the last filled up with zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let used = self.bits.div_ceil(8) as usize;
        self.out.extend(self.word.to_le_bytes().iter().take(used));
        self.out
    }
}

/// Reads bits.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    word: u64,
    bits: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, word: 0, bits: 0 }
    }

    /// The next `len` bits, at most 64; none at the end.
    #[inline]
    pub(super) fn take(&mut self, len: u32) -> Option<u64> {
        if len == 0 {
            return Some(0);
        }
        if len > 32 {
            let low = self.take(32)?;
            return Some(low | self.take(len - 32)? << 32);
        }
        while self.bits < len {
            match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()) {
                Some(four) => {
                    self.word |= u64::from(u32::from_le_bytes(*four)) << self.bits;
                    self.bits += 32;
                    self.at += 4;
                }
                None => {
                    self.word |= u64::from(*self.bytes.get(self.at)?) << self.bits;
                    self.bits += 8;
                    self.at += 1;
                }
            }
        }
        let value = self.word & ((1 << len) - 1);
        self.word >>= len;
        self.bits -= len;
        Some(value)
    }

    /// Whether nothing is left but zeros that fill up a byte.
    pub(super) fn is_done(&self) -> bool {
        self.at == self.bytes.len() && self.bits < 8 && self.word == 0
    }
}
