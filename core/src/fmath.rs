//! The only place for transcendental functions.
//!
//! The system's `log2`, `exp2`, `powf` and `ln` give other last bits in wasm than natively; `libm`'s
//! software versions give the same bits everywhere, and so do files written with them.

/// Base-2 logarithm.
#[must_use]
pub fn log2(x: f32) -> f32 {
    libm::log2f(x)
}

/// 2 to the power of `x`.
#[must_use]
pub fn exp2(x: f32) -> f32 {
    libm::exp2f(x)
}

/// Base-2 logarithm in double precision.
#[must_use]
pub fn log2_f64(x: f64) -> f64 {
    libm::log2(x)
}

/// 2 to the power of `x` in double precision.
#[must_use]
pub fn exp2_f64(x: f64) -> f64 {
    libm::exp2(x)
}

/// `x` to the power of `y`.
#[must_use]
pub fn powf(x: f32, y: f32) -> f32 {
    libm::powf(x, y)
}

/// `x` to the power of `y` in double precision.
#[must_use]
pub fn powf_f64(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

/// Natural logarithm in double precision.
#[must_use]
pub fn ln_f64(x: f64) -> f64 {
    libm::log(x)
}

/// Base-10 logarithm in double precision.
#[must_use]
pub fn log10_f64(x: f64) -> f64 {
    libm::log10(x)
}
