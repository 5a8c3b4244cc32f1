//! Writing behind the work: a thread of its own hands bytes to the system.
//!
//! Copying to the page cache costs the coordinating thread as much time as everything else it
//! does; while it writes it can neither read nor hand out units, and cores go idle.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use gmat_core::io::Sink;
use gmat_core::{Error, ErrorKind, Result};

/// Pieces that may wait to be written. A few smooth the flow; more would only cost memory.
const WAITING: usize = 4;

enum Piece {
    Begin(String, Option<u64>),
    Append(Vec<u8>),
    Finish,
    Reopen(String, u64),
    Checkpoint(String),
}

/// Does `work` with a sink that passes everything on to `sink`, in order, on another thread.
///
/// # Errors
/// That of `sink` if it failed, otherwise that of `work`.
pub(crate) fn write_behind<R>(
    sink: &mut (dyn Sink + Send),
    work: impl FnOnce(&mut dyn Sink) -> Result<R>,
) -> Result<R> {
    std::thread::scope(|scope| {
        let (pieces, to_write) = sync_channel(WAITING);
        let (written, buffers) = channel();
        let writer = scope.spawn(move || -> Result<()> {
            for piece in to_write {
                match piece {
                    Piece::Begin(name, len) => sink.begin(&name, len)?,
                    Piece::Append(bytes) => {
                        sink.append(&bytes)?;
                        // The front is gone only when the run is over.
                        let _ = written.send(bytes);
                    }
                    Piece::Finish => sink.finish()?,
                    Piece::Reopen(name, kept) => sink.reopen(&name, kept)?,
                    Piece::Checkpoint(line) => sink.checkpoint(&line)?,
                }
            }
            Ok(())
        });
        // Dropped before joining: the writer ends when no piece can come any more.
        let result = work(&mut Front { pieces, buffers });
        let written = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
        written.and(result)
    })
}

/// The sink that the work sees.
struct Front {
    pieces: SyncSender<Piece>,
    /// Buffers that have been written, to be filled again.
    buffers: Receiver<Vec<u8>>,
}

impl Front {
    fn send(&self, piece: Piece) -> Result<()> {
        // The writer ends early only if the sink failed, and its error is the one reported.
        self.pieces.send(piece).map_err(|_| Error::new(ErrorKind::Io, "writing has stopped"))
    }
}

impl Sink for Front {
    fn begin(&mut self, name: &str, len: Option<u64>) -> Result<()> {
        self.send(Piece::Begin(name.to_owned(), len))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut buffer = self.buffers.try_recv().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.send(Piece::Append(buffer))
    }

    fn give(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.send(Piece::Append(bytes))?;
        Ok(self.buffers.try_recv().unwrap_or_default())
    }

    fn finish(&mut self) -> Result<()> {
        self.send(Piece::Finish)
    }

    fn reopen(&mut self, name: &str, kept: u64) -> Result<()> {
        self.send(Piece::Reopen(name.to_owned(), kept))
    }

    fn checkpoint(&mut self, line: &str) -> Result<()> {
        self.send(Piece::Checkpoint(line.to_owned()))
    }
}
