//! From values to lanes.

use super::format::Layout;
use super::ruler::{OCTAVE, anchor, notch, power_bits, scale_bits};

/// Bits of positive infinity: every magnitude from here on is not a number to encode.
pub(super) const INFINITE: u32 = 0x7f80_0000;

/// Lanes whose top is below 2^-111 are scaled by 2^[`LIFT`] first, an exact product, so that
/// everything the logarithm and the linear codes look at is in the normal range of `f32`.
const LOW_TOP: u32 = (127 - 111) << 23;
const LIFT: i32 = 64;

/// Adding 2^52 to a small non-negative `f64` leaves its nearest integer (ties to even) in the
/// lowest mantissa bits.
const ROUNDER: f64 = (1u64 << 52) as f64;

/// The magnitude codes of a lane, one below the other: linear codes `0..2^BITS` first, then the
/// logarithmic ones, in two ranges of 2^BITS. So what a linear code of 2^BITS would be is the
/// smallest logarithmic code, the upper bits tell the range, and the lower `BITS` are stored.
type Codes<const N: usize> = [u32; N];

/// Appends the lanes of one row or pair of rows; returns the largest magnitude, as bits.
///
/// A missing second row counts as zeros, and so does what a last lane lacks.
pub(super) fn encode_rows<const N: usize, const BITS: u32, const ROWS: usize, const LEN: usize>(
    rows: [&[f32]; ROWS],
    cols: usize,
    out: &mut Vec<u8>,
) -> u32 {
    let mut largest = 0;
    for at in (0..cols).step_by(N) {
        let lane = rows.map(|row| load::<N>(row, at));
        let top = lane.iter().flatten().fold(0, |top, bits| top.max(bits & !SIGN));
        largest = largest.max(top);
        if top == 0 {
            out.extend_from_slice(&[0; 4][..ROWS * Layout::<N, BITS>::MAP]);
        } else if top >= LOW_TOP {
            out.extend_from_slice(&encode_lane::<N, BITS, ROWS, LEN>(&lane, top, 0));
        } else {
            let up = f32::from_bits(((127 + LIFT) as u32) << 23);
            let lift = |bits: u32| (f32::from_bits(bits) * up).to_bits();
            let lane = lane.map(|row| row.map(lift));
            let encoded = encode_lane::<N, BITS, ROWS, LEN>(&lane, lift(top), LIFT * OCTAVE);
            out.extend_from_slice(&encoded);
        }
    }
    largest
}

const SIGN: u32 = 1 << 31;

/// The bits of `N` values from column `at` on, zeros where the row has ended.
#[inline]
fn load<const N: usize>(row: &[f32], at: usize) -> [u32; N] {
    let rest = row.get(at..).unwrap_or_default();
    if let Some(full) = rest.first_chunk::<N>() {
        return full.map(f32::to_bits);
    }
    let mut lane = [0; N];
    for (bits, value) in lane.iter_mut().zip(rest) {
        *bits = value.to_bits();
    }
    lane
}

/// One lane that is not all zero. `top` is its largest magnitude, `lift` the notches by which the
/// values are above the true ones.
///
/// Inlined by force, as are the codes: with the loops of one lane in one place the constants stay in
/// registers, which is worth a third of the speed.
#[inline(always)]
fn encode_lane<const N: usize, const BITS: u32, const ROWS: usize, const LEN: usize>(
    lane: &[[u32; N]; ROWS],
    top: u32,
    lift: i32,
) -> [u8; LEN] {
    let map = Layout::<N, BITS>::MAP;
    let half_step = Layout::<N, BITS>::STEP / 2;
    let above = Layout::<N, BITS>::TOP_CODE * Layout::<N, BITS>::STEP;
    let j0 = anchor(notch(top) - lift - above, half_step);

    let mut bytes = [0; LEN];
    let mut at = ROWS * map;
    bytes[at..at + 2].copy_from_slice(&scale_bits(j0).to_le_bytes());
    at += 2;
    for (row, bits) in lane.iter().enumerate() {
        let codes = codes::<N, BITS>(bits, j0 + lift);
        let log = bitmap(&codes, |code| code >> BITS != 0);
        let upper = bitmap(&codes, |code| code >> BITS == 2);
        let any = bitmap(&codes, |code| code != 0);
        let negative = bitmap(bits, |bits| bits >> 31 != 0);
        put(&mut bytes, row * map, map, log);
        put(&mut bytes, at, map, negative & any);
        put(&mut bytes, at + map, map, upper | (any & !log));
        at += 2 * map;
        if BITS == 8 {
            for (byte, code) in bytes[at..at + N].iter_mut().zip(codes) {
                *byte = low_byte(code);
            }
            at += N;
        } else {
            let (pairs, _) = codes.as_chunks::<2>();
            for (byte, [even, odd]) in bytes[at..at + N / 2].iter_mut().zip(pairs) {
                *byte = low_byte(even & 15 | (odd & 15) << 4);
            }
            at += N / 2;
        }
    }
    bytes
}

/// The codes of one row of a lane whose scale is `j0` notches.
#[inline(always)]
fn codes<const N: usize, const BITS: u32>(bits: &[u32; N], j0: i32) -> Codes<N> {
    let half_step = Layout::<N, BITS>::STEP / 2;
    // One linear code is `power / 2^BITS`.
    let per_code = f64::from(1u32 << BITS) / f64::from(f32::from_bits(power_bits(j0)));
    // One loop of look-ups, then one of arithmetic without a branch, which vectorizes.
    let mut distances = [0; N];
    for (distance, bits) in distances.iter_mut().zip(bits) {
        *distance = notch(bits & !SIGN) - j0;
    }
    let mut codes = [0; N];
    for ((code, &distance), bits) in codes.iter_mut().zip(&distances).zip(bits) {
        let log = ((distance + half_step) >> Layout::<N, BITS>::STEP_SHIFT) + (1 << BITS);
        let magnitude = f64::from(f32::from_bits(bits & !SIGN));
        let linear = low_half((magnitude * per_code + ROUNDER).to_bits()) & 0xffff;
        let below = (distance >> 31) as u32;
        *code = (linear & below) | (log as u32 & !below);
    }
    codes
}

#[inline]
fn low_half(wide: u64) -> u32 {
    (wide & 0xffff_ffff) as u32
}

#[inline]
fn low_byte(code: u32) -> u8 {
    (code & 0xff) as u8
}

/// Bit `i` says whether element `i` has the property.
#[inline]
fn bitmap<const N: usize>(elements: &[u32; N], has: impl Fn(u32) -> bool) -> u32 {
    (0..).zip(elements).fold(0, |map, (i, &element)| map | u32::from(has(element)) << i)
}

/// Writes the `len` bytes of a bit map.
#[inline]
fn put<const LEN: usize>(bytes: &mut [u8; LEN], at: usize, len: usize, map: u32) {
    bytes[at..at + len].copy_from_slice(&map.to_le_bytes()[..len]);
}
