//! Elements as the output has them: floating point numbers in one of two precisions, everything else
//! as it is.

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::convert::to_f32;
use crate::decode::Elements;
use crate::error::{Error, Result};
use crate::ggml::GgmlType;
use crate::pipeline::Buffers;
use crate::registry::Registry;
use crate::source::mxfp4;
use crate::tensor::{DType, mem_len};

/// Values that are converted together: they stay in the nearest cache.
const STEP: usize = 1024;

/// How floating point numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Half precision, rounded to nearest; finite values beyond ±65504 become ±65504.
    Float16,
    /// Single precision: exact, but for F64.
    Float32,
}

impl Precision {
    /// The name on the command line and of NumPy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float16 => "float16",
            Self::Float32 => "float32",
        }
    }

    /// The precision of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Float16, Self::Float32].into_iter().find(|precision| precision.name() == name)
    }

    /// The element type.
    #[must_use]
    pub const fn dtype(self) -> DType {
        match self {
            Self::Float16 => DType::F16,
            Self::Float32 => DType::F32,
        }
    }
}

/// From one element type to another.
#[derive(Clone, Copy)]
pub(super) struct Cast {
    from: DType,
    to: DType,
    elements: Elements,
}

impl Cast {
    /// For elements of that type.
    ///
    /// # Errors
    /// `Unsupported` for a quantized type without codec.
    pub(super) fn new(from: DType, precision: Precision, registry: &Registry) -> Result<Self> {
        let to = if from.holds_weights() { precision.dtype() } else { from };
        Ok(Self { from, to, elements: Elements::new(from, registry)? })
    }

    /// The element type of the output.
    pub(super) fn to(self) -> DType {
        self.to
    }

    /// Whether bytes stay as they are.
    pub(super) fn is_copy(self) -> bool {
        self.from == self.to
    }

    /// Fills `out` with `count` elements; returns how many values were clamped.
    ///
    /// # Errors
    /// `Shape` if there are more or fewer of them, on either side.
    pub(super) fn bytes(
        self,
        bytes: &[u8],
        count: usize,
        buffers: &Buffers,
        out: &mut [u8],
    ) -> Result<u64> {
        // Nothing of what `out` held before may stay.
        let fits = |dtype: DType, len: usize| dtype.byte_len(count as u64) == Some(len as u64);
        if !fits(self.from, bytes.len()) || !fits(self.to, out.len()) {
            return Err(Error::shape("elements do not fit their places"));
        }
        match (self.from, self.to) {
            (from, to) if from == to => {
                out.copy_from_slice(bytes);
                Ok(0)
            }
            (DType::Bf16, DType::F32) => {
                each(bytes, out, |[low, high]| [0, 0, low, high]);
                Ok(0)
            }
            (DType::F64, DType::F16) => {
                let mut values = [0.0f32; STEP];
                let (numbers, _) = bytes.as_chunks::<8>();
                let mut clamped = 0;
                for (numbers, out) in numbers.chunks(STEP).zip(out.chunks_mut(STEP * 2)) {
                    let values = values.get_mut(..numbers.len()).unwrap_or_default();
                    for (value, number) in values.iter_mut().zip(numbers) {
                        *value = to_odd(f64::from_le_bytes(*number));
                    }
                    clamped += half(values, false, out);
                }
                Ok(clamped)
            }
            (DType::Ggml(ty), _) => {
                let mut values = buffers.values(count);
                match ty {
                    GgmlType::Mxfp4 => mxfp4::values(bytes, &mut values)?,
                    _ => self.elements.to_f32(bytes, &mut values)?,
                }
                let clamped = self.write(&values, out)?;
                buffers.put_values(values);
                Ok(clamped)
            }
            _ => {
                let (size, out_size) = (self.from.block().bytes, self.to.block().bytes);
                let mut values = [0.0f32; STEP];
                let mut clamped = 0;
                for (bytes, out) in bytes.chunks(STEP * size).zip(out.chunks_mut(STEP * out_size)) {
                    let values = values.get_mut(..bytes.len() / size).unwrap_or_default();
                    to_f32(self.from, bytes, values)?;
                    clamped += self.write(values, out)?;
                }
                Ok(clamped)
            }
        }
    }

    /// Fills `out` with values; returns how many were clamped.
    ///
    /// # Errors
    /// `Shape` if there are more or fewer of them.
    pub(super) fn write(self, values: &[f32], out: &mut [u8]) -> Result<u64> {
        if self.out_len(values.len() as u64)? != out.len() {
            return Err(Error::shape("values do not fit their places"));
        }
        // No code of MXFP4 is an infinity: one stands for a number that F32 does not hold.
        let all = self.from == DType::Ggml(GgmlType::Mxfp4);
        match self.to {
            DType::F16 => Ok(half(values, all, out)),
            _ => {
                for (place, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                    *place = value.to_le_bytes();
                }
                Ok(0)
            }
        }
    }

    /// Bytes of so many elements of the output.
    pub(super) fn out_len(self, count: u64) -> Result<usize> {
        mem_len(self.to.byte_len(count).ok_or_else(|| Error::limit("tensor too large"))?)
    }
}

fn each<const N: usize, const M: usize>(
    bytes: &[u8],
    out: &mut [u8],
    convert: impl Fn([u8; N]) -> [u8; M],
) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (place, &element) in out.as_chunks_mut::<M>().0.iter_mut().zip(elements) {
        *place = convert(element);
    }
}

/// Fills `out` with values in half precision; those beyond its largest number become that, and are
/// counted. Infinities stay what they are unless `all`.
fn half(values: &[f32], all: bool, out: &mut [u8]) -> u64 {
    let most = f16::MAX.to_f32();
    let mut clamped = 0u64;
    let (mut kept, mut halves) = ([0.0f32; STEP], [f16::ZERO; STEP]);
    for (values, out) in values.chunks(STEP).zip(out.chunks_mut(STEP * 2)) {
        let kept = kept.get_mut(..values.len()).unwrap_or_default();
        let halves = halves.get_mut(..values.len()).unwrap_or_default();
        let mut beyond = 0u32;
        for (kept, &value) in kept.iter_mut().zip(values) {
            let size = value.abs();
            let large = size > most && (all || size != f32::INFINITY);
            beyond += u32::from(large);
            *kept = if large { most.copysign(value) } else { value };
        }
        clamped += u64::from(beyond);
        halves.convert_from_f32_slice(kept);
        for (place, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
            *place = value.to_le_bytes();
        }
    }
    clamped
}

/// The F32 number next to `value` on the side of zero, with its last bit set if it is not exact. To
/// round that to half precision is to round `value`: the last bit stands for everything cut off, so
/// that no tie appears that was none.
fn to_odd(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is undone here")]
    let near = value as f32;
    if value.is_nan() || f64::from(near) == value {
        return near;
    }
    let away = f64::from(near).abs() > value.abs();
    f32::from_bits((near.to_bits() - u32::from(away)) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(values: &[f32]) -> (Vec<u16>, u64) {
        let mut out = vec![0; 2 * values.len()];
        let clamped = half(values, false, &mut out);
        (out.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect(), clamped)
    }

    #[test]
    fn finite_values_are_clamped_and_counted() {
        let (bits, clamped) =
            halves(&[65504.0, 65505.0, -1e30, f32::INFINITY, f32::NAN, 65519.0, 1.0, -0.0]);
        assert_eq!(bits[..4], [0x7bff, 0x7bff, 0xfbff, 0x7c00]);
        assert!(f16::from_bits(bits[4]).is_nan());
        assert_eq!(bits[5..], [0x7bff, 0x3c00, 0x8000]);
        assert_eq!(clamped, 3);
        assert_eq!(half(&[f32::INFINITY], true, &mut [0; 2]), 1);
    }

    #[test]
    fn long_slices_are_counted_as_a_whole() {
        let (bits, clamped) = halves(&vec![1e9; 3 * STEP + 5]);
        assert_eq!((bits.len(), clamped), (3 * STEP + 5, 3 * STEP as u64 + 5));
    }

    #[test]
    fn f64_is_rounded_once() {
        // Halfway between two half-precision numbers, and a bit more than F32 holds.
        let tie = 1.0 + 2f64.powi(-11);
        let of = |value: f64| f16::from_f32(to_odd(value)).to_bits();
        assert_eq!(of(tie), 0x3c00);
        assert_eq!(of(tie + 2f64.powi(-40)), 0x3c01);
        assert_eq!(of(tie - 2f64.powi(-40)), 0x3c00);
        assert_eq!(of(-tie - 2f64.powi(-40)), 0xbc01);
        assert_eq!(of(1.5), 0x3e00);
        assert_eq!((of(1e-300), of(-1e-300)), (0, 0x8000));
        assert_eq!(to_odd(1e300), f32::MAX);
        assert_eq!(to_odd(f64::NEG_INFINITY), f32::NEG_INFINITY);
        assert!(to_odd(f64::NAN).is_nan());
    }
}
