//! `DualRow16x4`: log-domain lanes; sixteen columns of two adjacent rows share a scale, and a
//! magnitude has 4 bits (e0m4): 7.5 bits per weight.
//!
//! ```text
//! lane of 30 bytes (if all zero_map bytes are 0, the lane ends after byte 3)
//! 0..2    upper row: zero_map, bit i = element i has a logarithmic magnitude
//! 2..4    lower row: zero_map, bit i = element i has a logarithmic magnitude
//! 4..6    scale_log, f16
//! 6..8    upper row: signs, bit i = element i is negative
//! 8..10   upper row: shift_map
//! 10..18  upper row: magnitudes, element 2k in the low nibble of byte k, 2k+1 in the high
//! 18..20  lower row: signs, bit i = element i is negative
//! 20..22  lower row: shift_map
//! 22..30  lower row: magnitudes, element 2k in the low nibble of byte k, 2k+1 in the high
//!
//! element i, with n = its magnitude nibble (e0m4: four fraction bits):
//!   zero_map 1              ±2^(scale_log + n/16 + shift)        two times one octave
//!   zero_map 0, shift 1     ±2^scale_log · n/16                  gradual underflow, n > 0
//!   zero_map 0, shift 0     0                                    sign 0, n = 0
//! ```
//!
//! The definition is `docs/block-formats.md`, section 2, which is this project's own.
//!
//! Accepted name: `DualRow16x4`. Limits: row groups start at an even row; a missing last row counts
//! as zeros, and so do missing columns of a row's last lane. Floating point element types, finite
//! values.

use crate::lanes::LaneFormat;

gmat_core::register_block!(LaneFormat::<16, 4, 2, 30>::new(
    "DualRow16x4",
    "log-domain, 16 columns of two rows share a scale, 4-bit magnitudes: 7.5 bits per weight",
));
