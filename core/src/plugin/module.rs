//! What a wasm module says of itself, found without running it.
//!
//! Only the outer structure is read here (WebAssembly core specification 2.0, section 5.5); the engine
//! validates the rest. Sizes are checked first, since what an engine needs for compiling grows with
//! them.

use super::descriptor::Descriptor;
use super::{SECTION, fault};
use crate::error::{Error, Result, ResultExt};
use crate::limits;

/// Bytes of a page of memory.
const PAGE: u64 = 1 << 16;

/// Ids of sections.
const CUSTOM: u8 = 0;
const IMPORT: u8 = 2;
const MEMORY: u8 = 5;
const CODE: u8 = 10;

/// What is known of a module.
#[derive(Debug, Clone)]
pub struct Module {
    /// What it says it brings.
    pub descriptor: Descriptor,
    /// Bytes of memory that it starts with.
    pub memory: u64,
    /// Bytes of memory that it may grow to, if it says so.
    pub max_memory: Option<u64>,
}

impl Module {
    /// Reads the outer structure of a module.
    ///
    /// # Errors
    /// `Limit` if it is too large to be compiled; `Plugin` if it is no module, has imports, or if its
    /// descriptor is missing or wrong.
    pub fn read(wasm: &[u8]) -> Result<Self> {
        if wasm.len() as u64 > limits::PLUGIN_MODULE {
            return Err(too_large(wasm.len() as u64));
        }
        let mut at = Cursor { bytes: wasm, at: 0 };
        match at.take(8)? {
            [0, b'a', b's', b'm', 1, 0, 0, 0] => {}
            [0, b'a', b's', b'm', _, 0, 1, 0] => {
                return Err(fault("this is a component; plugins are core modules")
                    .with_hint("build for wasm32-unknown-unknown, without a component step"));
            }
            _ => return Err(fault("this is not a wasm module")),
        }
        let (mut descriptor, mut memory, mut max_memory) = (None, 0, None);
        while !at.is_done() {
            let (start, id) = (at.at, at.byte()?);
            let len = at.number()?;
            let mut body = Cursor { bytes: at.take(len)?, at: 0 };
            let place = || format!("section {id} at byte {start}");
            match id {
                CUSTOM => {
                    let is_ours = body.text().context(place)? == SECTION.as_bytes();
                    if is_ours && descriptor.replace(body.rest()).is_some() {
                        return Err(fault(format!("it has two sections `{SECTION}`")));
                    }
                }
                IMPORT => no_imports(&mut body).context(place)?,
                MEMORY => (memory, max_memory) = memories(&mut body).context(place)?,
                CODE => functions(&mut body).context(place)?,
                _ => {}
            }
        }
        let descriptor = descriptor.ok_or_else(|| {
            fault(format!("it has no section `{SECTION}`: this is not a plugin of gmat"))
        })?;
        Ok(Self { descriptor: Descriptor::parse(descriptor)?, memory, max_memory })
    }
}

/// The error for a module of so many bytes.
#[must_use]
pub fn too_large(len: u64) -> Error {
    Error::limit(format!(
        "the module has {len} bytes; at most {} are accepted",
        limits::PLUGIN_MODULE
    ))
    .with_hint("build it with optimization, and without debug information")
}

fn no_imports(body: &mut Cursor<'_>) -> Result<()> {
    if body.number()? == 0 {
        return Ok(());
    }
    let (from, name) = (body.text()?, body.text()?);
    let shown = |text| String::from_utf8_lossy(text).into_owned();
    Err(fault(format!(
        "it imports `{}` from `{}`; plugins import nothing",
        shown(name),
        shown(from)
    ))
    .with_hint("clocks, files and random numbers are not there: build for wasm32-unknown-unknown"))
}

fn memories(body: &mut Cursor<'_>) -> Result<(u64, Option<u64>)> {
    match body.number()? {
        0 => return Ok((0, None)),
        1 => {}
        more => return Err(fault(format!("it has {more} memories, expected one"))),
    }
    let flags = body.byte()?;
    if flags > 1 {
        return Err(fault("its memory is shared or has 64-bit addresses; neither is accepted"));
    }
    let pages = |number: usize| (number as u64).saturating_mul(PAGE);
    let least = pages(body.number()?);
    let most = if flags == 1 { Some(pages(body.number()?)) } else { None };
    if least > limits::PLUGIN_MEMORY {
        return Err(Error::limit(format!(
            "it wants {least} bytes of memory to start with; at most {} are given",
            limits::PLUGIN_MEMORY
        )));
    }
    Ok((least, most))
}

fn functions(body: &mut Cursor<'_>) -> Result<()> {
    for number in 0..body.number()? {
        let len = body.number()?;
        body.take(len)?;
        if len as u64 > limits::PLUGIN_FUNCTION {
            return Err(Error::limit(format!(
                "function {number} has {len} bytes; at most {} are accepted",
                limits::PLUGIN_FUNCTION
            )));
        }
    }
    Ok(())
}

/// Reads from the front of some bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.rest().get(..len).ok_or_else(|| {
            fault(format!("the module is cut off: {len} bytes are missing from byte {}", self.at))
        })?;
        self.at += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    /// An unsigned number of at most 32 bits (LEB128).
    fn number(&mut self) -> Result<usize> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .ok()
                    .and_then(|value| usize::try_from(value).ok())
                    .ok_or_else(|| fault("a number in the module has more than 32 bits"));
            }
        }
        Err(fault("a number in the module has more than 32 bits"))
    }

    /// Bytes that follow their number.
    fn text(&mut self) -> Result<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        r#"{"abi":1,"name":"v","types":[{"name":"q8_0@v","ggml_type":8,"block":[32,34]}]}"#;

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        // All of these are shorter than 2^14 bytes, in two bytes of LEB128.
        let len = u16::try_from(body.len()).unwrap();
        let len = [len.to_le_bytes()[0] | 0x80, u8::try_from(len >> 7).unwrap()];
        [&[id][..], &len, body].concat()
    }

    fn module(sections: &[Vec<u8>]) -> Vec<u8> {
        [&b"\0asm\x01\0\0\0"[..], &sections.concat()].concat()
    }

    fn descriptor(text: &str) -> Vec<u8> {
        section(0, &[b"\x0bgmat:plugin", text.as_bytes()].concat())
    }

    fn error(wasm: &[u8]) -> String {
        format!("{:?}", Module::read(wasm).unwrap_err())
    }

    #[test]
    fn the_descriptor_is_found() {
        let other = section(0, b"\x04namexyz");
        let wasm = module(&[other.clone(), section(5, &[1, 1, 2, 4]), descriptor(TEXT)]);
        let read = Module::read(&wasm).unwrap();
        assert_eq!((read.memory, read.max_memory), (2 * PAGE, Some(4 * PAGE)));
        assert_eq!(read.descriptor.types[0].name, "q8_0@v");
        for cut in 0..wasm.len() {
            assert!(Module::read(&wasm[..cut]).is_err(), "cut at {cut}");
        }
        assert!(error(&module(&[other])).contains("no section `gmat:plugin`"));
        assert!(error(&module(&[descriptor(TEXT), descriptor(TEXT)])).contains("two sections"));
    }

    #[test]
    fn what_a_plugin_must_not_have() {
        let import = section(2, b"\x01\x03env\x03now\0\0");
        let said = error(&module(&[import, descriptor(TEXT)]));
        assert!(said.contains("imports `now` from `env`"), "{said}");
        for (memory, part) in [
            (&[1, 3, 1, 1][..], "shared"),
            (&[2, 0, 1, 0, 1][..], "2 memories"),
            (&[1, 0, 0xff, 0xff, 3][..], "to start with"),
        ] {
            let said = error(&module(&[section(5, memory), descriptor(TEXT)]));
            assert!(said.contains(part), "{said}");
        }
        assert!(error(b"\0asm\x0d\0\x01\0").contains("component"));
        assert!(error(b"MZ......").contains("not a wasm module"));
        let huge = vec![0; usize::try_from(limits::PLUGIN_MODULE).unwrap() + 1];
        assert!(error(&huge).contains("at most"), "{}", error(&huge));
        let long = b"\x01\x80\x80\x80\x01";
        assert!(error(&module(&[section(10, long)])).contains("cut off"));
        assert!(error(&module(&[section(5, b"\xff\xff\xff\xff\xff\x01")])).contains("32 bits"));
    }
}
