//! Memory maps: the one place of the program with `unsafe`.
#![expect(unsafe_code, reason = "mapping a file is unsafe by nature; see `map`")]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps `len` bytes of a file from `offset` on.
///
/// Each unit of work maps just its own range and unmaps it when done, so the resident size of the
/// process does not grow with the file. Pages come in where they are first touched, which for
/// export is a pool thread: the coordinating thread has enough to do with writing.
pub(crate) fn map(file: &File, offset: u64, len: usize) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and private to its unit of work. Model files are not written to
    // while they are read; if another program did so, bytes could change (which the hash of the
    // source would show), and if it cut the file, the system would stop us with SIGBUS, which is
    // why the length is checked again right before every map.
    unsafe { MmapOptions::new().offset(offset).len(len).map(file) }
}
