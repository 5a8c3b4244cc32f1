//! The engine, and what it lets modules do: compute, and nothing else.

use std::sync::OnceLock;

use gmat_core::{Error, ErrorKind, Result};
use wasmtime::{Config, Engine};

/// Stack of a plugin in bytes; the threads that it runs on have several times as much.
const STACK: usize = 512 << 10;

/// The one engine of the process.
///
/// # Errors
/// `Plugin` if this machine has none.
pub(crate) fn engine() -> Result<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let made = ENGINE.get_or_init(|| Engine::new(&config()).map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| {
        Error::new(ErrorKind::Plugin, format!("plugins cannot run on this machine: {error}"))
    })
}

fn config() -> Config {
    let mut config = Config::new();
    // A plugin that does not end is stopped after a number of instructions: the same one everywhere,
    // while a clock would make it depend on the machine whether a file can be made.
    config.consume_fuel(true);
    // Bits of NaN are the one thing in which processors differ, but for relaxed vector instructions.
    config.cranelift_nan_canonicalization(true);
    config.wasm_relaxed_simd(false);
    config.max_wasm_stack(STACK);
    // What a plugin does not need is no way out for it either.
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_tail_call(false);
    // Nobody reads backtraces of plugins.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    config
}
