//! Telling the user how far the work is, and asking whether to go on.

use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// What happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on `tensors` tensors with `bytes` bytes of input begins.
    Start {
        /// Number of tensors.
        tensors: usize,
        /// Bytes to be read.
        bytes: u64,
    },
    /// A tensor is about to be written.
    Tensor {
        /// Its number, from 0.
        index: usize,
        /// Its name in the output.
        name: &'a str,
        /// Its dimensions, slowest first.
        dims: &'a [u64],
        /// What it becomes, such as `q4_k` or `B8x8`.
        encoding: &'a str,
    },
    /// A piece of the input was compared with the base, before work begins.
    Compared,
    /// So many bytes of input are done, in all.
    Bytes(u64),
    /// Something the user should know, though the work goes on.
    Note(&'a str),
}

/// Receives events on the coordinating thread only.
pub trait Progress {
    /// Called for every event; `Break` stops the work at the next unit.
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()>;
}

/// Says nothing, never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Reports an event; a wish to stop becomes an error.
pub(crate) fn notify(progress: &mut dyn Progress, event: Event<'_>) -> Result<()> {
    match progress.event(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::cancelled()),
    }
}
