//! Which thread is in a call of a plugin, where the page can see it.
//!
//! A call that does not end cannot be stopped from within, and browsers count no instructions. The page
//! looks at these numbers once a second; where memory is not shared with it, `worker/plugins.js` tells it
//! of every call.

use std::sync::atomic::{AtomicU32, Ordering};

/// Most threads that have a place of their own.
const THREADS: usize = 256;
/// Instructions that are taken for a second of a slow machine.
const FUEL: u64 = 1 << 28;
/// Seconds that every call is given.
const LEAST: u32 = 10;

/// What a thread is doing.
#[repr(C)]
struct Place {
    /// Beginnings and ends of calls: odd inside of one.
    calls: AtomicU32,
    /// Number of the plugin.
    plugin: AtomicU32,
    /// Seconds that the call may take.
    seconds: AtomicU32,
}

static PLACES: [Place; THREADS] = [const {
    Place { calls: AtomicU32::new(0), plugin: AtomicU32::new(0), seconds: AtomicU32::new(0) }
}; THREADS];

/// Address of the places, and how many there are: three numbers of 32 bits each.
pub(crate) fn place() -> (usize, usize) {
    (PLACES.as_ptr().addr(), THREADS)
}

/// A call that is under way.
pub(super) struct Call {
    place: &'static Place,
    seconds: u32,
}

impl Call {
    /// A call of that plugin that may take so many instructions.
    pub(super) fn begin(plugin: u32, fuel: u64) -> Self {
        let thread = rayon::current_thread_index().map_or(0, |index| index + 1);
        let place = &PLACES[thread.min(THREADS - 1)];
        let seconds = u32::try_from(fuel / FUEL).unwrap_or(u32::MAX).saturating_add(LEAST);
        place.plugin.store(plugin, Ordering::Relaxed);
        place.seconds.store(seconds, Ordering::Relaxed);
        place.calls.fetch_add(1, Ordering::Release);
        Self { place, seconds }
    }

    /// Seconds that it may take.
    pub(super) fn seconds(&self) -> u32 {
        self.seconds
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.place.calls.fetch_add(1, Ordering::Release);
    }
}
