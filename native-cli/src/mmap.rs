//! Memory maps of files that may be cut while they are read: the one place of the program with
//! `unsafe`.
//!
//! Touching a page that a file no longer has stops a process with SIGBUS. Here the signal is caught
//! for our own maps, which get zeros in the place of what is gone; that the file has changed is then
//! found out by [`crate::folder::Folder::unchanged`], before any output gets its name.
#![expect(unsafe_code, reason = "mapping a file and catching a signal are unsafe by nature")]

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Mmap, MmapOptions};

/// Part of a file, read-only.
pub(crate) struct Map {
    // Dropped before the map: the pages must not be called ours any more when they are gone.
    _watch: guard::Watch,
    map: Mmap,
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self.map.deref()
    }
}

/// Maps `len` bytes of a file from `offset` on; none if so many are mapped already that this one
/// could not be watched.
///
/// Each unit of work maps just its own range and unmaps it when done, so the resident size of the
/// process does not grow with the file. Pages come in where they are first touched, which for
/// export is a pool thread: the coordinating thread has enough to do with writing.
pub(crate) fn map(file: &File, offset: u64, len: usize) -> io::Result<Option<Map>> {
    // SAFETY: the map is read-only and private to its unit of work. If another program writes to the
    // file, bytes change under us, which no code here relies on not to happen: they are read as
    // plain numbers, and whoever reads them checks lengths first. If it cuts the file, the signal is
    // caught.
    let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file) }?;
    Ok(guard::Watch::new(&map)?.map(|watch| Map { _watch: watch, map }))
}

#[cfg(unix)]
mod guard {
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr::{null_mut, without_provenance_mut};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Maps that can be watched at once: far more than units are under way.
    const PLACES: usize = 8192;

    /// Pages of a map: the first address, 0 if the place is free, and the first behind them.
    struct Place {
        start: AtomicUsize,
        end: AtomicUsize,
    }

    static MAPS: [Place; PLACES] =
        [const { Place { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; PLACES];
    static INSTALLED: OnceLock<Option<usize>> = OnceLock::new();

    /// What the address of a page is a multiple of; none if the handler cannot be installed.
    fn page_size() -> io::Result<usize> {
        // SAFETY: the handler is a function of the type that SA_SIGINFO asks for, and does nothing
        // that a signal handler must not do.
        let install = || unsafe {
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).ok()?;
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO;
            (libc::sigaction(libc::SIGBUS, &raw const action, null_mut()) == 0).then_some(page)
        };
        INSTALLED.get_or_init(install).ok_or_else(io::Error::last_os_error)
    }

    /// Keeps a place in the list until it is dropped.
    pub(super) struct Watch(&'static Place);

    impl Watch {
        /// Notes the pages of a map; none if the list is full.
        pub(super) fn new(map: &[u8]) -> io::Result<Option<Self>> {
            let page = page_size()?;
            let range = map.as_ptr_range();
            let start = range.start.addr() / page * page;
            let end = range.end.addr().next_multiple_of(page);
            let free = |place: &&Place| {
                // Nobody can touch the map before this is done.
                place.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            };
            let Some(place) = MAPS.iter().find(free) else { return Ok(None) };
            place.end.store(end, Ordering::Release);
            place.start.store(start, Ordering::Release);
            Ok(Some(Self(place)))
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            self.0.end.store(0, Ordering::Release);
            self.0.start.store(0, Ordering::Release);
        }
    }

    /// Puts zeros in the place of pages that are gone.
    extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system passes a valid pointer; the address is that of the access.
        let at = unsafe { (*info).si_addr() }.addr();
        let of_ours = MAPS.iter().find_map(|place| {
            let (start, end) =
                (place.start.load(Ordering::Acquire), place.end.load(Ordering::Acquire));
            (start <= at && at < end).then_some(end)
        });
        if let (Some(end), Some(Some(page))) = (of_ours, INSTALLED.get()) {
            let start = at / page * page;
            // SAFETY: these are pages of a map that is alive, since a thread reads it right now; they
            // are replaced by others that can be read alike, and go with the map.
            let zeros = unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
                let start = without_provenance_mut(start);
                libc::mmap(start, end - at / page * page, libc::PROT_READ, flags, -1, 0)
            };
            if zeros != libc::MAP_FAILED {
                return;
            }
        }
        // SAFETY: what the system does by itself; the access is made again and ends the process.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

#[cfg(not(unix))]
mod guard {
    use std::io;

    /// Elsewhere, files that are mapped cannot be cut.
    pub(super) struct Watch;

    impl Watch {
        pub(super) fn new(_: &[u8]) -> io::Result<Option<Self>> {
            Ok(Some(Self))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use super::*;

    #[test]
    fn a_file_that_is_cut_reads_as_zeros() {
        const LEN: usize = 1 << 20;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; LEN + 100]).unwrap();
        let whole = map(&file, 0, LEN).unwrap().unwrap();
        let tail = map(&file, 5000, LEN - 5000).unwrap().unwrap();
        file.set_len(10_000).unwrap();
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        // The rest of a page is zeros anyway.
        assert_eq!(sum(whole.as_ref()), 70_000);
        assert_eq!(sum(tail.as_ref()), 35_000);
        drop((whole, tail));
        // Places are given back.
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&vec![1; LEN]).unwrap();
        for _ in 0..20_000 {
            assert_eq!(map(&file, 4096, 100).unwrap().unwrap().as_ref()[0], 1);
        }
    }
}
