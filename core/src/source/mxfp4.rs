//! MXFP4 checkpoints: four-bit floats in groups of 32, each group with a power of two as its scale.
//!
//! Source: OCP Microscaling Formats (MX) 1.0; the layout of the gpt-oss checkpoints and of
//! `mxfp4-pack-quantized` in compressed-tensors. Codes are two in a byte, the even element in the low
//! four bits. ggml's `block_mxfp4` is the scale, then 16 bytes of which byte `j` has element `j` low
//! and element `j + 16` high. Codes and scales are the same numbers, so nothing is lost.

use std::ops::Range;

use super::derived::incomplete;
use crate::error::{Error, Result};

/// Elements of a group, and bytes of their codes.
pub(super) const GROUP: usize = 32;
pub(super) const CODES: usize = GROUP / 2;
/// The scale that is not a number.
const NAN: u8 = 0xff;

/// Appends the blocks of some rows to `out`.
pub(super) fn blocks(
    rows: &Range<u64>,
    cols: usize,
    codes: &[u8],
    scales: &[u8],
    finite: bool,
    out: &mut Vec<u8>,
) -> Result<()> {
    let (codes, rest) = codes.as_chunks::<CODES>();
    if codes.len() != scales.len() || !rest.is_empty() {
        return Err(incomplete());
    }
    if finite && let Some(at) = scales.iter().position(|&scale| scale == NAN) {
        let per_row = (cols / GROUP).max(1);
        let (row, column) = (rows.start + (at / per_row) as u64, at % per_row * GROUP);
        return Err(Error::malformed(format!(
            "scale of row {row}, columns {column} to {} is `NaN`, not a finite number",
            column + GROUP - 1
        )));
    }
    out.reserve(codes.len() * (CODES + 1));
    for (codes, &scale) in codes.iter().zip(scales) {
        let (first, second) = codes.split_at(CODES / 2);
        out.push(scale);
        for (a, b) in first.iter().zip(second) {
            out.push((a & 15) | (b << 4));
            out.push((a >> 4) | (b & 0xf0));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_finds_its_place() {
        // Element n has the code n % 16 in the first half and 15 - n % 16 in the second.
        let code = |n: usize| u8::try_from(if n < 16 { n } else { 31 - n }).unwrap();
        let codes: Vec<u8> = (0..16).map(|k| code(2 * k) | (code(2 * k + 1) << 4)).collect();
        let mut out = vec![9];
        blocks(&(0..1), 32, &codes, &[77], true, &mut out).unwrap();
        assert_eq!(out[..2], [9, 77]);
        for (j, byte) in out[2..].iter().enumerate() {
            assert_eq!((byte & 15, byte >> 4), (code(j), code(j + 16)), "byte {j}");
        }
        assert_eq!(out.len(), 18);
    }

    #[test]
    fn a_scale_that_is_no_number_is_named() {
        let mut scales = [127; 6];
        scales[5] = NAN;
        let of = |finite| blocks(&(10..13), 64, &[0; 96], &scales, finite, &mut Vec::new());
        let error = of(true).unwrap_err().to_string();
        assert!(error.contains("row 12, columns 32 to 63"), "{error}");
        assert!(of(false).is_ok());
        assert!(blocks(&(0..1), 32, &[0; 17], &[1], true, &mut Vec::new()).is_err());
    }
}
