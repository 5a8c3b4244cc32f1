//! Elements as a number of steps from those of the base.

use gmat_core::DType;

use super::rans::STATES;
use super::tables::CONTEXTS;

/// What the bits of a floating point type mean.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    bytes: u32,
    /// Bits below the exponent.
    mantissa: u32,
    exponent: u32,
}

impl Kind {
    pub(super) fn of(dtype: DType) -> Option<Self> {
        let (mantissa, exponent) = match dtype {
            DType::F64 => (52, 11),
            DType::F32 => (23, 8),
            DType::Bf16 => (7, 8),
            DType::F16 => (10, 5),
            DType::F8E4m3 => (3, 4),
            DType::F8E5m2 => (2, 5),
            _ => return None,
        };
        Some(Self { bytes: (mantissa + exponent + 1) / 8, mantissa, exponent })
    }

    /// Bytes of an element.
    pub(super) fn width(self) -> usize {
        self.bytes as usize
    }

    /// How many of the low bytes are zero in all elements.
    pub(super) fn zero_bytes(self, bytes: &[u8]) -> u32 {
        let some = |place: &u32| {
            bytes.iter().skip(*place as usize).step_by(self.width()).any(|byte| *byte != 0)
        };
        (0..self.bytes - 1).find(some).unwrap_or(self.bytes - 1)
    }

    /// The exponent, as it is stored; that of numbers too small for one is that of the smallest.
    #[inline]
    fn exponent(self, bits: u64) -> usize {
        let upper = (bits >> self.mantissa & 0xffff) as u16;
        usize::from(upper % (1 << self.exponent)).max(1)
    }

    /// An exponent that few elements exceed, as a place to count contexts from.
    pub(super) fn top(self, base: &[u8]) -> u16 {
        let counts = match self.width() {
            1 => self.exponents::<1>(base),
            2 => self.exponents::<2>(base),
            4 => self.exponents::<4>(base),
            _ => self.exponents::<8>(base),
        };
        let few = base.len() / self.width() / 1024;
        let mut above = 0;
        for (exponent, count) in (0..1u16 << self.exponent).zip(&counts).rev() {
            above += count;
            if above > few {
                return exponent;
            }
        }
        0
    }

    /// How often each exponent occurs.
    fn exponents<const W: usize>(self, base: &[u8]) -> Vec<usize> {
        let mut counts = vec![0; 1 << self.exponent];
        for element in base.as_chunks::<W>().0 {
            if let Some(count) = counts.get_mut(self.exponent(load(element))) {
                *count += 1;
            }
        }
        counts
    }
}

#[inline(always)]
fn load<const W: usize>(element: &[u8; W]) -> u64 {
    let mut word = [0; 8];
    for (to, byte) in word.iter_mut().zip(element) {
        *to = *byte;
    }
    u64::from_le_bytes(word)
}

/// How elements are cut into tokens, and in which context.
pub(super) struct Steps {
    kind: Kind,
    /// Low bytes that are not coded, since they are zero.
    dropped: u32,
    /// Context by exponent.
    contexts: Vec<u8>,
    /// Bits of what is coded.
    bits: u32,
    /// Bits of a number of steps that its token tells, below the highest.
    fine: u32,
}

impl Steps {
    pub(super) fn new(kind: Kind, dropped: u32, top: u16) -> Self {
        let context = |exponent: u16| top.saturating_sub(exponent).to_le_bytes();
        let deepest = (CONTEXTS - 1).to_le_bytes()[0];
        let contexts = (0..1u16 << kind.exponent)
            .map(|exponent| match context(exponent) {
                [low, 0] => low.min(deepest),
                _ => deepest,
            })
            .collect();
        let bits = 8 * (kind.bytes - dropped);
        // At most 256 tokens.
        Self { kind, dropped, contexts, bits, fine: if kind.bytes > 4 { 2 } else { 3 } }
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The place of an element among all numbers in order.
    #[inline]
    fn place(&self, element: u64) -> u64 {
        let (bits, sign) = (element >> (8 * self.dropped), 1 << (self.bits - 1));
        if bits & sign == 0 { bits | sign } else { !bits & self.mask() }
    }

    /// The element at a place.
    #[inline]
    fn element(&self, place: u64) -> u64 {
        let sign = 1 << (self.bits - 1);
        let bits = if place & sign == 0 { !place & self.mask() } else { place & !sign };
        bits << (8 * self.dropped)
    }

    #[inline]
    fn context(&self, base: u64) -> u8 {
        self.contexts.get(self.kind.exponent(base)).copied().unwrap_or(0)
    }

    /// Calls `put` with context, token, and value and number of further bits of every element.
    pub(super) fn each(&self, bytes: &[u8], base: &[u8], put: impl FnMut(u8, u8, u64, u32)) {
        match self.kind.width() {
            1 => self.each_of::<1>(bytes, base, put),
            2 => self.each_of::<2>(bytes, base, put),
            4 => self.each_of::<4>(bytes, base, put),
            _ => self.each_of::<8>(bytes, base, put),
        }
    }

    #[inline]
    fn each_of<const W: usize>(
        &self,
        bytes: &[u8],
        base: &[u8],
        mut put: impl FnMut(u8, u8, u64, u32),
    ) {
        let (mask, sign) = (self.mask(), 1 << (self.bits - 1));
        let (elements, _) = bytes.as_chunks::<W>();
        let (bases, _) = base.as_chunks::<W>();
        for (element, base) in elements.iter().zip(bases) {
            let base = load(base);
            let steps = self.place(load(element)).wrapping_sub(self.place(base)) & mask;
            let turned = steps << 1 & mask ^ if steps & sign == 0 { 0 } else { mask };
            let (token, rest, len) = self.token(turned);
            put(self.context(base), token, rest, len);
        }
    }

    /// Token of a number, and its further bits.
    #[inline]
    fn token(&self, number: u64) -> (u8, u64, u32) {
        let fine = self.fine;
        if number >> (fine + 1) == 0 {
            return ((number & 0xff) as u8, 0, 0);
        }
        let len = number.ilog2() - fine;
        let token = (u64::from(len) << fine) + (number >> len);
        ((token & 0xff) as u8, number & ((1 << len) - 1), len)
    }

    /// Number of further bits of a token.
    #[inline]
    fn rest_len(&self, token: u8) -> u32 {
        (u32::from(token) >> self.fine).saturating_sub(1)
    }

    /// Appends an element for each of `base`; `next` is given a lane and a context and returns a token,
    /// `rest` so many further bits. False if they return none, or a number that elements do not have.
    pub(super) fn restore(
        &self,
        base: &[u8],
        out: &mut Vec<u8>,
        next: impl FnMut(usize, u8) -> Option<u8>,
        rest: impl FnMut(u32) -> Option<u64>,
    ) -> bool {
        match self.kind.width() {
            1 => self.restore_of::<1>(base, out, next, rest),
            2 => self.restore_of::<2>(base, out, next, rest),
            4 => self.restore_of::<4>(base, out, next, rest),
            _ => self.restore_of::<8>(base, out, next, rest),
        }
    }

    #[inline]
    fn restore_of<const W: usize>(
        &self,
        base: &[u8],
        out: &mut Vec<u8>,
        mut next: impl FnMut(usize, u8) -> Option<u8>,
        mut rest: impl FnMut(u32) -> Option<u64>,
    ) -> bool {
        let mask = self.mask();
        let (bases, _) = base.as_chunks::<W>();
        out.reserve(base.len());
        for (number, base) in bases.iter().enumerate() {
            let base = load(base);
            let Some(token) = next(number % STATES, self.context(base)) else { return false };
            let len = self.rest_len(token);
            let mut turned = u64::from(token);
            if len > 0 {
                if len + self.fine >= self.bits {
                    return false;
                }
                let Some(rest) = rest(len) else { return false };
                turned = (turned - (u64::from(len) << self.fine)) << len | rest;
            }
            let steps = turned >> 1 ^ if turned & 1 == 0 { 0 } else { mask };
            let place = self.place(base).wrapping_add(steps) & mask;
            let bytes = self.element(place).to_le_bytes();
            if let Some(element) = bytes.first_chunk::<W>() {
                out.extend_from_slice(element);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_tell_numbers_of_any_size() {
        for dtype in [DType::Bf16, DType::F32, DType::F64] {
            let steps = Steps::new(Kind::of(dtype).unwrap(), 0, 100);
            let mut last = 0;
            let bits = (0..steps.bits).flat_map(|bit| [1u64 << bit, (1 << bit) + (1 << bit) / 3]);
            let mut numbers: Vec<u64> = (0..5000).chain(bits).chain([steps.mask()]).collect();
            numbers.sort_unstable();
            for number in numbers.into_iter().filter(|n| *n <= steps.mask()) {
                let (token, rest, len) = steps.token(number);
                assert!(token >= last, "{number}");
                last = token;
                assert_eq!(steps.rest_len(token), len, "{number}");
                let high = u64::from(token) - (u64::from(len) << steps.fine);
                assert_eq!(high << len | rest, number);
            }
        }
    }

    #[test]
    fn places_are_in_the_order_of_numbers() {
        let steps = Steps::new(Kind::of(DType::F32).unwrap(), 0, 100);
        let numbers = [-f32::INFINITY, -2.0, -1e-40, -0.0, 0.0, 1e-45, 1.0, 1.5, f32::INFINITY];
        let places = numbers.map(|number| steps.place(number.to_bits().into()));
        assert!(places.is_sorted());
        assert_eq!(places[3] + 1, places[4]);
        for (number, place) in numbers.iter().zip(places) {
            assert_eq!(steps.element(place), u64::from(number.to_bits()));
        }
    }
}
