//! From lanes to values, trusting nothing.

use super::format::Layout;
use super::ruler::{OCTAVE, power_bits, power_wide, scale_notches};

/// Scales outside of this range (in octaves) belong to no `f32`.
const SCALES: std::ops::RangeInclusive<f64> = -160.0..=128.0;

/// What is wrong with a lane, and how many bytes into it.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

/// Decodes one row or pair of rows from `bytes`, starting at `pos`; returns where the next begins.
///
/// A missing second row is an empty slice.
pub(super) fn decode_rows<const N: usize, const BITS: u32, const ROWS: usize, const LEN: usize>(
    bytes: &[u8],
    mut pos: usize,
    mut rows: [&mut [f32]; ROWS],
    cols: usize,
) -> Result<usize, Fault> {
    for at in (0..cols).step_by(N) {
        let rest = bytes.get(pos..).unwrap_or_default();
        let Some(maps) = rest.get(..ROWS * Layout::<N, BITS>::MAP) else {
            return Err(Fault {
                at: bytes.len(),
                what: "the group ends where a lane should begin",
            });
        };
        let width = N.min(cols - at);
        if maps.iter().all(|&byte| byte == 0) {
            pos += maps.len();
            for row in &mut rows {
                if let Some(part) = row.get_mut(at..at + width) {
                    part.fill(0.0);
                }
            }
            continue;
        }
        let Some(lane) = rest.first_chunk::<LEN>() else {
            return Err(Fault { at: bytes.len(), what: "the group ends inside a lane" });
        };
        let mut values = [[0.0; N]; ROWS];
        let present: [u32; ROWS] =
            std::array::from_fn(|r| if rows[r].is_empty() { 0 } else { u32::MAX >> (32 - width) });
        if let Some(fault) = decode_lane::<N, BITS, ROWS, LEN>(lane, present, &mut values) {
            return Err(Fault { at: pos + fault.at, what: fault.what });
        }
        pos += LEN;
        for (row, values) in rows.iter_mut().zip(&values) {
            store(row, at, values);
        }
    }
    Ok(pos)
}

/// Puts the values from column `at` on, as many as the row has.
#[inline]
fn store<const N: usize>(row: &mut [f32], at: usize, values: &[f32; N]) {
    let rest = row.get_mut(at..).unwrap_or_default();
    if let Some(full) = rest.first_chunk_mut::<N>() {
        *full = *values;
        return;
    }
    for (value, &decoded) in rest.iter_mut().zip(values) {
        *value = decoded;
    }
}

/// Decodes one lane that is not all zero; bit `i` of `present` says which elements exist.
#[inline]
fn decode_lane<const N: usize, const BITS: u32, const ROWS: usize, const LEN: usize>(
    lane: &[u8; LEN],
    present: [u32; ROWS],
    values: &mut [[f32; N]; ROWS],
) -> Option<Fault> {
    let map = Layout::<N, BITS>::MAP;
    let mut at = ROWS * map;
    let scale = Scale::read(u16::from_le_bytes([lane[at], lane[at + 1]]));
    if let Scale::Invalid = scale {
        return Some(Fault { at, what: "the scale of a lane is not between -160 and 128" });
    }
    at += 2;
    for (row, values) in values.iter_mut().enumerate() {
        let log = get(lane, row * map, map);
        let negative = get(lane, at, map);
        let shift = get(lane, at + map, map);
        let magnitudes = at + 2 * map;
        let mut codes = [0; N];
        if BITS == 8 {
            for (code, &byte) in codes.iter_mut().zip(&lane[magnitudes..magnitudes + N]) {
                *code = u32::from(byte);
            }
        } else {
            let (pairs, _) = codes.as_chunks_mut::<2>();
            for (pair, &byte) in pairs.iter_mut().zip(&lane[magnitudes..magnitudes + N / 2]) {
                *pair = [u32::from(byte & 15), u32::from(byte >> 4)];
            }
        }
        // A zero has all its bits 0, and a linear code (shift without zero_map) is not 0.
        let used = log | shift;
        let coded = (0..).zip(&codes).fold(0, |map, (i, &code)| map | u32::from(code != 0) << i);
        if (coded ^ shift) & !log != 0 {
            return Some(Fault {
                at: magnitudes,
                what: "a magnitude of a lane contradicts its maps",
            });
        }
        if negative & !used != 0 {
            return Some(Fault { at, what: "a zero of a lane has a sign" });
        }
        if used & !present[row] != 0 {
            return Some(Fault {
                at: row * map,
                what: "a lane has values beyond the end of its row",
            });
        }
        scale.decode::<N, BITS>(log, negative, shift, &codes, values);
        at = magnitudes + if BITS == 8 { N } else { N / 2 };
    }
    None
}

/// Reads the `len` bytes of a bit map.
#[inline]
fn get<const LEN: usize>(lane: &[u8; LEN], at: usize, len: usize) -> u32 {
    lane[at..at + len].iter().rev().fold(0, |map, &byte| map << 8 | u32::from(byte))
}

/// The scale of a lane.
enum Scale {
    /// On the ruler, in notches, and every value of the lane is a normal number (or zero).
    Plain(i32),
    /// Any other valid one, in octaves.
    Odd(f64),
    Invalid,
}

impl Scale {
    #[inline]
    fn read(bits: u16) -> Self {
        match scale_notches(bits) {
            Some(j0) if (-118 * OCTAVE..=124 * OCTAVE).contains(&j0) => Self::Plain(j0),
            _ => Self::read_odd(bits),
        }
    }

    #[cold]
    fn read_odd(bits: u16) -> Self {
        let octaves = f64::from(half::f16::from_bits(bits).to_f32());
        if SCALES.contains(&octaves) { Self::Odd(octaves) } else { Self::Invalid }
    }

    #[inline]
    fn decode<const N: usize, const BITS: u32>(
        &self,
        log: u32,
        negative: u32,
        shift: u32,
        codes: &[u32; N],
        values: &mut [f32; N],
    ) {
        let Self::Plain(j0) = *self else {
            return self.decode_odd::<N, BITS>(log, negative, shift, codes, values);
        };
        // 2^(scale - BITS) is a normal number, so that its products are rounded once.
        let linear = f32::from_bits(power_bits(j0 - BITS as i32 * OCTAVE));
        for (i, (value, &code)) in values.iter_mut().zip(codes).enumerate() {
            let step = (code | (shift >> i & 1) << BITS) << Layout::<N, BITS>::STEP_SHIFT;
            let steps = power_bits(j0 + step as i32);
            let part = (code as f32 * linear).to_bits();
            let magnitude = if log >> i & 1 == 1 { steps } else { part };
            *value = f32::from_bits(magnitude | (negative >> i & 1) << 31);
        }
    }

    /// The same by the book: the definition of a value, step by step, for any valid scale.
    #[cold]
    fn decode_odd<const N: usize, const BITS: u32>(
        &self,
        log: u32,
        negative: u32,
        shift: u32,
        codes: &[u32; N],
        values: &mut [f32; N],
    ) {
        let octaves = match *self {
            Self::Plain(j0) => f64::from(j0) / f64::from(OCTAVE),
            Self::Odd(octaves) => octaves,
            Self::Invalid => return,
        };
        let steps_per_octave = f64::from(OCTAVE >> Layout::<N, BITS>::STEP_SHIFT);
        for (i, (value, &code)) in values.iter_mut().zip(codes).enumerate() {
            let magnitude = if log >> i & 1 == 1 {
                let step = code | (shift >> i & 1) << BITS;
                power_wide(octaves + f64::from(step) / steps_per_octave)
            } else {
                f64::from(code) * power_wide(octaves) / f64::from(1u32 << BITS)
            };
            #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the point")]
            let magnitude = (magnitude as f32).min(f32::MAX);
            *value = if negative >> i & 1 == 1 { -magnitude } else { magnitude };
        }
    }
}
