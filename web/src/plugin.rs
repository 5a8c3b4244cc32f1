//! Plugins, run by the browser's own engine: a host beside `plugins/host`, for what `gmat_core::plugin`
//! asks for.
//!
//! A plugin is called on the thread that works on the rows, natively as well as here: every worker of
//! the pool compiles the module once, and makes an instance per row group (`worker/plugins.js`). What
//! the native engine can do and browsers cannot is done otherwise: settings are checks of the module
//! (`check`), memory is limited by changing the module, and a call that does not end is seen by the page,
//! which ends the worker (`watch`).

mod check;
mod watch;

pub(crate) use self::watch::place as watched;

use std::fmt::Display;

use gmat_core::plugin::{Function, Guest, Instance, Module, Plugin};
use gmat_core::{Error, ErrorKind, Result, limits};
use js_sys::Reflect;
use wasm_bindgen::prelude::*;

use self::check::{PAGE, check, with_memory};
use self::watch::Call;

// By a path from `pkg`, where the generated file is that imports it.
#[wasm_bindgen(raw_module = "../worker/plugins.js")]
extern "C" {
    /// Whether this worker has the module of that number, made for so many pages of memory.
    #[wasm_bindgen(js_name = hasModule)]
    fn has_module(number: u32, pages: u32) -> bool;

    #[wasm_bindgen(catch, js_name = addModule)]
    fn add_module(number: u32, pages: u32, wasm: &[u8]) -> Result<(), JsValue>;

    /// An instance, see `worker/plugins.js`.
    #[wasm_bindgen(js_name = Instance)]
    type PageInstance;

    #[wasm_bindgen(constructor, catch, js_class = "Instance")]
    fn new(number: u32, pages: u32, seconds: u32) -> Result<PageInstance, JsValue>;

    /// Bytes of its memory.
    #[wasm_bindgen(method)]
    fn memory(this: &PageInstance) -> f64;

    #[wasm_bindgen(method, catch)]
    fn call(
        this: &PageInstance,
        name: &str,
        arguments: &[u32],
        seconds: u32,
    ) -> Result<u32, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn write(this: &PageInstance, at: u32, bytes: &[u8]) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn read(this: &PageInstance, at: u32, out: &mut [u8]) -> Result<(), JsValue>;
}

/// Reads a plugin from a file called `place` and checks it. Nothing of it is run.
///
/// # Errors
/// As [`Plugin::new`]; `Plugin` if the module is not valid, or lacks what its descriptor promises.
pub(crate) fn open(number: u32, place: &str, wasm: Vec<u8>) -> Result<Plugin> {
    Plugin::new(&wasm, place, |module| {
        check(&wasm, &module.descriptor.functions())?;
        Ok(Box::new(PageGuest { number, wasm: wasm.clone(), module: module.clone() }))
    })
}

/// A module. Each worker compiles it for itself, as those of the pool cannot be sent anything.
struct PageGuest {
    number: u32,
    wasm: Vec<u8>,
    module: Module,
}

impl Guest for PageGuest {
    fn run(
        &self,
        memory: u64,
        work: &mut dyn FnMut(&mut dyn Instance) -> Result<()>,
    ) -> Result<()> {
        // Modules are compiled for few limits; the exact one is looked at after every call.
        let pages = memory.div_ceil(PAGE).next_power_of_two().min(1 << 16);
        let pages = self.module.max_memory.map_or(pages, |most| pages.min(most.div_ceil(PAGE)));
        let pages = u32::try_from(pages).unwrap_or(1 << 16);
        if !has_module(self.number, pages) {
            let wasm = with_memory(&self.wasm, pages)?;
            add_module(self.number, pages, &wasm).map_err(|error| {
                fault(format!("the module cannot be compiled: {}", said(&error)))
            })?;
        }
        let call = Call::begin(self.number, limits::plugin_fuel(0));
        let host = PageInstance::new(self.number, pages, call.seconds());
        drop(call);
        let host = host
            .map_err(|error| fault("it fails while it is set up").with_source(stopped(&error)))?;
        let mut running = Running { number: self.number, host, memory };
        running.small_enough()?;
        work(&mut running)
    }
}

/// An instance.
struct Running {
    number: u32,
    host: PageInstance,
    /// Bytes that it may have.
    memory: u64,
}

impl Running {
    fn small_enough(&self) -> Result<()> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length")]
        let bytes = self.host.memory() as u64;
        match bytes <= self.memory {
            true => Ok(()),
            false => Err(fault(format!(
                "its memory has grown to {bytes} bytes; at most {} are given",
                self.memory
            ))),
        }
    }
}

impl Instance for Running {
    fn call(&mut self, function: Function, arguments: &[u32], fuel: u64) -> Result<u32> {
        let name = function.export();
        let call = Call::begin(self.number, fuel);
        let answer = self.host.call(name, arguments, call.seconds());
        drop(call);
        let answer = answer.map_err(|error| stopped(&error).context(format!("in `{name}`")))?;
        self.small_enough()?;
        Ok(answer)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<()> {
        self.host.write(at, bytes).map_err(|_| outside(at, bytes.len()))
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<()> {
        let len = out.len();
        self.host.read(at, out).map_err(|_| outside(at, len))
    }
}

fn outside(at: u32, len: usize) -> Error {
    fault(format!("{len} bytes at {at}, where it wants them, are not in its memory"))
}

/// Why the engine stopped an instance; browsers say it in different words.
fn stopped(error: &JsValue) -> Error {
    let (name, said) = (text(error, "name"), said(error));
    let lower = said.to_ascii_lowercase();
    if lower.contains("call stack") || lower.contains("recursion") {
        return fault("it calls itself too deeply: its stack is full");
    }
    match name == "RuntimeError" && lower.contains("unreachable") {
        true => fault("it gave up (`unreachable`, or a panic)"),
        false => fault(format!("it failed: {said}")),
    }
}

fn text(value: &JsValue, key: &str) -> String {
    let found = Reflect::get(value, &JsValue::from_str(key)).ok();
    found.and_then(|value| value.as_string()).unwrap_or_default()
}

fn said(error: &JsValue) -> String {
    text(error, "message")
}

fn fault(message: impl Display) -> Error {
    Error::new(ErrorKind::Plugin, message.to_string())
}
