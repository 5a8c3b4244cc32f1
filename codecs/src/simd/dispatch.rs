//! Picks, per row, the widest instruction set that this processor has.
//!
//! Codec files are safe code over fixed-size arrays; the compiler turns it into vector code for
//! whatever instructions it may use. Here that code is compiled once more for each instruction set
//! worth having, and the right copy is called. Every copy computes the same operations in the same
//! order on each value (Rust never fuses or reorders float arithmetic), so all give equal bytes.

#![expect(unsafe_code, reason = "a function compiled for more instructions is unsafe to call")]

/// Row code of a type.
pub(crate) trait RowCode {
    /// See [`gmat_core::quant::RowKernel::quantize_row`].
    ///
    /// The other parameters are only a matter of speed: how many groups to work on side by side,
    /// `N32` if they are of 32 weights and `N16` if of 16. Two or four vectors of groups make steps
    /// that do not wait for each other; with fewer than 16 the compiler unrolls instead of making
    /// vectors; and the arrays should stay in the first cache.
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    );

    /// See [`gmat_core::quant::RowKernel::dequantize_blocks`].
    fn dequantize(bytes: &[u8], out: &mut [f32]);
}

/// An instruction set that row code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every processor of the target has (SSE2, NEON, plain wasm).
    Baseline,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// What this processor has, widest last.
    fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return &[Self::Baseline, Self::Avx2, Self::Avx512];
            }
            if has!("avx2") {
                return &[Self::Baseline, Self::Avx2];
            }
        }
        &[Self::Baseline]
    }

    /// The widest one, or what a test asks for.
    #[inline]
    fn chosen() -> Self {
        #[cfg(test)]
        if let Some(level) = FORCED.get() {
            return level;
        }
        Self::available().last().copied().unwrap_or(Self::Baseline)
    }
}

/// Quantizes one row.
pub(crate) fn quantize<C: RowCode>(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    match Level::chosen() {
        Level::Baseline => C::quantize::<16, 16>(x, importance, out),
        // SAFETY: `chosen` returns this only if the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { quantize_avx2::<C>(x, importance, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { quantize_avx512::<C>(x, importance, out) },
    }
}

/// Dequantizes any number of blocks.
pub(crate) fn dequantize<C: RowCode>(bytes: &[u8], out: &mut [f32]) {
    match Level::chosen() {
        Level::Baseline => C::dequantize(bytes, out),
        // SAFETY: `chosen` returns this only if the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { dequantize_avx2::<C>(bytes, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { dequantize_avx512::<C>(bytes, out) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn quantize_avx2<C: RowCode>(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    C::quantize::<16, 32>(x, importance, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quantize_avx512<C: RowCode>(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    C::quantize::<32, 64>(x, importance, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dequantize_avx2<C: RowCode>(bytes: &[u8], out: &mut [f32]) {
    C::dequantize(bytes, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn dequantize_avx512<C: RowCode>(bytes: &[u8], out: &mut [f32]) {
    C::dequantize(bytes, out);
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}
