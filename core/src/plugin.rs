//! Plugins: quantization types and block formats from wasm modules, run in a sandbox.
//!
//! Everything that is the same in every host is here: what a module says of itself ([`Descriptor`]),
//! the calls and the checks on their answers, and the types and formats made of them. A host brings an
//! engine ([`Guest`]). The interface is written down in docs/plugin-abi.md.

pub use self::block::PluginBlock;
pub(crate) use self::block::{block_memory, decoder_memory};
pub use self::descriptor::{BlockDescriptor, CUSTOM_TYPE, Descriptor, TypeDescriptor};
pub use self::guest::{Function, Guest, Instance, memory_limit};
pub use self::laws::{Law, Verdict, check_block, check_type};
pub use self::module::{Module, too_large};
pub use self::quant::PluginQuant;
pub(crate) use self::quant::{no_layout, quant_memory};
pub(crate) use self::session::Session;

mod block;
mod descriptor;
mod guest;
mod laws;
mod module;
mod quant;
mod session;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::quant::QuantType;

/// The version of the interface that this program speaks.
pub const ABI: u32 = 1;
/// Name of the custom section that holds the descriptor.
pub const SECTION: &str = "gmat:plugin";

/// Which plugin exactly something was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// BLAKE3 of the module, in hexadecimal.
    pub blake3: String,
    /// What it says its version is.
    pub version: String,
}

/// A plugin: its description, and the engine that runs it.
///
/// Plugins live as long as the process, as what is built in does; front ends leak them, once each.
pub struct Plugin {
    descriptor: Descriptor,
    identity: Identity,
    place: String,
    guest: Box<dyn Guest>,
    /// Types with parameters, made as they are asked for, so that each is leaked once.
    with_params: Mutex<BTreeMap<(usize, String), &'static dyn QuantType>>,
}

impl Plugin {
    /// A plugin from a module, found at `place`. Nothing of it is run.
    ///
    /// # Errors
    /// `Plugin` if the bytes are not a module, if it imports anything, or if its description is missing
    /// or contradicts itself; whatever the engine says.
    pub fn new(
        wasm: &[u8],
        place: &str,
        guest: impl FnOnce(&Module) -> Result<Box<dyn Guest>>,
    ) -> Result<Self> {
        let make = || {
            let module = Module::read(wasm)?;
            let guest = guest(&module)?;
            let version = module.descriptor.version.clone();
            let blake3 = blake3::hash(wasm).to_hex().to_string();
            Ok((module.descriptor, Identity { blake3, version }, guest))
        };
        let (descriptor, identity, guest) =
            make().map_err(|error: Error| error.context(format!("plugin `{place}`")))?;
        let (place, with_params) = (place.to_owned(), Mutex::default());
        Ok(Self { descriptor, identity, place, guest, with_params })
    }

    /// What it says of itself.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Its name, which is in the names of all that it brings.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.descriptor.name
    }

    /// Version and hash.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it was found.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Runs `work` in a new instance, which has at most `memory` bytes.
    ///
    /// # Errors
    /// What `work` says, naming the plugin; `Plugin` if there is no instance of the module.
    pub(crate) fn run(
        &self,
        memory: u64,
        params: Option<&str>,
        index: usize,
        work: &mut dyn FnMut(&mut Session<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut run = |instance: &mut dyn Instance| {
            let mut session = Session::new(instance)?;
            if let Some(params) = params {
                session.configure(index, params)?;
            }
            work(&mut session)
        };
        self.guest.run(memory, &mut run).map_err(|error| self.blame(error))
    }

    /// Says who is to blame, unless the input is.
    fn blame(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Plugin | ErrorKind::Limit => {
                error.context(format!("plugin `{}` (`{}`)", self.name(), self.place))
            }
            _ => error,
        }
    }

    /// The type of that number with parameters; makes it at the first call.
    pub(crate) fn type_with_params(
        &'static self,
        index: usize,
        params: &str,
        make: impl FnOnce() -> Result<&'static dyn QuantType>,
    ) -> Result<&'static dyn QuantType> {
        let mut made = self.with_params.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (index, params.to_owned());
        if let Some(quant) = made.get(&key) {
            return Ok(*quant);
        }
        let quant = make()?;
        made.insert(key, quant);
        Ok(quant)
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// An error of a plugin.
pub(crate) fn fault(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, message)
}
