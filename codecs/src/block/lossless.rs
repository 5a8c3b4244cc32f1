//! `lossless`: every bit of plain floating point elements, in fewer bytes.
//!
//! ```text
//! planes, lowest byte of the elements first; each of rows · columns bytes:
//!   u8 0 · u8              constant: every byte of the plane is this one
//!   u8 1 · bytes           as they are
//!   u8 2 · code · streams  Huffman code of at most 11 bits, four streams
//! ```
//! Rows with a base (`gmat import --base`) are planes, or
//! ```text
//! u8 3 · tables · streams  differences to the same elements of the base, entropy-coded
//! u8 4                     the same as in the base
//! ```
//! Before they are cut into planes, the upper 16 bits of an element are rotated left by one: the
//! exponent of BF16 and F32 is a plane by itself then, which takes 2.6 bits where 8 are reserved.
//!
//! The definition is `docs/block-formats.md`, section 3, which is this project's own.
//!
//! Accepted name: `lossless`. Limits: floating point element types; all others are stored `raw`.

use gmat_core::block::{BlockFormat, EncodeInput, GroupShape};
use gmat_core::{DType, Error, Result, convert};

use crate::lossless::{
    Input, NAME, join, read_difference, read_planes, write_difference, write_planes,
};

gmat_core::register_block!(Lossless);

struct Lossless;

/// First byte of a group of differences; planes have lower kinds.
const DIFFERENCE: u8 = 3;

/// The only byte of a group that is the same in the base.
const SAME: u8 = 4;

/// Elements that are put together before they are turned into values: few enough for the cache.
const STEP: usize = 2048;

impl Lossless {
    /// Checks the type; returns bytes and number of elements.
    fn elems(&self, shape: GroupShape) -> Result<(usize, usize)> {
        if !self.accepts(shape.dtype) {
            return Err(Error::unsupported(format!(
                "block format `{NAME}` does not hold {} elements",
                shape.dtype
            )));
        }
        let elems = shape.rows.checked_mul(shape.cols).filter(|_| shape.byte_len().is_some());
        let elems = elems.ok_or_else(|| {
            Error::shape(format!("{} rows of {} are too many", shape.rows, shape.cols))
        })?;
        Ok((shape.dtype.block().bytes, elems))
    }

    /// Decodes the planes and hands on pieces of whole elements, in order.
    fn each(
        &self,
        bytes: &[u8],
        width: usize,
        elems: usize,
        mut put: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut input = Input::new(bytes);
        if elems == 0 {
            return input.finish();
        }
        let planes = read_planes(&mut input, width, elems)?;
        input.finish()?;
        let mut piece = [0; STEP * 8];
        for start in (0..elems).step_by(STEP) {
            let end = (start + STEP).min(elems);
            let parts: Vec<&[u8]> =
                planes.iter().map(|plane| plane.get(start..end).unwrap_or_default()).collect();
            let piece = piece.get_mut(..(end - start) * width).unwrap_or_default();
            join(&parts, piece);
            put(piece)?;
        }
        Ok(())
    }
}

impl BlockFormat for Lossless {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "every bit of the source, exponents in a Huffman code: about 10.7 bits per BF16 weight"
    }

    fn accepts(&self, dtype: DType) -> bool {
        dtype.is_float()
    }

    fn is_lossless(&self) -> bool {
        true
    }

    fn max_len(&self, shape: GroupShape) -> Option<usize> {
        let bytes = shape.byte_len()?;
        match bytes {
            0 => Some(0),
            // The kind of every plane.
            _ => bytes.checked_add(shape.dtype.block().bytes),
        }
    }

    fn encode(&self, input: EncodeInput<'_>, out: &mut Vec<u8>) -> Result<()> {
        let EncodeInput { values, bytes, dtype, rows, cols } = input;
        let shape = GroupShape { dtype, rows, cols };
        let (width, elems) = self.elems(shape)?;
        if values.len() != elems || shape.byte_len() != Some(bytes.len()) {
            return Err(Error::shape(format!(
                "{} bytes and {} values are not {rows} rows of {cols} {dtype} elements",
                bytes.len(),
                values.len()
            )));
        }
        if elems > 0 {
            write_planes(bytes, width, out);
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8], shape: GroupShape, out: &mut [f32]) -> Result<()> {
        let (width, elems) = self.elems(shape)?;
        if elems != out.len() {
            return Err(Error::shape(format!(
                "{} values are not {} rows of {}",
                out.len(),
                shape.rows,
                shape.cols
            )));
        }
        let mut rest = out;
        self.each(bytes, width, elems, |piece| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(piece.len() / width);
            rest = later;
            convert::to_f32(shape.dtype, piece, now)
        })
    }

    fn restore(&self, bytes: &[u8], shape: GroupShape, out: &mut Vec<u8>) -> Result<()> {
        let (width, elems) = self.elems(shape)?;
        let start = out.len();
        let result = self.each(bytes, width, elems, |piece| {
            out.extend_from_slice(piece);
            Ok(())
        });
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn takes_base(&self) -> bool {
        true
    }

    fn encode_against(&self, input: EncodeInput<'_>, base: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let EncodeInput { bytes, dtype, rows, cols, .. } = input;
        let (_, elems) = self.elems(GroupShape { dtype, rows, cols })?;
        if base.len() != bytes.len() {
            return Err(wrong_base(base, bytes.len()));
        }
        if bytes == base && elems > 0 {
            out.push(SAME);
            return Ok(());
        }
        // Also checks the input.
        let mut planes = Vec::new();
        self.encode(input, &mut planes)?;
        let start = out.len();
        out.push(DIFFERENCE);
        let written = elems > 0 && write_difference(dtype, bytes, base, out);
        if !written || out.len() - start >= planes.len() {
            out.truncate(start);
            out.extend_from_slice(&planes);
        }
        Ok(())
    }

    fn restore_against(
        &self,
        bytes: &[u8],
        base: &[u8],
        shape: GroupShape,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.elems(shape)?;
        let expected = shape.byte_len().unwrap_or(0);
        if base.len() != expected {
            return Err(wrong_base(base, expected));
        }
        let mut input = Input::new(bytes);
        let start = out.len();
        let result = match bytes.first() {
            Some(&SAME) if expected > 0 => {
                out.extend_from_slice(base);
                input.byte()
            }
            Some(&DIFFERENCE) if expected > 0 => input.byte().and_then(|kind| {
                read_difference(&mut input, shape.dtype, base, out).map(|()| kind)
            }),
            _ => return self.restore(bytes, shape, out),
        };
        let result = result.and_then(|_| input.finish());
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

fn wrong_base(base: &[u8], expected: usize) -> Error {
    Error::shape(format!("{} bytes of the base where rows have {expected}", base.len()))
}
