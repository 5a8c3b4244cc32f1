//! One plane of bytes: a constant, as it is, or in a Huffman code, whatever is smallest.

use std::borrow::Cow;

use gmat_core::Result;

use super::huffman;
use super::input::Input;
use super::split::split;

const CONSTANT: u8 = 0;
const RAW: u8 = 1;
const HUFFMAN: u8 = 2;

/// Appends all planes of elements of `width` bytes, lowest first. Takes at most `width` bytes more
/// than `bytes` has.
pub(crate) fn write_planes(bytes: &[u8], width: usize, out: &mut Vec<u8>) {
    let mut plane = Vec::new();
    for number in 0..width {
        split(bytes, width, number, &mut plane);
        write_plane(&plane, out);
    }
}

fn write_plane(plane: &[u8], out: &mut Vec<u8>) {
    let counts = huffman::counts(plane);
    if let Some(first) = plane.first().filter(|_| counts.iter().filter(|n| **n > 0).count() == 1) {
        out.extend([CONSTANT, *first]);
        return;
    }
    // A code that hardly saves anything costs the reader more than it gives.
    let most = plane.len() - plane.len() / 64;
    if !is_noise(&counts) {
        let lengths = huffman::lengths(&counts);
        if huffman::encoded_len(&counts, &lengths) < most {
            out.push(HUFFMAN);
            huffman::encode(plane, &lengths, out);
            return;
        }
    }
    out.push(RAW);
    out.extend_from_slice(plane);
}

/// Whether no code saves a 64th of symbols with these counts, told without making one, which for most
/// mantissas takes longer than all else. False says nothing.
///
/// With N symbols of which n(i) are i, a code takes at least N · H bits, the entropy H being at least
/// log2(N² / sum of n(i)²) (that of order 2, after Rényi); and log2 235 is above 8 · 63/64.
fn is_noise(counts: &[u64; 256]) -> bool {
    let wide = |n: u64| u128::from(n) * u128::from(n);
    235 * counts.iter().map(|n| wide(*n)).sum::<u128>() <= wide(counts.iter().sum())
}

/// All planes of `elems` elements of `width` bytes.
///
/// # Errors
/// `Malformed` if they are not what [`write_planes`] writes.
pub(crate) fn read_planes<'a>(
    input: &mut Input<'a>,
    width: usize,
    elems: usize,
) -> Result<Vec<Cow<'a, [u8]>>> {
    (0..width).map(|_| read_plane(input, elems)).collect()
}

fn read_plane<'a>(input: &mut Input<'a>, elems: usize) -> Result<Cow<'a, [u8]>> {
    match input.byte()? {
        CONSTANT => Ok(Cow::Owned(vec![input.byte()?; elems])),
        RAW => Ok(Cow::Borrowed(input.take(elems)?)),
        HUFFMAN => huffman::decode(input, elems).map(Cow::Owned),
        other @ (3 | 4) => Err(input.malformed(format!(
            "kind {other} of a row group tells what differs from a base, which was not given"
        ))),
        other => Err(input.malformed(format!("unknown kind {other} of a byte plane"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken for noise is what the code that was not made would not have made smaller.
    #[test]
    fn noise_is_not_worth_a_code() {
        let (mut noise, mut other) = (0, 0);
        for flat in [0u64, 1, 2, 3, 5, 10, 30, 100, 1000, 10_000] {
            for step in [0u64, 1, 2, 7, 40] {
                for spread in [2, 200, 230, 240, 250, 256] {
                    let mut counts = [0u64; 256];
                    for (i, count) in (0u64..).zip(&mut counts).take(spread) {
                        *count = flat + i * step % 101;
                    }
                    let all = usize::try_from(counts.iter().sum::<u64>()).unwrap();
                    if counts.iter().filter(|n| **n > 0).count() < 2 {
                        continue;
                    }
                    let len = huffman::encoded_len(&counts, &huffman::lengths(&counts));
                    let coded = len < all - all / 64;
                    assert!(!(coded && is_noise(&counts)), "{flat} {step} {spread}");
                    noise += u32::from(is_noise(&counts));
                    other += u32::from(coded);
                }
            }
        }
        assert!(noise > 10 && other > 10, "{noise} {other}");
    }
}
