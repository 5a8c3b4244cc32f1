//! Codes times scales, in F32, with the roundings of the reference implementations.
//!
//! `value = (code - zero) * scale`. Codes and zero points are small integers or FP8 and FP4 numbers,
//! exact in F32, and so is their difference; the product rounds once. Where a second, global scale
//! belongs to the first (NVFP4), scale and global scale are combined before, which rounds too:
//! `scale * global` (Model Optimizer, `weight_scale_2`) or `scale / global` (compressed-tensors,
//! `weight_global_scale`).

use std::ops::Range;

use super::derived::{Part, Reach, Tiles, incomplete};
use crate::convert::to_f32;
use crate::error::{Error, Result};
use crate::tensor::{DType, mem_len};

/// E2M1: sign, two bits of exponent, one of mantissa (OCP MX 1.0, section 5.3.3).
pub(super) const FP4: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// What the codes are, and which parts belong to them. Parts are numbered as in
/// [`super::Derived::parts`]: codes, scales, then these.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    pub(super) form: Form,
    /// Part with a second scale for every matrix.
    pub(super) global: Option<(usize, Global)>,
    /// Part with zero points, spread like scales.
    pub(super) zeros: Option<usize>,
    /// Part that says for each column which column of scales it has.
    pub(super) columns: Option<usize>,
}

/// How codes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Elements of a type.
    Plain(DType),
    /// Unsigned numbers of so many bits (2, 4 or 8) in words of 32, the first in the lowest bits;
    /// half of their range stands for zero.
    Packed(u32),
    /// Two FP4 numbers in a byte, the first in the low bits.
    Fp4,
}

/// What is done with a global scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    Multiply,
    Divide,
}

/// Appends the values of some rows to `out`, as F32.
pub(super) fn dequantize(
    codes: &Codes,
    parts: &[Part],
    rows: &Range<u64>,
    cols: usize,
    chunks: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<()> {
    let count = mem_len(rows.end - rows.start)?;
    let chunk = |number: usize| chunks.get(number).copied().ok_or_else(incomplete);
    let main = chunk(0)?;
    let row_len = main.len().checked_div(count).unwrap_or(0);
    let scales = Grid::read(parts, chunks, 1, rows)?;
    let globals =
        codes.global.map(|(part, _)| Grid::read(parts, chunks, part, rows)).transpose()?;
    let zeros = codes.zeros.map(|part| Zeros::read(parts, chunks, part, rows)).transpose()?;
    let tile = mem_len(scales.tiles.cols.max(1))?;
    let columns = codes.columns.map(|part| {
        let width = mem_len(scales.tiles.width)?;
        column_map(chunk(part)?, tile, width).map_err(|error| {
            let name = parts.get(part).map_or("", |part| part.info.name.as_str());
            error.context(format!("tensor `{name}`"))
        })
    });
    let columns = columns.transpose()?;
    let mut row_scales = Vec::new();
    let mut row_zeros = Vec::new();
    let mut values = vec![0.0; cols];
    out.reserve(count * cols * 4);
    for (row, bytes) in rows.clone().zip(main.chunks(row_len.max(1))) {
        row_scales.clear();
        row_scales.extend_from_slice(scales.row(row)?);
        if let (Some(globals), Some((_, how))) = (&globals, codes.global) {
            let global = *globals.row(row)?.first().ok_or_else(incomplete)?;
            for scale in &mut row_scales {
                *scale = match how {
                    Global::Multiply => *scale * global,
                    Global::Divide => *scale / global,
                };
            }
        }
        codes.form.read(bytes, &mut values)?;
        if let Some(zeros) = &zeros {
            zeros.row(row, &mut row_zeros)?;
        }
        if let Some(columns) = &columns {
            for (value, &group) in values.iter_mut().zip(columns) {
                let zero = row_zeros.get(group).copied().unwrap_or(0.0);
                *value = (*value - zero) * row_scales.get(group).copied().ok_or_else(incomplete)?;
            }
        } else if zeros.is_some() {
            for (group, values) in values.chunks_mut(tile).enumerate() {
                let zero = row_zeros.get(group).copied().ok_or_else(incomplete)?;
                let scale = row_scales.get(group).copied().ok_or_else(incomplete)?;
                values.iter_mut().for_each(|value| *value = (*value - zero) * scale);
            }
        } else {
            // Without a subtraction: it would lose the sign of a negative zero.
            for (group, values) in values.chunks_mut(tile).enumerate() {
                let scale = row_scales.get(group).copied().ok_or_else(incomplete)?;
                values.iter_mut().for_each(|value| *value *= scale);
            }
        }
        for value in &values {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
    Ok(())
}

impl Form {
    /// The codes of one row as numbers.
    fn read(self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        match self {
            Self::Plain(dtype) => return numbers(dtype, bytes, out),
            Self::Packed(bits) => {
                let per_word = (32 / bits) as usize;
                let (mask, zero) = (u32::MAX >> (32 - bits), 1u32 << (bits - 1));
                if bytes.len() / 4 < out.len().div_ceil(per_word) {
                    return Err(incomplete());
                }
                for (word, out) in bytes.as_chunks().0.iter().zip(out.chunks_mut(per_word)) {
                    let mut word = u32::from_le_bytes(*word);
                    for value in out {
                        *value = small(word & mask) - small(zero);
                        word = word.checked_shr(bits).unwrap_or(0);
                    }
                }
            }
            Self::Fp4 => {
                if bytes.len() != out.len().div_ceil(2) {
                    return Err(incomplete());
                }
                let value = |code: u8| FP4.get(usize::from(code & 15)).copied().unwrap_or(0.0);
                for (byte, out) in bytes.iter().zip(out.chunks_mut(2)) {
                    for (value_out, code) in out.iter_mut().zip([*byte, byte >> 4]) {
                        *value_out = value(code);
                    }
                }
            }
        }
        Ok(())
    }
}

/// At most 255: exact.
fn small(number: u32) -> f32 {
    f32::from(number.to_le_bytes()[0])
}

/// Elements of a float type, or small integers, as F32.
fn numbers(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    match dtype {
        DType::I8 if bytes.len() == out.len() => {
            for (value, byte) in out.iter_mut().zip(bytes) {
                *value = f32::from(byte.cast_signed());
            }
            Ok(())
        }
        _ => to_f32(dtype, bytes, out),
    }
}

/// Rows of scales.
struct Grid {
    tiles: Tiles,
    first: u64,
    width: usize,
    values: Vec<f32>,
}

impl Grid {
    fn read(parts: &[Part], chunks: &[&[u8]], part: usize, rows: &Range<u64>) -> Result<Self> {
        let (part, bytes) = parts.get(part).zip(chunks.get(part)).ok_or_else(incomplete)?;
        let Reach::Tiles(tiles, len) = part.reach else { return Err(incomplete()) };
        let width = mem_len(tiles.width)?;
        let lines = bytes.len().checked_div(mem_len(len)?).unwrap_or(0);
        let mut values = vec![0.0; lines * width];
        numbers(part.info.dtype, bytes, &mut values)?;
        Ok(Self { tiles, first: tiles.row(rows.start), width, values })
    }

    fn row(&self, row: u64) -> Result<&[f32]> {
        let start = mem_len(self.tiles.row(row).saturating_sub(self.first))? * self.width;
        self.values.get(start..start + self.width).ok_or_else(incomplete)
    }
}

/// Zero points.
enum Zeros<'a> {
    Tiles(Grid),
    Packed { bits: u64, first: u64, width: usize, words: &'a [[u8; 4]] },
}

impl<'a> Zeros<'a> {
    fn read(parts: &[Part], chunks: &[&'a [u8]], number: usize, rows: &Range<u64>) -> Result<Self> {
        let (part, bytes) = parts.get(number).zip(chunks.get(number)).ok_or_else(incomplete)?;
        let Reach::Packed { bits, bytes: len } = part.reach else {
            return Ok(Self::Tiles(Grid::read(parts, chunks, number, rows)?));
        };
        let (words, first) = (bytes.as_chunks().0, rows.start * bits / 32);
        Ok(Self::Packed { bits, first, width: mem_len(len / 4)?, words })
    }

    /// The zero points of a row, one for each of its scales.
    fn row(&self, row: u64, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        match self {
            Self::Tiles(grid) => out.extend_from_slice(grid.row(row)?),
            Self::Packed { bits, first, width, words } => {
                let (line, shift) = ((row * bits / 32).saturating_sub(*first), row * bits % 32);
                let start = mem_len(line)? * width;
                let words = words.get(start..start + width).ok_or_else(incomplete)?;
                let (mask, zero) = (u32::MAX >> (32 - bits), 1u32 << (bits - 1));
                out.extend(
                    words.iter().map(|word| {
                        small((u32::from_le_bytes(*word) >> shift) & mask) - small(zero)
                    }),
                );
            }
        }
        Ok(())
    }
}

/// The column of scales of every column, from a `g_idx` part. Where it was never filled in (-1),
/// columns are in order.
fn column_map(bytes: &[u8], tile: usize, width: usize) -> Result<Vec<usize>> {
    let groups = bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word));
    if groups.clone().any(|group| group == -1) {
        return Ok((0..groups.len()).map(|column| column / tile).collect());
    }
    let valid = |group: i32| usize::try_from(group).ok().filter(|&group| group < width);
    groups
        .enumerate()
        .map(|(column, group)| {
            valid(group).ok_or_else(|| {
                Error::malformed(format!(
                    "column {column} is in group `{group}`, expected one of {width}"
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Form, bytes: &[u8], len: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; len];
        form.read(bytes, &mut out).unwrap();
        out
    }

    #[test]
    fn packed_numbers_come_lowest_first() {
        let word = 0xfedc_ba98u32.to_le_bytes();
        assert_eq!(read(Form::Packed(4), &word, 8), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(read(Form::Packed(8), &word, 3), [24.0, 58.0, 92.0]);
        assert_eq!(read(Form::Packed(2), &[0b1110_0100, 0, 0, 0], 5), [-2.0, -1.0, 0.0, 1.0, -2.0]);
        assert!(Form::Packed(4).read(&word, &mut [0.0; 9]).is_err());
    }

    #[test]
    fn fp4_has_a_negative_zero() {
        let values = read(Form::Fp4, &[0x80, 0x7f], 4);
        assert_eq!(values[..2].iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [0, 1 << 31]);
        assert_eq!(values[2..], [-6.0, 6.0]);
        assert_eq!(read(Form::Plain(DType::I8), &[0x80, 0x7f], 2), [-128.0, 127.0]);
    }

    #[test]
    fn column_maps_stay_within_the_scales() {
        let bytes =
            |groups: &[i32]| groups.iter().flat_map(|g| g.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(column_map(&bytes(&[1, 0, 1]), 2, 2).unwrap(), [1, 0, 1]);
        assert_eq!(column_map(&bytes(&[-1, -1, -1]), 2, 2).unwrap(), [0, 0, 1]);
        for wrong in [-2, 2, i32::MIN] {
            assert!(column_map(&bytes(&[0, wrong]), 2, 2).is_err(), "{wrong}");
        }
    }
}
