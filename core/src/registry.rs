//! Everything that plugs in, found at start-up and passed on explicitly.
//!
//! A codec file registers itself with one of the `register_*!` macros. Entries travel through
//! `inventory`; since a linker may silently drop an object file that nothing mentions, each macro
//! also makes an anchor that the codec crate's `link()` counts, and [`Registry::builtin`] compares
//! that count with what arrived.

use crate::arch::ModelArch;
use crate::block::BlockFormat;
use crate::container::Container;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::quant::QuantType;
use crate::token::TokenizerSource;

/// A registered block format.
pub struct BlockEntry(pub &'static dyn BlockFormat);
/// A registered quantization type.
pub struct QuantEntry(pub &'static dyn QuantType);
/// A registered model architecture.
pub struct ArchEntry(pub &'static dyn ModelArch);
/// A registered tokenizer reader.
pub struct TokenizerEntry(pub &'static dyn TokenizerSource);
/// A registered container.
pub struct ContainerEntry(pub &'static dyn Container);

inventory::collect!(BlockEntry);
inventory::collect!(QuantEntry);
inventory::collect!(ArchEntry);
inventory::collect!(TokenizerEntry);
inventory::collect!(ContainerEntry);

/// Registers one or more values of a family; the basis of the macros below.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ($entry:ident, $($value:expr),+ $(,)?) => {
        /// Mentioned by `link()`, so that the linker keeps this file; the number of its entries.
        pub(crate) static ANCHOR: usize = [$(stringify!($value)),+].len();
        $( $crate::inventory::submit! { $crate::$entry(&$value) } )+
    };
}

/// Registers the block formats of a codec file: a list of constant expressions.
#[macro_export]
macro_rules! register_block { ($($v:expr),+ $(,)?) => { $crate::__register!(BlockEntry, $($v),+); } }
/// Registers the quantization types of a codec file.
#[macro_export]
macro_rules! register_quant { ($($v:expr),+ $(,)?) => { $crate::__register!(QuantEntry, $($v),+); } }
/// Registers the architectures of a codec file.
#[macro_export]
macro_rules! register_arch { ($($v:expr),+ $(,)?) => { $crate::__register!(ArchEntry, $($v),+); } }
/// Registers the tokenizer readers of a codec file.
#[macro_export]
macro_rules! register_tokenizer {
    ($($v:expr),+ $(,)?) => { $crate::__register!(TokenizerEntry, $($v),+); }
}
/// Registers the containers of a codec file.
#[macro_export]
macro_rules! register_container {
    ($($v:expr),+ $(,)?) => { $crate::__register!(ContainerEntry, $($v),+); }
}

/// The snapshot of everything registered, each family sorted by name.
#[derive(Default)]
pub struct Registry {
    blocks: Vec<&'static dyn BlockFormat>,
    quants: Vec<&'static dyn QuantType>,
    archs: Vec<&'static dyn ModelArch>,
    tokenizers: Vec<&'static dyn TokenizerSource>,
    containers: Vec<&'static dyn Container>,
}

impl Registry {
    /// An empty registry, to be filled by hand.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything compiled in. `expected` is what the codec crate's `link()` returned.
    ///
    /// # Errors
    /// `Unsupported` if entries got lost on the way (a fault of the build, not of the user) or if
    /// two have the same name.
    pub fn builtin(expected: usize) -> Result<Self> {
        let mut registry = Self::new();
        inventory::iter::<BlockEntry>().try_for_each(|e| registry.add_block(e.0))?;
        inventory::iter::<QuantEntry>().try_for_each(|e| registry.add_quant(e.0))?;
        inventory::iter::<ArchEntry>().try_for_each(|e| registry.add_arch(e.0))?;
        inventory::iter::<TokenizerEntry>().try_for_each(|e| registry.add_tokenizer(e.0))?;
        inventory::iter::<ContainerEntry>().try_for_each(|e| registry.add_container(e.0))?;
        let found = registry.blocks.len()
            + registry.quants.len()
            + registry.archs.len()
            + registry.tokenizers.len()
            + registry.containers.len();
        if found != expected {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("this build is incomplete: {found} of {expected} codecs are linked"),
            ));
        }
        Ok(registry)
    }

    /// Adds a block format.
    ///
    /// # Errors
    /// `Config` if the name is taken.
    pub fn add_block(&mut self, block: &'static dyn BlockFormat) -> Result<()> {
        insert(&mut self.blocks, block, |b| b.name(), "block format")
    }

    /// Adds a quantization type.
    ///
    /// # Errors
    /// `Config` if the name is taken.
    pub fn add_quant(&mut self, quant: &'static dyn QuantType) -> Result<()> {
        insert(&mut self.quants, quant, |q| q.name(), "quantization type")
    }

    /// Adds an architecture.
    ///
    /// # Errors
    /// `Config` if the name is taken.
    pub fn add_arch(&mut self, arch: &'static dyn ModelArch) -> Result<()> {
        insert(&mut self.archs, arch, |a| a.name(), "architecture")
    }

    /// Adds a tokenizer reader.
    ///
    /// # Errors
    /// `Config` if the name is taken.
    pub fn add_tokenizer(&mut self, tokenizer: &'static dyn TokenizerSource) -> Result<()> {
        insert(&mut self.tokenizers, tokenizer, |t| t.name(), "tokenizer")
    }

    /// Adds a container.
    ///
    /// # Errors
    /// `Config` if the name is taken.
    pub fn add_container(&mut self, container: &'static dyn Container) -> Result<()> {
        insert(&mut self.containers, container, |c| c.name(), "container")
    }

    /// Block formats, by name.
    #[must_use]
    pub fn blocks(&self) -> &[&'static dyn BlockFormat] {
        &self.blocks
    }

    /// Quantization types, by name.
    #[must_use]
    pub fn quants(&self) -> &[&'static dyn QuantType] {
        &self.quants
    }

    /// Architectures, by name.
    #[must_use]
    pub fn archs(&self) -> &[&'static dyn ModelArch] {
        &self.archs
    }

    /// Tokenizer readers, by name.
    #[must_use]
    pub fn tokenizers(&self) -> &[&'static dyn TokenizerSource] {
        &self.tokenizers
    }

    /// Containers, by name.
    #[must_use]
    pub fn containers(&self) -> &[&'static dyn Container] {
        &self.containers
    }

    /// The container of that exact name.
    ///
    /// # Errors
    /// `Config`, with the nearest valid spelling.
    pub fn container(&self, name: &str) -> Result<&'static dyn Container> {
        let names = self.containers.iter().map(|c| c.name());
        let found = self.containers.iter().find(|c| c.name() == name);
        found.copied().ok_or_else(|| unknown("output format", name, names))
    }

    /// The block format of that exact name.
    ///
    /// # Errors
    /// `Config`, with the nearest valid spelling.
    pub fn block(&self, name: &str) -> Result<&'static dyn BlockFormat> {
        self.blocks
            .iter()
            .find(|b| b.name() == name)
            .copied()
            .ok_or_else(|| unknown("block format", name, self.blocks.iter().map(|b| b.name())))
    }

    /// The quantization type of that exact (lowercase) name.
    #[must_use]
    pub fn quant(&self, name: &str) -> Option<&'static dyn QuantType> {
        self.quants.iter().find(|q| q.name() == name).copied()
    }

    /// The quantization type with that GGUF type id.
    #[must_use]
    pub fn quant_by_id(&self, ggml_type: u32) -> Option<&'static dyn QuantType> {
        self.quants.iter().find(|q| q.ggml_type() == ggml_type).copied()
    }

    /// The architecture of that name.
    ///
    /// # Errors
    /// `Config`, with the nearest valid spelling.
    pub fn arch(&self, name: &str) -> Result<&'static dyn ModelArch> {
        self.archs
            .iter()
            .find(|a| a.name() == name)
            .copied()
            .ok_or_else(|| unknown("architecture", name, self.archs.iter().map(|a| a.name())))
    }
}

/// "Unknown so-and-so": names what is valid, and the nearest spelling if there is one.
#[must_use]
pub fn unknown<'a>(what: &str, given: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let list = known.clone().collect::<Vec<_>>().join(", ");
    let error = Error::config(format!("unknown {what} `{given}`; valid are: {list}"));
    match nearest(given, known) {
        Some(name) => error.with_hint(format!("did you mean `{name}`?")),
        None => error,
    }
}

fn insert<T: Copy>(
    list: &mut Vec<T>,
    item: T,
    name: impl Fn(&T) -> &'static str,
    what: &str,
) -> Result<()> {
    match list.binary_search_by(|other| name(other).cmp(name(&item))) {
        Ok(_) => Err(Error::config(format!("{what} `{}` is registered twice", name(&item)))),
        Err(at) => {
            list.insert(at, item);
            Ok(())
        }
    }
}
