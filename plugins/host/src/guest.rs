//! A plugin's module, compiled at first use, and its instances.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gmat_core::plugin::{Function, Guest, Instance, Module as Facts};
use gmat_core::{Error, ErrorKind, Result, limits};
use wasmtime::{
    Engine, ExternType, Func, InstancePre, Linker, Memory, Module, Store, StoreLimits,
    StoreLimitsBuilder, Trap, Val,
};

use crate::cache::Cache;
use crate::engine::engine;

/// How a module came to be ready.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Whether it was found compiled in the cache.
    pub cached: bool,
    /// What that took.
    pub time: Duration,
}

/// A module that is compiled at first use.
#[derive(Clone)]
pub struct NativeGuest(Arc<Inner>);

struct Inner {
    wasm: Vec<u8>,
    functions: Vec<Function>,
    cache: Option<Cache>,
    ready: OnceLock<Result<Ready, String>>,
}

struct Ready {
    engine: &'static Engine,
    module: InstancePre<StoreLimits>,
    load: Load,
}

impl NativeGuest {
    /// A module of which `facts` are known.
    #[must_use]
    pub fn new(wasm: Vec<u8>, facts: &Facts, cache: Option<Cache>) -> Self {
        let functions = facts.descriptor.functions();
        Self(Arc::new(Inner { wasm, functions, cache, ready: OnceLock::new() }))
    }

    /// Compiles the module, unless that has been done.
    ///
    /// # Errors
    /// `Plugin` if it is not valid, or lacks something that its descriptor promises.
    pub fn load(&self) -> Result<Load> {
        self.ready().map(|ready| ready.load)
    }

    fn ready(&self) -> Result<&Ready> {
        let make = || self.0.make().map_err(|error| error.to_string());
        self.0.ready.get_or_init(make).as_ref().map_err(|error| fault(error.clone()))
    }
}

impl Inner {
    fn make(&self) -> Result<Ready> {
        let engine = engine()?;
        let start = Instant::now();
        let cached = self.cache.as_ref().and_then(|cache| cache.load(engine, &self.wasm));
        let was_cached = cached.is_some();
        let module = match cached {
            Some(module) => module,
            None => {
                let module = Module::new(engine, &self.wasm)
                    .map_err(|error| fault(format!("the module cannot be compiled: {error:#}")))?;
                self.check(&module)?;
                // A cache that cannot be written is none; everything works without.
                if let Some(cache) = &self.cache {
                    cache.store(engine, &self.wasm, &module);
                }
                module
            }
        };
        // There is nothing to link to, since a plugin imports nothing.
        let module = Linker::new(engine).instantiate_pre(&module);
        let module = module.map_err(|error| fault(format!("{error:#}")))?;
        Ok(Ready { engine, module, load: Load { cached: was_cached, time: start.elapsed() } })
    }

    /// Whether everything is exported that is going to be called.
    fn check(&self, module: &Module) -> Result<()> {
        if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
            return Err(fault("it does not export its `memory`"));
        }
        for function in &self.functions {
            let (name, count) = (function.export(), function.arguments());
            let fits = match module.get_export(name) {
                Some(ExternType::Func(ty)) => {
                    ty.params().len() == count
                        && ty.params().all(|ty| ty.is_i32())
                        && ty.results().len() == 1
                        && ty.results().all(|ty| ty.is_i32())
                }
                _ => false,
            };
            if !fits {
                return Err(fault(format!(
                    "it does not export `{name}` with {count} arguments and one result, all of them `i32`"
                )));
            }
        }
        Ok(())
    }
}

impl Guest for NativeGuest {
    fn run(
        &self,
        memory: u64,
        work: &mut dyn FnMut(&mut dyn Instance) -> Result<()>,
    ) -> Result<()> {
        let ready = self.ready()?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(usize::try_from(memory).unwrap_or(usize::MAX))
            .table_elements(1 << 16)
            .instances(1)
            .memories(1)
            .tables(8)
            .trap_on_grow_failure(true)
            .build();
        let mut store = Store::new(ready.engine, limits);
        store.limiter(|limits| limits);
        let start = || fault("it fails while it is set up");
        store.set_fuel(limits::plugin_fuel(0)).map_err(|e| stopped(&e, 0))?;
        let instance = ready.module.instantiate(&mut store);
        let instance = instance
            .map_err(|error| start().with_source(stopped(&error, limits::plugin_fuel(0))))?;
        let lost = || fault("it does not export its `memory`");
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(lost)?;
        let mut functions = Vec::new();
        for function in &self.0.functions {
            let found = instance.get_func(&mut store, function.export());
            functions.extend(found.map(|found| (*function, found)));
        }
        work(&mut Running { store, memory, functions })
    }
}

/// An instance.
struct Running {
    store: Store<StoreLimits>,
    memory: Memory,
    functions: Vec<(Function, Func)>,
}

impl Running {
    fn range(at: u32, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        start..start.saturating_add(len)
    }
}

impl Instance for Running {
    fn call(&mut self, function: Function, arguments: &[u32], fuel: u64) -> Result<u32> {
        let (_, func) =
            self.functions.iter().find(|(other, _)| *other == function).ok_or_else(|| {
                fault(format!("its descriptor does not ask for `{}`", function.export()))
            })?;
        let arguments: Vec<Val> =
            arguments.iter().map(|number| Val::I32(number.cast_signed())).collect();
        let mut answer = [Val::I32(0)];
        let name = function.export();
        let called = self
            .store
            .set_fuel(fuel)
            .and_then(|()| func.call(&mut self.store, &arguments, &mut answer));
        called.map_err(|error| stopped(&error, fuel).context(format!("in `{name}`")))?;
        let [Val::I32(answer)] = answer else {
            return Err(fault(format!("`{name}` does not answer with a number of 32 bits")));
        };
        Ok(answer.cast_unsigned())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<()> {
        let range = Self::range(at, bytes.len());
        match self.memory.data_mut(&mut self.store).get_mut(range) {
            Some(place) => place.copy_from_slice(bytes),
            None => return Err(outside(at, bytes.len())),
        }
        Ok(())
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<()> {
        match self.memory.data(&self.store).get(Self::range(at, out.len())) {
            Some(place) => out.copy_from_slice(place),
            None => return Err(outside(at, out.len())),
        }
        Ok(())
    }
}

fn outside(at: u32, len: usize) -> Error {
    fault(format!("{len} bytes at {at}, where it wants them, are not in its memory"))
}

/// Why the engine stopped an instance.
fn stopped(error: &wasmtime::Error, fuel: u64) -> Error {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            fault(format!("stopped after {fuel} instructions: it does not end, or is far too slow"))
        }
        Some(Trap::StackOverflow) => fault("it calls itself too deeply: its stack is full"),
        Some(Trap::UnreachableCodeReached) => fault("it gave up (`unreachable`, or a panic)"),
        Some(trap) => fault(format!("it failed: {trap}")),
        None => {
            // The engine tells in its own words what memory was asked for.
            fault(format!("it failed: {}", error.root_cause()))
        }
    }
}

fn fault(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, message)
}
