//! `DualRow16x8`: log-domain lanes; sixteen columns of two adjacent rows share a scale, and a
//! magnitude has 8 bits (e1m7): 11.5 bits per weight.
//!
//! ```text
//! lane of 46 bytes (if all zero_map bytes are 0, the lane ends after byte 3)
//! 0..2    upper row: zero_map, bit i = element i has a logarithmic magnitude
//! 2..4    lower row: zero_map, bit i = element i has a logarithmic magnitude
//! 4..6    scale_log, f16
//! 6..8    upper row: signs, bit i = element i is negative
//! 8..10   upper row: shift_map
//! 10..26  upper row: magnitudes, one byte each
//! 26..28  lower row: signs, bit i = element i is negative
//! 28..30  lower row: shift_map
//! 30..46  lower row: magnitudes, one byte each
//!
//! element i, with m = its magnitude byte (e1m7: one integer bit, seven fraction bits):
//!   zero_map 1              ±2^(scale_log + m/128 + 2·shift)     two times two octaves
//!   zero_map 0, shift 1     ±2^scale_log · m/256                 gradual underflow, m > 0
//!   zero_map 0, shift 0     0                                    sign 0, m = 0
//! ```
//!
//! The definition is `docs/block-formats.md`, section 2, which is this project's own.
//!
//! Accepted name: `DualRow16x8`. Limits: row groups start at an even row; a missing last row counts
//! as zeros, and so do missing columns of a row's last lane. Floating point element types, finite
//! values.

use crate::lanes::LaneFormat;

gmat_core::register_block!(LaneFormat::<16, 8, 2, 46>::new(
    "DualRow16x8",
    "log-domain, 16 columns of two rows share a scale, 8-bit magnitudes: 11.5 bits per weight",
));
