//! Picks, per row, the widest instruction set that this processor has.
//!
//! Codec files are safe code over fixed-size arrays; the compiler turns it into vector code for
//! whatever instructions it may use. Here that code is compiled once more for each instruction set
//! worth having, and the right copy is called. Every copy computes the same operations in the same
//! order on each value (Rust never fuses or reorders float arithmetic), so all give equal bytes.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "a function compiled for more instructions is unsafe to call")
)]

use std::marker::PhantomData;

use gmat_core::quant::{Goal, Need, RowKernel, RowWise, importance_or_one};

/// Row code of a type: like [`RowKernel`], but compiled once per instruction set. Its functions have
/// to be `#[inline(always)]` for that, with all they call in loops.
///
/// The constants of its functions are only a matter of speed: how many groups to work on side by
/// side, `N32` if they are of 32 weights and `N16` if of 16. Two or four vectors of groups make steps
/// that do not wait for each other; with fewer than 16 the compiler unrolls instead of making
/// vectors; and the arrays should stay in the first cache.
pub(crate) trait RowCode: 'static {
    /// See [`RowKernel::NAME`].
    const NAME: &'static str;
    /// See [`RowKernel::GGML_TYPE`].
    const GGML_TYPE: u32;
    /// See [`RowKernel::ELEMS`].
    const ELEMS: usize;
    /// See [`RowKernel::BYTES`].
    const BYTES: usize;
    /// See [`RowKernel::NEED`].
    const NEED: Need;

    /// See [`RowKernel::quantize_row`].
    fn quantize<const N32: usize, const N16: usize>(
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    );

    /// See [`RowKernel::improve_row`].
    #[inline(always)]
    fn improve<const N32: usize, const N16: usize>(
        _x: &[f32],
        _importance: Option<&[f32]>,
        _goal: Goal,
        _out: &mut [u8],
    ) {
    }

    /// See [`RowKernel::weigh_row`].
    fn weigh(_x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        importance_or_one(importance, out);
    }

    /// See [`RowKernel::dequantize_blocks`].
    fn dequantize(bytes: &[u8], out: &mut [f32]);

    /// See [`RowKernel::block_is_finite`].
    fn block_is_finite(block: &[u8]) -> bool;
}

/// Calls the copy of a function for the widest instruction set; given are its parameters, which are
/// passed on by name, and the function for each set in the order of [`Level`].
///
/// A macro, because the parameters have to be those of the compiled function itself: in a struct or
/// captured they lose what the compiler knows about references that do not overlap, which costs some
/// types half their speed.
macro_rules! widest {
    ($code:ident, ($($arg:ident: $ty:ty),*) { $baseline:expr, $avx2:expr, $avx512:expr }) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2<$code: RowCode>($($arg: $ty),*) {
            $avx2($($arg),*);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<$code: RowCode>($($arg: $ty),*) {
            $avx512($($arg),*);
        }
        match Level::chosen() {
            Level::Baseline => $baseline($($arg),*),
            // SAFETY: `chosen` returns this only if the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2::<$code>($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { avx512::<$code>($($arg),*) },
        }
    }};
}

/// The quantization type of row code.
pub(crate) const fn dispatched<C: RowCode>() -> RowWise<Dispatched<C>> {
    RowWise::new()
}

/// A [`RowKernel`] that calls the widest copy of row code.
pub(crate) struct Dispatched<C>(PhantomData<fn() -> C>);

impl<C: RowCode> RowKernel for Dispatched<C> {
    const NAME: &'static str = C::NAME;
    const GGML_TYPE: u32 = C::GGML_TYPE;
    const ELEMS: usize = C::ELEMS;
    const BYTES: usize = C::BYTES;
    const NEED: Need = C::NEED;

    fn quantize_row(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        widest!(C, (x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
            C::quantize::<16, 16>, C::quantize::<16, 32>, C::quantize::<32, 64>
        });
    }

    fn improve_row(x: &[f32], importance: Option<&[f32]>, goal: Goal, out: &mut [u8]) {
        widest!(C, (x: &[f32], importance: Option<&[f32]>, goal: Goal, out: &mut [u8]) {
            C::improve::<16, 16>, C::improve::<16, 32>, C::improve::<32, 64>
        });
    }

    fn weigh_row(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        C::weigh(x, importance, out);
    }

    fn dequantize_blocks(bytes: &[u8], out: &mut [f32]) {
        widest!(C, (bytes: &[u8], out: &mut [f32]) {
            C::dequantize, C::dequantize, C::dequantize
        });
    }

    #[inline]
    fn block_is_finite(block: &[u8]) -> bool {
        C::block_is_finite(block)
    }
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

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use gmat_core::Registry;
    use gmat_core::quant::{Goal, Metric, Need, QuantCx, QuantType, Search};

    use super::{FORCED, Level};

    /// One block where each operation is interpreted.
    const COLS: usize = if cfg!(miri) { 256 } else { 1280 };

    /// Rows of all sizes and signs, some with zeros, outliers, equal or subnormal values.
    fn rows() -> Vec<f32> {
        let mut state = 1u32;
        let mut next = move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            f32::from_bits(0x3f80_0000 | state >> 9) - 1.0
        };
        let mut rows = Vec::new();
        for scale in [0.02, 1e-40, 1e-6, 300.0] {
            rows.extend((0..COLS).map(|_| (next() + next() + next() - 1.5) * scale));
        }
        rows.extend((0..COLS).map(|_| if next() < 0.9 { 0.0 } else { next() - 0.5 }));
        rows.extend((0..COLS).map(|_| if next() < 0.99 { next() - 0.5 } else { 900.0 * next() }));
        rows.extend((0..COLS).map(|j| if j / 48 % 2 == 0 { -0.25 } else { -next() }));
        rows
    }

    fn quantized(q: &dyn QuantType, x: &[f32], importance: Option<&[f32]>) -> [Vec<u8>; 3] {
        let len = q.block().len_of(x.len() as u64).and_then(|len| usize::try_from(len).ok());
        let squares = Goal { metric: Metric::Squares, ..Goal::USUAL };
        let searches = [Search::Standard, Search::Trellis(Goal::USUAL), Search::Trellis(squares)];
        searches.map(|search| {
            let mut out = vec![0; len.unwrap_or_default()];
            let cx = QuantCx { search, ..QuantCx::standard(COLS, importance) };
            q.quantize(x, &cx, &mut out).expect("rows are fine");
            out
        })
    }

    #[test]
    fn every_instruction_set_gives_equal_bytes() {
        let registry = Registry::builtin(crate::link()).expect("all codecs are linked");
        let mut x = rows();
        if cfg!(miri) {
            // And one row has to do.
            x.truncate(COLS);
        }
        let importance: Vec<f32> = x.iter().take(COLS).map(|v| v * v).collect();
        for q in registry.quants() {
            // The searches through tables of vectors would take Miri hours.
            if cfg!(miri) && q.name().starts_with("iq") {
                continue;
            }
            let mut first = None;
            for level in Level::available() {
                FORCED.set(Some(*level));
                let none = (q.importance() != Need::Required).then(|| quantized(*q, &x, None));
                let with = quantized(*q, &x, Some(&importance));
                let mut back = vec![0.0; x.len()];
                q.dequantize(&with[0], &mut back).expect("whole rows");
                let back: Vec<u32> = back.iter().map(|v| v.to_bits()).collect();
                FORCED.set(None);
                let first = first.get_or_insert_with(|| (none.clone(), with.clone(), back.clone()));
                assert_eq!(*first, (none, with, back), "{} with {level:?}", q.name());
            }
        }
    }
}
