//! Ctrl-C: the first asks the work to stop at the next unit, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use gmat_core::{Error, Result};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Catches the signals that ask a program to stop.
pub(crate) fn install() -> Result<()> {
    let result = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(crate::exit::INTERRUPTED));
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

/// Whether the user wants to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
