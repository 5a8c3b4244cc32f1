//! What happens once, when the module is loaded.

use std::sync::{Mutex, PoisonError};

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    type BroadcastChannel;

    #[wasm_bindgen(constructor)]
    fn new(name: &str) -> BroadcastChannel;

    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &BroadcastChannel, message: &str);
}

/// The channel on which the page hears of a panic.
static CHANNEL: Mutex<String> = Mutex::new(String::new());

/// Lets the page know of panics. One in a thread of the pool leaves the worker waiting for ever, so
/// that nobody else can tell.
pub(crate) fn report_panics(channel: &str) {
    channel.clone_into(&mut CHANNEL.lock().unwrap_or_else(PoisonError::into_inner));
    std::panic::set_hook(Box::new(|info| {
        let name = CHANNEL.lock().unwrap_or_else(PoisonError::into_inner);
        BroadcastChannel::new(&name).post_message(&info.to_string());
    }));
}

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "constructors have no safe name")]
mod constructors {
    use wasm_bindgen::prelude::wasm_bindgen;

    unsafe extern "C" {
        fn __wasm_call_ctors();
    }

    /// Registers all codecs. Without a call from here the linker would wrap every export in it.
    #[wasm_bindgen(start)]
    fn start() {
        // SAFETY: the linker makes this function; it is called once, before anything else, by the
        // start function, which does not run in the threads of the pool.
        unsafe { __wasm_call_ctors() }
    }
}
