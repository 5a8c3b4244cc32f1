//! The browser front end of gmat: the same core and codecs as the command line, driven by a worker of
//! the page (`web/page`). The worker brings files, a place to write to and somebody to tell; options
//! and answers are JSON texts.

mod answer;
mod arrays;
mod host;
mod inspect;
mod options;
mod plugin;
mod run;
mod session;
mod source;
mod start;

pub use self::session::Session;
#[cfg(target_arch = "wasm32")]
pub use wasm_bindgen_rayon::init_thread_pool;
