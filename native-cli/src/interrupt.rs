//! Ctrl-C: the first asks the work to stop at the next unit; one that comes a second or more later
//! ends the process, for work that does not stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gmat_core::{Error, Result};

static ASKED: AtomicBool = AtomicBool::new(false);

/// How long the work has to stop by itself: an impatient user presses the keys several times.
const GRACE: Duration = Duration::from_secs(1);

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

/// Ends the process without waiting for the work. What is finished of the output stays, under names
/// that say that it is partial, for the run that goes on.
fn end() -> ! {
    crate::report::interrupted();
    std::process::exit(i32::from(crate::exit::INTERRUPTED));
}

/// Whether the user wants to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
