//! Exit codes, part of the interface.

use gmat_core::ErrorKind;

/// Done.
pub const DONE: u8 = 0;
/// Failed for another reason than the ones below.
pub const FAILED: u8 = 1;
/// Wrong option, argument or config file.
pub const USAGE: u8 = 2;
/// Input is malformed, unsupported or too large.
pub const INPUT: u8 = 3;
/// The system refused to read or write: missing file, permission, disk full.
pub const IO: u8 = 4;
/// A verification found a difference.
pub const DIFFERENT: u8 = 5;
/// Interrupted (Ctrl-C).
pub const INTERRUPTED: u8 = 130;

/// The code for an error of that kind.
#[must_use]
pub fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Config => USAGE,
        ErrorKind::Malformed | ErrorKind::Unsupported | ErrorKind::Limit | ErrorKind::Shape => {
            INPUT
        }
        ErrorKind::Io => IO,
        ErrorKind::Mismatch => DIFFERENT,
        ErrorKind::Cancelled => INTERRUPTED,
        _ => FAILED,
    }
}
