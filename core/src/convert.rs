//! Source elements to `f32`, a row group at a time.

use crate::error::{Error, Result};
use crate::tensor::DType;

/// Converts little-endian elements of a float `dtype` to `f32` (F64 rounds to nearest).
///
/// # Errors
/// `Shape` if `bytes` is not exactly `out.len()` elements; `Unsupported` for integer and quantized
/// types.
pub fn to_f32(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    if dtype.byte_len(out.len() as u64) != Some(bytes.len() as u64) {
        return Err(Error::shape(format!(
            "{} bytes are not {} elements of {dtype}",
            bytes.len(),
            out.len()
        )));
    }
    match dtype {
        DType::F32 => each(bytes, out, f32::from_le_bytes),
        DType::Bf16 => each(bytes, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        DType::F16 => each(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
        #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the point")]
        DType::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
        DType::F8E4m3 => each(bytes, out, |[b]| f8_e4m3(b)),
        DType::F8E5m2 => {
            // E5M2 is the upper half of an IEEE half-precision number.
            each(bytes, out, |[b]| half::f16::from_bits(u16::from(b) << 8).to_f32());
        }
        _ => {
            return Err(Error::unsupported(format!(
                "{dtype} elements are not plain floating point numbers"
            )));
        }
    }
    Ok(())
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (value, &element) in out.iter_mut().zip(elements) {
        *value = convert(element);
    }
}

/// OCP FP8 E4M3 (the "FN" variant: no infinities, NaN is S.1111.111; OCP 8-bit floating point
/// specification 1.0, section 5): bias 7, subnormals in steps of 2^-9.
fn f8_e4m3(byte: u8) -> f32 {
    let sign = u32::from(byte >> 7) << 31;
    let exponent = u32::from(byte >> 3) & 15;
    let mantissa = u32::from(byte) & 7;
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        // At most 7: exact in f32, and so is the product.
        (0, _) => f32::from(byte & 7) * f32::from_bits((127 - 9) << 23),
        _ => f32::from_bits(((exponent + 127 - 7) << 23) | (mantissa << 20)),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// How many finite elements of F64 type are not the same number as F32, and how many of those are
/// too large for it.
pub(crate) fn narrowed(bytes: &[u8]) -> (u64, u64) {
    let (elements, _) = bytes.as_chunks();
    let wide = elements.iter().map(|bytes| f64::from_le_bytes(*bytes));
    #[expect(clippy::cast_possible_truncation, reason = "the question is what rounding does")]
    let changed = wide.filter(|v| v.is_finite() && f64::from(*v as f32) != *v);
    #[expect(clippy::cast_possible_truncation, reason = "as above")]
    changed.fold((0, 0), |(all, large), v| (all + 1, large + u64::from((v as f32).is_infinite())))
}

/// Index of the first value that is not finite.
#[must_use]
pub fn first_non_finite(values: &[f32]) -> Option<usize> {
    // A blockwise test first: it vectorizes, and almost all input passes it.
    const STEP: usize = 256;
    const EXPONENT: u32 = 0x7f80_0000;
    values.chunks(STEP).enumerate().find_map(|(index, chunk)| {
        let bad = chunk.iter().fold(false, |bad, v| bad | (v.to_bits() & EXPONENT == EXPONENT));
        if bad {
            chunk.iter().position(|v| !v.is_finite()).map(|at| index * STEP + at)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(dtype: DType, bytes: &[u8]) -> f32 {
        let mut out = [0.0];
        assert!(to_f32(dtype, bytes, &mut out).is_ok());
        out[0]
    }

    #[test]
    fn fp8_values() {
        for (byte, value) in [
            (0x00, 0.0),
            (0x01, 1.0 / 512.0),
            (0x08, 1.0 / 64.0),
            (0x38, 1.0),
            (0x7e, 448.0),
            (0xb8, -1.0),
        ] {
            assert_eq!(one(DType::F8E4m3, &[byte]), value, "E4M3 {byte:#x}");
        }
        assert!(one(DType::F8E4m3, &[0xff]).is_nan());
        for (byte, value) in [(0x01, 1.0 / 65536.0), (0x3c, 1.0), (0x7b, 57344.0), (0xbc, -1.0)] {
            assert_eq!(one(DType::F8E5m2, &[byte]), value, "E5M2 {byte:#x}");
        }
        assert_eq!(one(DType::F8E5m2, &[0x7c]), f32::INFINITY);
    }

    #[test]
    fn wide_types() {
        assert_eq!(one(DType::Bf16, &[0x80, 0x3f]), 1.0);
        assert_eq!(one(DType::F16, &[0x00, 0x3c]), 1.0);
        assert_eq!(one(DType::F64, &0.1f64.to_le_bytes()), 0.1);
        assert!(to_f32(DType::I32, &[0; 4], &mut [0.0]).is_err());
        assert!(to_f32(DType::F32, &[0; 5], &mut [0.0]).is_err());
    }

    #[test]
    fn numbers_that_f32_does_not_hold_are_counted() {
        let all = [1.5, 0.1, 1e300, -1e39, f64::INFINITY, f64::NAN, 1e-300, -0.0];
        let bytes: Vec<u8> = all.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(narrowed(&bytes), (4, 2));
    }

    #[test]
    fn finds_the_first_non_finite_value() {
        let mut values = vec![1.0f32; 1000];
        assert_eq!(first_non_finite(&values), None);
        values[700] = f32::NEG_INFINITY;
        values[900] = f32::NAN;
        assert_eq!(first_non_finite(&values), Some(700));
    }
}
