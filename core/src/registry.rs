//! Everything that plugs in, found at start-up and passed on explicitly.
//!
//! A codec file registers itself with one of the `register_*!` macros. Entries travel through
//! `inventory`; since a linker may silently drop an object file that nothing mentions, each macro
//! also makes an anchor that the codec crate's `link()` counts, and [`Registry::builtin`] compares
//! that count with what arrived.

use std::collections::BTreeMap;

use crate::arch::ModelArch;
use crate::block::BlockFormat;
use crate::container::Container;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::plugin::{Identity, Plugin, PluginBlock, PluginQuant, no_layout};
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
    plugins: Vec<&'static Plugin>,
    /// What was found in the places of plugins and is of no use, and why.
    unusable: Vec<String>,
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

    /// Adds what a plugin brings.
    ///
    /// # Errors
    /// `Plugin` if there is another plugin of that name, or if this build does not know what a type of
    /// it fills.
    pub fn add_plugin(&mut self, plugin: &'static Plugin) -> Result<()> {
        if let Some(other) = self.plugin(plugin.name()) {
            return Err(Error::new(
                ErrorKind::Plugin,
                format!(
                    "two plugins are called `{}`: `{}` and `{}`",
                    plugin.name(),
                    other.place(),
                    plugin.place()
                ),
            )
            .with_hint("remove one of them"));
        }
        let mut quants = Vec::new();
        for (index, ty) in plugin.descriptor().types.iter().enumerate() {
            let built_in = |layout: crate::GgmlType| {
                let quant = self.quant(layout.name()).filter(|quant| quant.block() == ty.block);
                quant.ok_or_else(|| no_layout(&ty.name))
            };
            let layout = ty.layout.map(built_in).transpose()?;
            quants.push(PluginQuant::new(plugin, index, layout)?);
        }
        let count = plugin.descriptor().blocks.len();
        let blocks = (0..count).map(|index| PluginBlock::new(plugin, index));
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        quants.into_iter().try_for_each(|quant| self.add_quant(Box::leak(Box::new(quant))))?;
        blocks.into_iter().try_for_each(|block| self.add_block(Box::leak(Box::new(block))))?;
        self.plugins.push(plugin);
        Ok(())
    }

    /// Remembers a plugin that cannot be used, for those who ask for it.
    pub fn add_unusable(&mut self, why: impl Into<String>) {
        self.unusable.push(why.into());
    }

    /// Plugins, in the order in which they were added.
    #[must_use]
    pub fn plugins(&self) -> &[&'static Plugin] {
        &self.plugins
    }

    /// The plugin of that name.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&'static Plugin> {
        self.plugins.iter().find(|plugin| plugin.name() == name).copied()
    }

    /// Whether all of these plugins are there; notes which are there in another form.
    ///
    /// # Errors
    /// `Plugin` if one is missing that `what` needs, naming its hash.
    pub fn has_plugins(
        &self,
        wanted: &BTreeMap<String, Identity>,
        what: &str,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        for (name, identity) in wanted {
            let Identity { blake3, version } = identity;
            let Some(plugin) = self.plugin(name) else {
                let text = format!(
                    "{what} needs plugin `{name}` (version `{version}`, BLAKE3 {blake3}), which is not there"
                );
                return Err(self.with_unusable(Error::new(ErrorKind::Plugin, text)));
            };
            if plugin.identity() != identity {
                notes.push(format!(
                    "{what} was made with plugin `{name}` of version `{version}` (BLAKE3 {blake3}), not with `{}`, which has version `{}` (BLAKE3 {})",
                    plugin.place(),
                    plugin.identity().version,
                    plugin.identity().blake3
                ));
            }
        }
        Ok(())
    }

    /// Whether all of these plugins are there, in this very form.
    pub(crate) fn same_plugins(&self, wanted: &BTreeMap<String, Identity>) -> Result<()> {
        let mut others = Vec::new();
        self.has_plugins(wanted, "the config", &mut others)?;
        match others.into_iter().next() {
            None => Ok(()),
            Some(other) => Err(Error::new(ErrorKind::Plugin, other)
                .with_hint("remove `plugins` from the config to use the plugins that are there")),
        }
    }

    /// Says what to do about a missing plugin.
    fn with_unusable(&self, error: Error) -> Error {
        match self.unusable.is_empty() {
            true => error.with_hint(
                "put it into a folder `plugins` here, or name its folder with --plugin-dir",
            ),
            false => error.with_hint(format!("not usable is: {}", self.unusable.join("; "))),
        }
    }

    /// Why a name that belongs to a plugin (`q4_k@vendor`) means nothing; none for other names.
    #[must_use]
    pub fn missing_plugin(&self, what: &str, name: &str) -> Option<Error> {
        let (_, vendor) = name.rsplit_once('@')?;
        if let Some(plugin) = self.plugin(vendor) {
            let descriptor = plugin.descriptor();
            let types = descriptor.types.iter().map(|ty| ty.name.as_str());
            let names = types.chain(descriptor.blocks.iter().map(|block| block.name.as_str()));
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            return Some(Error::config(format!(
                "plugin `{vendor}` (`{}`) has no {what} `{name}`; it has {}",
                plugin.place(),
                names.join(", ")
            )));
        }
        let text = format!("{what} `{name}` is of plugin `{vendor}`, which is not there");
        Some(self.with_unusable(Error::new(ErrorKind::Plugin, text)))
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
        self.blocks.iter().find(|b| b.name() == name).copied().ok_or_else(|| {
            let known = self.blocks.iter().map(|b| b.name());
            let missing = self.missing_plugin("block format", name);
            missing.unwrap_or_else(|| unknown("block format", name, known))
        })
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
