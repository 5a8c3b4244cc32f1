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
    let lengths = huffman::lengths(&counts);
    // A code that hardly saves anything costs the reader more than it gives.
    let most = plane.len() - plane.len() / 64;
    if huffman::encoded_len(&counts, &lengths) < most {
        out.push(HUFFMAN);
        huffman::encode(plane, &lengths, out);
    } else {
        out.push(RAW);
        out.extend_from_slice(plane);
    }
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
