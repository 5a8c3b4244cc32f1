//! Carries out a plan: units are read in order by the coordinating thread, computed on the rayon
//! pool, and written in order by the coordinating thread again.
//!
//! At most `in_flight` units exist between read and write, which bounds memory whatever the size
//! of the model. The order of results is the order of units, so output does not depend on the
//! number of threads; and the error reported is that of the first failing unit in plan order.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Runs every unit through `read`, `compute` and `write`.
///
/// `read` and `write` run on the calling thread, `compute` on the current rayon pool. On a machine
/// without threads (wasm without isolation) the same code runs everything on the calling thread.
///
/// # Errors
/// The first error of `read`, `compute` or `write` in plan order; later units are not written.
pub fn drive<U, I, O>(
    units: impl IntoIterator<Item = U>,
    in_flight: usize,
    mut read: impl FnMut(&U) -> Result<I>,
    compute: impl Fn(&U, I) -> Result<O> + Sync,
    mut write: impl FnMut(U, O) -> Result<()>,
) -> Result<()>
where
    U: Send,
    I: Send,
    O: Send,
{
    let in_flight = in_flight.max(1);
    let stop = AtomicBool::new(false);
    let (compute, stop) = (&compute, &stop);
    // A place for every unit under way: a finished task never waits for the coordinator.
    let (sender, receiver) = sync_channel::<(usize, Outcome<U, O>)>(in_flight);
    rayon::in_place_scope(|scope| {
        // Whatever way this closure is left, tasks not yet started must not do their work.
        let _guard = StopOnDrop(stop);
        let mut units = units.into_iter().fuse();
        let mut waiting = BTreeMap::new();
        let (mut spawned, mut written) = (0, 0);
        // An error of `read` counts as the outcome of its unit, so that earlier units finish first.
        let mut failed_read = None;
        loop {
            while failed_read.is_none() && spawned - written < in_flight {
                let Some(unit) = units.next() else { break };
                let input = match read(&unit) {
                    Ok(input) => input,
                    Err(error) => {
                        failed_read = Some(error);
                        break;
                    }
                };
                let (sequence, sender) = (spawned, sender.clone());
                spawned += 1;
                scope.spawn(move |_| {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| compute(&unit, input)));
                    // The receiver is gone only when the run has failed already.
                    let _ = sender.send((sequence, outcome.map(|result| (unit, result))));
                });
            }
            if spawned == written {
                return failed_read.map_or(Ok(()), Err);
            }
            let (sequence, outcome) = receive(&receiver)?;
            waiting.insert(sequence, outcome);
            while let Some(outcome) = waiting.remove(&written) {
                let (unit, result) = outcome.unwrap_or_else(|panic| resume_unwind(panic));
                write(unit, result?)?;
                written += 1;
            }
        }
    })
}

type Outcome<U, O> = std::result::Result<(U, Result<O>), Box<dyn Any + Send>>;

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The next result. On a pool thread (or the only thread) tasks run while waiting: blocking there
/// would wait for itself.
fn receive<T>(receiver: &Receiver<T>) -> Result<T> {
    let lost = || Error::cancelled().context("a worker ended without a result");
    loop {
        match receiver.try_recv() {
            Ok(item) => return Ok(item),
            Err(TryRecvError::Disconnected) => return Err(lost()),
            Err(TryRecvError::Empty) => {}
        }
        match rayon::yield_now() {
            // Not a pool thread: the pool works by itself.
            None => return receiver.recv().map_err(|_| lost()),
            Some(rayon::Yield::Executed) => {}
            Some(rayon::Yield::Idle) => std::thread::yield_now(),
        }
    }
}

/// How much may be under way.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Units between read and write, at most.
    pub in_flight: usize,
    /// Bytes of memory for all of them together.
    pub memory: u64,
}

impl Budget {
    /// Units that fit if each costs at most `unit` bytes.
    ///
    /// # Errors
    /// `Config` if not even one fits.
    pub(crate) fn units(&self, unit: u64) -> Result<usize> {
        let fit = self.memory / unit.max(1);
        if fit == 0 {
            return Err(Error::config(format!(
                "the largest unit of work needs {unit} bytes of memory, `--memory` is {}",
                self.memory
            ))
            .with_hint("raise --memory"));
        }
        // More than this many only costs memory: no machine has as many cores.
        const MOST: usize = 4096;
        Ok(self.in_flight.clamp(1, MOST).min(usize::try_from(fit).unwrap_or(MOST)))
    }
}

/// Memory of finished units, for the next ones.
#[derive(Default)]
pub(crate) struct Buffers {
    bytes: Mutex<Vec<Vec<u8>>>,
    values: Mutex<Vec<Vec<f32>>>,
}

impl Buffers {
    /// An empty buffer, with capacity if one was given back.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut buffer = lock(&self.bytes).pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    /// `len` bytes of whatever content.
    pub(crate) fn any_bytes(&self, len: usize) -> Vec<u8> {
        let mut buffer = lock(&self.bytes).pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// `len` values of whatever content.
    pub(crate) fn values(&self, len: usize) -> Vec<f32> {
        let mut buffer = lock(&self.values).pop().unwrap_or_default();
        buffer.resize(len, 0.0);
        buffer
    }

    pub(crate) fn put(&self, buffer: Vec<u8>) {
        lock(&self.bytes).push(buffer);
    }

    pub(crate) fn put_values(&self, buffer: Vec<f32>) {
        lock(&self.values).push(buffer);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A pool of empty buffers cannot be in a bad state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn squares(in_flight: usize, fail_at: Option<u64>) -> (Result<()>, Vec<u64>, usize) {
        let mut out = Vec::new();
        let under_way = AtomicUsize::new(0);
        let mut most = 0;
        let result = drive(
            0..200u64,
            in_flight,
            |&unit| {
                most = most.max(under_way.fetch_add(1, Ordering::SeqCst) + 1);
                Ok(unit)
            },
            |&unit, input| match fail_at {
                Some(at) if unit >= at => Err(Error::malformed(format!("unit {unit}"))),
                _ => Ok(input * input),
            },
            |_, square| {
                under_way.fetch_sub(1, Ordering::SeqCst);
                out.push(square);
                Ok(())
            },
        );
        (result, out, most)
    }

    #[test]
    fn order_is_kept_and_memory_bounded() {
        for threads in [1, 2, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for in_flight in [1, 3, 16] {
                let inside = pool.install(|| squares(in_flight, None));
                for (result, out, most) in [inside, squares(in_flight, None)] {
                    result.unwrap();
                    assert!(out.iter().copied().eq((0..200).map(|n| n * n)));
                    assert!(most <= in_flight);
                }
            }
        }
    }

    #[test]
    fn the_first_error_in_plan_order_is_reported() {
        for _ in 0..20 {
            let (result, out, _) = squares(8, Some(50));
            assert_eq!(result.unwrap_err().message(), "unit 50");
            assert_eq!(out.len(), 50);
        }
    }

    #[test]
    fn a_failed_read_lets_earlier_units_finish() {
        let mut written = 0;
        let result = drive(
            0..10,
            4,
            |&n| if n == 5 { Err(Error::malformed("gone")) } else { Ok(()) },
            |_, ()| Ok(()),
            |_, ()| {
                written += 1;
                Ok(())
            },
        );
        assert_eq!((result.is_err(), written), (true, 5));
    }

    #[test]
    #[should_panic(expected = "broken codec")]
    fn a_panic_does_not_hang() {
        let compute = |_: &i32, ()| -> Result<()> { panic!("broken codec") };
        let _ = drive(0..10, 4, |_| Ok(()), compute, |_, ()| Ok(()));
    }
}
