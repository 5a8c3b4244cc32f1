//! `DualRow8x8`: log-domain lanes; eight columns of two adjacent rows share a scale, and a
//! magnitude has 8 bits (e1m7): 12 bits per weight.
//!
//! ```text
//! lane of 24 bytes (if all zero_map bytes are 0, the lane ends after byte 1)
//! 0       upper row: zero_map, bit i = element i has a logarithmic magnitude
//! 1       lower row: zero_map, bit i = element i has a logarithmic magnitude
//! 2..4    scale_log, f16
//! 4       upper row: signs, bit i = element i is negative
//! 5       upper row: shift_map
//! 6..14   upper row: magnitudes, one byte each
//! 14      lower row: signs, bit i = element i is negative
//! 15      lower row: shift_map
//! 16..24  lower row: magnitudes, one byte each
//!
//! element i, with m = its magnitude byte (e1m7: one integer bit, seven fraction bits):
//!   zero_map 1              ±2^(scale_log + m/128 + 2·shift)     two times two octaves
//!   zero_map 0, shift 1     ±2^scale_log · m/256                 gradual underflow, m > 0
//!   zero_map 0, shift 0     0                                    sign 0, m = 0
//! ```
//!
//! The definition is `docs/block-formats.md`, section 2, which is this project's own.
//!
//! Accepted name: `DualRow8x8`. Limits: row groups start at an even row; a missing last row counts
//! as zeros, and so do missing columns of a row's last lane. Floating point element types, finite
//! values.

use crate::lanes::LaneFormat;

gmat_core::register_block!(LaneFormat::<8, 8, 2, 24>::new(
    "DualRow8x8",
    "log-domain, 8 columns of two rows share a scale, 8-bit magnitudes: 12 bits per weight",
));
