//! MXFP4 checkpoints: four-bit floats in groups of 32, each group with a power of two as its scale.
//!
//! Source: OCP Microscaling Formats (MX) 1.0; the layout of the gpt-oss checkpoints and of
//! `mxfp4-pack-quantized` in compressed-tensors. Codes are two in a byte, the even element in the low
//! four bits. ggml's `block_mxfp4` is the scale, then 16 bytes of which byte `j` has element `j` low
//! and element `j + 16` high. Codes and scales are the same numbers, so nothing is lost.

use std::ops::Range;

use super::dequant::FP4;
use super::derived::incomplete;
use crate::error::{Error, Result};

/// Elements of a group, and bytes of their codes.
pub(crate) const GROUP: usize = 32;
pub(crate) const CODES: usize = GROUP / 2;
/// Bytes of a block.
const BLOCK: usize = CODES + 1;
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

/// Appends the values of blocks of ggml's MXFP4: the number of the code times `2^(scale - 127)`, and no
/// number under the scale 255, as Microscaling Formats define it. (ggml itself reads 255 as `2^128`.)
/// Products that F32 does not hold are infinite; all others are exact.
pub(crate) fn values(blocks: &[u8], out: &mut [f32]) -> Result<()> {
    let (blocks, rest) = blocks.as_chunks::<BLOCK>();
    let (groups, odd) = out.as_chunks_mut::<GROUP>();
    if blocks.len() != groups.len() || !rest.is_empty() || !odd.is_empty() {
        return Err(incomplete());
    }
    for ([scale, codes @ ..], out) in blocks.iter().zip(groups) {
        if *scale == NAN {
            // Not a product: which NaN that gives is up to the machine.
            *out = [f32::NAN; GROUP];
            continue;
        }
        let e = u32::from(*scale);
        // 2^-127 is subnormal.
        let scale = f32::from_bits(if e == 0 { 1 << 22 } else { e << 23 });
        let table = FP4.map(|value| value * scale);
        let (first, second) = out.split_at_mut(CODES);
        for ((byte, low), high) in codes.iter().zip(first).zip(second) {
            *low = table[usize::from(byte & 15)];
            *high = table[usize::from(byte >> 4)];
        }
    }
    Ok(())
}

/// Appends the codes of blocks in the order of checkpoints: [`CODES`] bytes for each.
pub(crate) fn codes(blocks: &[u8], out: &mut Vec<u8>) {
    for [_, packed @ ..] in blocks.as_chunks::<BLOCK>().0 {
        let (mut low, mut high) = ([0; CODES / 2], [0; CODES / 2]);
        for (pair, (low, high)) in
            packed.as_chunks::<2>().0.iter().zip(low.iter_mut().zip(&mut high))
        {
            let [even, odd] = *pair;
            *low = (even & 15) | (odd << 4);
            *high = (even >> 4) | (odd & 0xf0);
        }
        out.extend_from_slice(&low);
        out.extend_from_slice(&high);
    }
}

/// Appends the scales of blocks.
pub(crate) fn scales(blocks: &[u8], out: &mut Vec<u8>) {
    out.extend(blocks.as_chunks::<BLOCK>().0.iter().map(|[scale, ..]| *scale));
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
    fn codes_and_scales_come_apart_as_they_were() {
        let bytes: Vec<u8> = (0..96).map(|n: u8| n.wrapping_mul(37) ^ 5).collect();
        let scales_of = [1, 255, 3, 0, 5, 6];
        let mut packed = Vec::new();
        blocks(&(0..3), 64, &bytes, &scales_of, false, &mut packed).unwrap();
        let (mut own_codes, mut own_scales) = (Vec::new(), Vec::new());
        codes(&packed, &mut own_codes);
        scales(&packed, &mut own_scales);
        assert_eq!((own_codes, own_scales), (bytes, scales_of.to_vec()));
    }

    #[test]
    fn values_are_those_of_the_definition() {
        let numbers = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        let codes_of: Vec<u8> = (0..16).map(|k: u8| (k % 8 * 2) | ((k % 8 * 2 + 1) << 4)).collect();
        for scale in 0..=255u8 {
            let mut packed = Vec::new();
            blocks(&(0..1), 32, &codes_of, &[scale], false, &mut packed).unwrap();
            let mut out = [0.0; 32];
            values(&packed, &mut out).unwrap();
            for (at, value) in out.into_iter().enumerate() {
                let sign = if at % 16 < 8 { 1.0 } else { -1.0 };
                let exact = sign * numbers[at % 8] * 2f64.powi(i32::from(scale) - 127);
                if scale == NAN {
                    assert!(value.is_nan());
                } else if exact.abs() > f64::from(f32::MAX) {
                    assert_eq!(f64::from(value), f64::INFINITY * sign);
                } else {
                    assert_eq!(f64::from(value).to_bits(), exact.to_bits(), "{at} {scale}");
                }
            }
        }
        assert!(values(&[0; 17], &mut [0.0; 31]).is_err());
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
