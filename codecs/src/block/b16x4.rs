//! `B16x4`: log-domain lanes; sixteen neighbours in a row share a scale, and a magnitude has 4 bits
//! (e0m4): 8 bits per weight.
//!
//! ```text
//! lane of 16 bytes (if zero_map is 0, the lane ends after it)
//! 0..2    zero_map, bit i = element i has a logarithmic magnitude
//! 2..4    scale_log, f16
//! 4..6    signs, bit i = element i is negative
//! 6..8    shift_map
//! 8..16   magnitudes, element 2k in the low nibble of byte k, 2k+1 in the high
//!
//! element i, with n = its magnitude nibble (e0m4: four fraction bits):
//!   zero_map 1              ±2^(scale_log + n/16 + shift)        two times one octave
//!   zero_map 0, shift 1     ±2^scale_log · n/16                  gradual underflow, n > 0
//!   zero_map 0, shift 0     0                                    sign 0, n = 0
//! ```
//!
//! The definition is `docs/block-formats.md`, section 2, which is this project's own.
//!
//! Accepted name: `B16x4`. Limits: missing columns of a row's last lane count as zeros. Floating
//! point element types, finite values.

use crate::lanes::LaneFormat;

gmat_core::register_block!(LaneFormat::<16, 4, 1, 16>::new(
    "B16x4",
    "log-domain, 16 neighbours share a scale, 4-bit magnitudes: 8 bits per weight",
));
