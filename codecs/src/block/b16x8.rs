//! `B16x8`: log-domain lanes; sixteen neighbours in a row share a scale, and a magnitude has 8 bits
//! (e1m7): 12 bits per weight.
//!
//! ```text
//! lane of 24 bytes (if zero_map is 0, the lane ends after it)
//! 0..2    zero_map, bit i = element i has a logarithmic magnitude
//! 2..4    scale_log, f16
//! 4..6    signs, bit i = element i is negative
//! 6..8    shift_map
//! 8..24   magnitudes, one byte each
//!
//! element i, with m = its magnitude byte (e1m7: one integer bit, seven fraction bits):
//!   zero_map 1              ±2^(scale_log + m/128 + 2·shift)     two times two octaves
//!   zero_map 0, shift 1     ±2^scale_log · m/256                 gradual underflow, m > 0
//!   zero_map 0, shift 0     0                                    sign 0, m = 0
//! ```
//!
//! The definition is `docs/block-formats.md`, section 2, which is this project's own.
//!
//! Accepted name: `B16x8`. Limits: missing columns of a row's last lane count as zeros. Floating
//! point element types, finite values.

use crate::lanes::LaneFormat;

gmat_core::register_block!(LaneFormat::<16, 8, 1, 24>::new(
    "B16x8",
    "log-domain, 16 neighbours share a scale, 8-bit magnitudes: 12 bits per weight",
));
