//! Calls of one instance, with all checks on what it answers.

use super::{ABI, Function, Instance, fault};
use crate::convert::first_non_finite;
use crate::error::{Error, Result};
use crate::limits;

/// Most bytes of an error's text.
const TEXT: u32 = 1000;
/// What buffers are aligned to.
const ALIGN: u32 = 16;
/// Bytes behind a buffer that the plugin has to leave alone, and what they are.
const GUARD: [u8; 16] = [0xa5; 16];

/// A buffer in the memory of the plugin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffer {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// An instance in use.
pub(crate) struct Session<'a> {
    instance: &'a mut dyn Instance,
    buffers: Vec<Buffer>,
    /// Values on their way, as bytes.
    bytes: Vec<u8>,
}

impl<'a> Session<'a> {
    /// Starts to use an instance.
    pub(crate) fn new(instance: &'a mut dyn Instance) -> Result<Self> {
        let abi = instance.call(Function::Abi, &[], limits::plugin_fuel(0))?;
        if abi != ABI {
            return Err(fault(format!("`gmat_abi` answers {abi}, but its descriptor says {ABI}")));
        }
        Ok(Self { instance, buffers: Vec::new(), bytes: Vec::new() })
    }

    /// Hands over parameters.
    pub(crate) fn configure(&mut self, index: usize, params: &str) -> Result<()> {
        let buffer = self.alloc(params.len())?;
        self.instance.write(buffer.at, params.as_bytes())?;
        let arguments = [number(index)?, buffer.at, buffer.len];
        self.call(Function::Configure, &arguments, params.len())
    }

    /// A buffer of exactly that length, with a guard behind it.
    pub(crate) fn alloc(&mut self, len: usize) -> Result<Buffer> {
        let guarded = number(len)?.checked_add(number(GUARD.len())?);
        let guarded = guarded.ok_or_else(|| too_large(len))?;
        let at = self.instance.call(Function::Alloc, &[guarded], limits::plugin_fuel(len))?;
        if at == 0 {
            return Err(fault(format!("`gmat_alloc` has no {guarded} bytes")));
        }
        let end = at.checked_add(guarded).filter(|_| at.is_multiple_of(ALIGN));
        let overlaps = |other: &Buffer| {
            let taken = u64::from(other.at)..u64::from(other.at) + u64::from(other.len);
            u64::from(at) < taken.end && taken.start < u64::from(at) + u64::from(guarded)
        };
        if end.is_none() || self.buffers.iter().any(overlaps) {
            return Err(fault(format!(
                "`gmat_alloc` answers {at} for {guarded} bytes, which is not a multiple of {ALIGN} or not free"
            )));
        }
        self.buffers.push(Buffer { at, len: guarded });
        let buffer = Buffer { at, len: number(len)? };
        self.instance.write(at + buffer.len, &GUARD)?;
        Ok(buffer)
    }

    /// Calls a function that answers whether it did its work on so many values.
    pub(crate) fn call(
        &mut self,
        function: Function,
        arguments: &[u32],
        values: usize,
    ) -> Result<()> {
        match self.count(function, arguments, values)? {
            0 => Ok(()),
            status => Err(self.unknown(function, status)),
        }
    }

    /// Calls a function that answers with a length.
    pub(crate) fn count(
        &mut self,
        function: Function,
        arguments: &[u32],
        values: usize,
    ) -> Result<u32> {
        let status = self.instance.call(function, arguments, limits::plugin_fuel(values))?;
        match status.cast_signed() {
            0.. => Ok(status),
            -1 => Err(self.failure(function)),
            _ => Err(self.unknown(function, status)),
        }
    }

    fn unknown(&self, function: Function, status: u32) -> Error {
        fault(format!(
            "`{}` answers with status {}, which means nothing",
            function.export(),
            status.cast_signed()
        ))
    }

    /// What the plugin says about its failure.
    fn failure(&mut self, function: Function) -> Error {
        let text = self.text().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        match text.trim() {
            "" => fault(format!("`{}` failed, and does not say why", function.export())),
            text => fault(format!("`{}` failed: {text}", function.export())),
        }
    }

    fn text(&mut self) -> Result<Vec<u8>> {
        let buffer = self.alloc(usize::try_from(TEXT).unwrap_or_default())?;
        let arguments = [buffer.at, buffer.len];
        let len = self.instance.call(Function::Error, &arguments, limits::plugin_fuel(0))?;
        let mut text = vec![0; usize::try_from(len.min(TEXT)).unwrap_or_default()];
        self.instance.read(buffer.at, &mut text)?;
        Ok(text)
    }

    /// Copies values to the front of a buffer.
    pub(crate) fn put_values(&mut self, buffer: Buffer, values: &[f32]) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(size_of_val(values), 0);
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        let written = self.put(buffer, &bytes);
        self.bytes = bytes;
        written
    }

    /// Copies bytes to the front of a buffer.
    pub(crate) fn put(&mut self, buffer: Buffer, bytes: &[u8]) -> Result<()> {
        inside(buffer, bytes.len())?;
        self.instance.write(buffer.at, bytes)
    }

    /// Copies the front of a buffer out, and looks whether what is behind the buffer is as it was.
    pub(crate) fn get(&mut self, buffer: Buffer, out: &mut [u8]) -> Result<()> {
        inside(buffer, out.len())?;
        let mut guard = [0; GUARD.len()];
        self.instance.read(buffer.at + buffer.len, &mut guard)?;
        if guard != GUARD {
            return Err(fault(format!("it wrote behind its buffer of {} bytes", buffer.len)));
        }
        self.instance.read(buffer.at, out)
    }

    /// The same for values, all of which must be finite numbers; `cols` are in a row.
    pub(crate) fn get_values(
        &mut self,
        buffer: Buffer,
        cols: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(size_of_val(out), 0);
        let read = self.get(buffer, &mut bytes);
        for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        self.bytes = bytes;
        read?;
        finite(out, cols)
    }
}

/// Refuses values that are not numbers; they come from what a plugin wrote.
pub(crate) fn finite(values: &[f32], cols: usize) -> Result<()> {
    match first_non_finite(values) {
        None => Ok(()),
        Some(at) => Err(fault(format!(
            "what it made is read back as `{}` in its row {}, column {}",
            values.get(at).copied().unwrap_or(f32::NAN),
            at / cols.max(1),
            at % cols.max(1)
        ))),
    }
}

fn inside(buffer: Buffer, len: usize) -> Result<()> {
    match usize::try_from(buffer.len).is_ok_and(|most| len <= most) {
        true => Ok(()),
        false => Err(Error::shape(format!("{len} bytes in a buffer of {}", buffer.len))),
    }
}

/// A length as plugins know it.
pub(crate) fn number(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| too_large(len))
}

fn too_large(len: usize) -> Error {
    Error::limit(format!("{len} bytes are more than a plugin has addresses for"))
        .with_hint("give tensors with rows this long a type that is built in")
}
