//! How frequent tokens are in each context.

use gmat_core::fmath;

use super::bits::{BitReader, BitWriter};

/// Contexts, at most.
pub(super) const CONTEXTS: usize = 16;

/// Frequencies of a table add up to two to the power of this.
pub(super) const PRECISION: u32 = 12;

/// The sum of the frequencies of a table.
pub(super) const TOTAL: u32 = 1 << PRECISION;

/// Frequencies of all tokens, of contexts that have some in common.
pub(super) struct Tables {
    /// Frequencies by token, of every table.
    pub(super) tables: Vec<[u32; 256]>,
    /// Table of each context.
    pub(super) of: [usize; CONTEXTS],
}

impl Tables {
    /// Tables for tokens that occur this often. Neighbouring contexts share one where that takes less
    /// room.
    pub(super) fn of(counts: &[[u32; 256]]) -> Self {
        let mut groups: Vec<(usize, [u32; 256], f64)> =
            counts.iter().map(|own| (1, *own, cost(own))).collect();
        let merged = |a: &(usize, [u32; 256], f64), b: &(usize, [u32; 256], f64)| {
            let mut sum = a.1;
            sum.iter_mut().zip(b.1).for_each(|(to, own)| *to += own);
            (a.0 + b.0, sum, cost(&sum))
        };
        let mut pairs: Vec<_> = groups.windows(2).map(|pair| merged(&pair[0], &pair[1])).collect();
        loop {
            let gains = pairs.iter().zip(groups.windows(2));
            let gains = gains.map(|(both, pair)| pair[0].2 + pair[1].2 - both.2);
            let best = gains.enumerate().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            let Some((at, _)) = best.filter(|(_, gain)| *gain >= 0.0) else { break };
            let both = pairs.remove(at);
            groups.remove(at);
            if let Some(place) = groups.get_mut(at) {
                *place = both;
            }
            for pair in [at.checked_sub(1), Some(at)].into_iter().flatten() {
                if let (Some([a, b]), Some(to)) = (groups.get(pair..pair + 2), pairs.get_mut(pair))
                {
                    *to = merged(a, b);
                }
            }
        }
        let mut of = [0; CONTEXTS];
        let numbers = groups.iter().enumerate();
        let numbers = numbers.flat_map(|(number, group)| std::iter::repeat_n(number, group.0));
        of.iter_mut().zip(numbers).for_each(|(to, number)| *to = number);
        Self { tables: groups.iter().map(|group| frequencies(&group.1)).collect(), of }
    }

    /// Writes the tables; returns which contexts have one of their own.
    pub(super) fn write(&self, out: &mut BitWriter) -> u16 {
        let mut own = 0;
        let mut last = None;
        for (context, table) in self.of.iter().enumerate() {
            if last != Some(table) {
                own |= 1 << context;
                last = Some(table);
            }
        }
        for table in &self.tables {
            let tokens = table.iter().rposition(|frequency| *frequency > 0).unwrap_or(0);
            out.put(tokens as u64, 8);
            let mut before = 0;
            for frequency in table.iter().take(tokens + 1) {
                // The number of bits, by how much it differs from the one before; then the bits.
                let bits = u32::BITS - frequency.leading_zeros();
                let turned =
                    if bits >= before { 2 * (bits - before) } else { 2 * (before - bits) - 1 };
                out.put(1 << turned, turned + 1);
                if bits > 1 {
                    out.put(u64::from(frequency & !(1 << (bits - 1))), bits - 1);
                }
                before = bits;
            }
        }
        own
    }

    /// Reads the tables; none if they are not what [`Self::write`] writes.
    pub(super) fn read(own: u16, input: &mut BitReader<'_>) -> Option<Self> {
        if own & 1 == 0 {
            return None;
        }
        let (mut tables, mut of) = (Vec::new(), [0; CONTEXTS]);
        for (context, number) in of.iter_mut().enumerate() {
            if own >> context & 1 == 1 {
                tables.push(read_table(input)?);
            }
            *number = tables.len() - 1;
        }
        Some(Self { tables, of })
    }
}

fn read_table(input: &mut BitReader<'_>) -> Option<[u32; 256]> {
    let mut table = [0; 256];
    let tokens = usize::try_from(input.take(8)?).ok()?;
    let (mut before, mut sum) = (0u32, 0);
    for frequency in table.get_mut(..=tokens)? {
        let mut turned = 0;
        while input.take(1)? == 0 {
            turned += 1;
            if turned > 2 * PRECISION + 2 {
                return None;
            }
        }
        let bits = match turned % 2 {
            0 => before + turned / 2,
            _ => before.checked_sub(turned / 2 + 1)?,
        };
        if bits > PRECISION + 1 {
            return None;
        }
        if bits > 0 {
            *frequency = 1 << (bits - 1) | u32::try_from(input.take(bits - 1)?).ok()?;
        }
        sum += *frequency;
        before = bits;
    }
    (sum == TOTAL && table.get(tokens).is_some_and(|last| *last > 0)).then_some(table)
}

/// Bits that tokens and table take, about.
fn cost(counts: &[u32; 256]) -> f64 {
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    if total == 0 {
        return 0.0;
    }
    let mut bits = 8.0 + total as f64 * fmath::log2_f64(total as f64);
    for count in counts.iter().filter(|count| **count > 0) {
        bits += 6.0 - f64::from(*count) * fmath::log2_f64(f64::from(*count));
    }
    bits
}

/// Frequencies that add up to [`TOTAL`], none of a token that occurs 0.
fn frequencies(counts: &[u32; 256]) -> [u32; 256] {
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let mut out = [0u32; 256];
    if total == 0 {
        out[0] = TOTAL;
        return out;
    }
    for (frequency, count) in out.iter_mut().zip(counts).filter(|(_, count)| **count > 0) {
        let share = (u64::from(*count) * u64::from(TOTAL) + total / 2) / total;
        *frequency = u32::try_from(share).unwrap_or(TOTAL).max(1);
    }
    // What rounding adds or takes is least felt by the most frequent.
    let mut sum: u32 = out.iter().sum();
    while sum != TOTAL {
        let Some(largest) = out.iter_mut().max() else { break };
        if sum < TOTAL {
            *largest += TOTAL - sum;
        } else {
            *largest -= (sum - TOTAL).min((*largest / 2).max(1));
        }
        sum = out.iter().sum();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_back_and_contexts_share_them() {
        let mut counts = vec![[0u32; 256]; CONTEXTS];
        for (context, own) in counts.iter_mut().enumerate().take(9) {
            // Two kinds of distribution, and contexts in which nothing happens.
            let spread = if context < 4 { 3 } else { 200 };
            for (token, count) in (0u32..).zip(own.iter_mut()).take(spread) {
                *count = 100_000 / (token * token + 1) + 1;
            }
        }
        let tables = Tables::of(&counts);
        assert_eq!(tables.tables.len(), 2);
        assert!(tables.of[..4].iter().all(|of| *of == 0));
        assert!(tables.tables.iter().all(|table| table.iter().sum::<u32>() == TOTAL));
        let mut out = BitWriter::default();
        let own = tables.write(&mut out);
        let bytes = out.finish();
        let mut input = BitReader::new(&bytes);
        let again = Tables::read(own, &mut input).unwrap();
        assert!(input.is_done());
        assert!(again.tables == tables.tables && again.of == tables.of);
        assert!(Tables::read(own, &mut BitReader::new(&bytes[..20])).is_none());
        assert!(Tables::read(own & !1, &mut BitReader::new(&bytes)).is_none());
    }

    #[test]
    fn many_rare_tokens_leave_room_for_all() {
        let mut counts = [1u32; 256];
        counts[0] = u32::MAX;
        let table = frequencies(&counts);
        assert_eq!((table.iter().sum::<u32>(), table[0], table[255]), (TOTAL, TOTAL - 255, 1));
        assert_eq!(frequencies(&[0; 256])[0], TOTAL);
        assert_eq!(frequencies(&[7; 256]), [16; 256]);
    }
}
