//! Ctrl-C: the first asks the work to stop at the next unit; one that comes a second or more later
//! ends the process, for work that does not stop. Either way no partial output stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gmat_core::{Error, Result};

static ASKED: AtomicBool = AtomicBool::new(false);
static LEFTOVERS: Mutex<Vec<Leftover>> = Mutex::new(Vec::new());

/// How long the work has to stop by itself: an impatient user presses the keys several times, and
/// must not keep it from tidying up.
const GRACE: Duration = Duration::from_secs(1);

/// Partial output.
pub(crate) struct Leftover {
    /// A file or folder to be removed.
    pub(crate) path: PathBuf,
    /// The topmost folder that was made for it.
    pub(crate) made: Option<PathBuf>,
}

/// Says what has to be removed if the process must end at once.
pub(crate) fn register(leftover: Leftover) {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner).push(leftover);
}

/// Says that a path is gone, or has become output.
pub(crate) fn forget(path: &Path) {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other.path != path);
}

/// Catches the signals that ask a program to stop.
pub(crate) fn install() -> Result<()> {
    let mut first: Option<Instant> = None;
    let result = ctrlc::set_handler(move || {
        ASKED.store(true, Ordering::SeqCst);
        if first.get_or_insert_with(Instant::now).elapsed() >= GRACE {
            end();
        }
    });
    match result {
        // Tests run several commands in one process.
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => {
            Err(Error::new(gmat_core::ErrorKind::Io, "cannot catch Ctrl-C").with_source(error))
        }
    }
}

/// Ends the process without waiting for the work.
fn end() -> ! {
    // Not released any more: nothing new can be registered behind our back.
    let leftovers = LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner);
    for leftover in leftovers.iter() {
        // The work goes on meanwhile and may add a file; a few turns are enough to be faster.
        for _ in 0..10 {
            let gone = match leftover.path.is_dir() {
                true => fs::remove_dir_all(&leftover.path),
                false => fs::remove_file(&leftover.path),
            };
            if gone.is_ok() || leftover.path.symlink_metadata().is_err() {
                break;
            }
        }
        if let Some(parent) = leftover.path.parent() {
            crate::staging::remove_empty(parent, leftover.made.as_ref());
        }
    }
    crate::report::interrupted();
    std::process::exit(i32::from(crate::exit::INTERRUPTED));
}

/// Whether the user wants to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
