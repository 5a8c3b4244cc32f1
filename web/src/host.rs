//! What the worker brings: files, a sink, somebody to tell how far the work is.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gmat_core::io::{Chunk, Files, Sink};
use gmat_core::progress::{Event, Progress};
use gmat_core::tensor::mem_len;
use gmat_core::{Error, ErrorKind, Result};
use js_sys::Reflect;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// A folder, see `worker/sources.js`.
    pub type HostFiles;

    #[wasm_bindgen(method, catch)]
    fn names(this: &HostFiles, folder: &str) -> Result<Vec<String>, JsValue>;

    /// Bytes of a file, below zero if there is none.
    #[wasm_bindgen(method, catch, js_name = lengthOf)]
    fn length_of(this: &HostFiles, name: &str) -> Result<f64, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn read(this: &HostFiles, name: &str, offset: f64, into: &mut [u8]) -> Result<(), JsValue>;

    #[wasm_bindgen(method)]
    fn place(this: &HostFiles, name: &str) -> String;

    /// A place to write to, see `worker/sinks.js`.
    pub type HostSink;

    #[wasm_bindgen(method, catch)]
    fn begin(this: &HostSink, name: &str, length: f64) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn append(this: &HostSink, bytes: &[u8]) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn finish(this: &HostSink) -> Result<(), JsValue>;

    /// Hears of progress, see `worker/work.js`.
    pub type HostProgress;

    #[wasm_bindgen(method)]
    fn start(this: &HostProgress, tensors: f64, bytes: f64);

    #[wasm_bindgen(method)]
    fn tensor(this: &HostProgress, index: f64, name: &str, encoding: &str);

    #[wasm_bindgen(method)]
    fn bytes(this: &HostProgress, done: f64);

    #[wasm_bindgen(method)]
    fn note(this: &HostProgress, text: &str);
}

/// A number as JavaScript has them. Files end far below 2^53 bytes.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// What was thrown: an `Error`, perhaps with a hint.
fn thrown(doing: impl FnOnce() -> String, value: &JsValue) -> Error {
    let text = |key: &str| Reflect::get(value, &JsValue::from_str(key)).ok()?.as_string();
    let said = text("message").or_else(|| value.as_string());
    let error = Error::io(doing(), std::io::Error::other(said.unwrap_or_default()));
    match text("hint") {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Files of the page.
pub(crate) struct PageFiles {
    host: HostFiles,
    free: Free,
}

impl PageFiles {
    pub(crate) fn new(host: HostFiles) -> Self {
        Self { host, free: Free::default() }
    }
}

/// Memory of pieces that are done with, for the next ones: it need not be found and cleared again.
#[derive(Clone, Default)]
struct Free(Arc<Mutex<Vec<Vec<u8>>>>);

impl Free {
    /// Most pieces that are kept, and most bytes of one.
    const PIECES: usize = 16;
    const LEN: usize = 16 << 20;

    fn list(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that were read.
struct Piece {
    bytes: Vec<u8>,
    free: Free,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut list = self.free.list();
        if list.len() < Free::PIECES && self.bytes.capacity() <= Free::LEN {
            list.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Files for PageFiles {
    fn names(&self) -> Result<Vec<String>> {
        self.names_in("")
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let place = || format!("cannot list `{}`", self.place(folder));
        let mut names = self.host.names(folder).map_err(|e| thrown(place, &e))?;
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, name: &str) -> Result<Option<u64>> {
        let place = || format!("cannot open `{}`", self.place(name));
        let len = self.host.length_of(name).map_err(|e| thrown(place, &e))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length")]
        Ok((len >= 0.0).then_some(len as u64))
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        let len = mem_len(range.end.saturating_sub(range.start))?;
        let mut bytes = self.free.list().pop().unwrap_or_default();
        bytes.resize(len, 0);
        let place = || format!("cannot read `{}`", self.place(name));
        let read = self.host.read(name, number(range.start), &mut bytes);
        read.map_err(|e| thrown(place, &e))?;
        Ok(Box::new(Piece { bytes, free: self.free.clone() }))
    }

    fn place(&self, name: &str) -> String {
        self.host.place(name)
    }
}

/// A sink of the page.
pub(crate) struct PageSink {
    host: HostSink,
    open: String,
}

impl PageSink {
    pub(crate) fn new(host: HostSink) -> Self {
        Self { host, open: String::new() }
    }

    fn cannot(&self) -> String {
        format!("cannot write `{}`", self.open)
    }
}

impl Sink for PageSink {
    fn begin(&mut self, name: &str, len: Option<u64>) -> Result<()> {
        name.clone_into(&mut self.open);
        let begun = self.host.begin(name, len.map_or(-1.0, number));
        begun.map_err(|e| thrown(|| self.cannot(), &e))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.host.append(bytes).map_err(|e| thrown(|| self.cannot(), &e))
    }

    fn finish(&mut self) -> Result<()> {
        self.host.finish().map_err(|e| thrown(|| self.cannot(), &e))
    }
}

/// Somebody to tell. Nobody is asked whether to go on: the page ends the worker instead, which works
/// without shared memory, too.
pub(crate) struct PageProgress(pub(crate) HostProgress);

impl Progress for PageProgress {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Start { tensors, bytes } => self.0.start(number(tensors as u64), number(bytes)),
            Event::Tensor { index, name, encoding, .. } => {
                self.0.tensor(number(index as u64), name, encoding);
            }
            Event::Bytes(done) => self.0.bytes(number(done)),
            Event::Note(text) => self.0.note(text),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// That a step comes too early.
pub(crate) fn nothing(what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("no {what} yet"))
}
