//! `B8x4`: log-domain lanes; eight neighbours in a row share a scale, and a magnitude has 4 bits
//! (e0m4): 9 bits per weight.
//!
//! ```text
//! lane of 9 bytes (if zero_map is 0, the lane ends after it)
//! 0       zero_map, bit i = element i has a logarithmic magnitude
//! 1..3    scale_log, f16
//! 3       signs, bit i = element i is negative
//! 4       shift_map
//! 5..9    magnitudes, element 2k in the low nibble of byte k, 2k+1 in the high
//!
//! element i, with n = its magnitude nibble (e0m4: four fraction bits):
//!   zero_map 1              ±2^(scale_log + n/16 + shift)        two times one octave
//!   zero_map 0, shift 1     ±2^scale_log · n/16                  gradual underflow, n > 0
//!   zero_map 0, shift 0     0                                    sign 0, n = 0
//! ```
//!
//! The definition is `docs/block-formats.md`, section 2, which is this project's own.
//!
//! Accepted name: `B8x4`. Limits: missing columns of a row's last lane count as zeros. Floating
//! point element types, finite values.

use crate::lanes::LaneFormat;

gmat_core::register_block!(LaneFormat::<8, 4, 1, 9>::new(
    "B8x4",
    "log-domain, 8 neighbours share a scale, 4-bit magnitudes: 9 bits per weight",
));
