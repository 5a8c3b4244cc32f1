//! The tensors that runtimes look for in models whose layers are not all alike, or have other shapes
//! than the usual ones.

use gmat_core::arch::{Dim, Expected};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;

use super::Hparams;
use super::expected;
use super::names::{Leaves, Module, Names, Target};

/// What an architecture knows about a tensor that a model of some sizes may have.
pub(crate) enum Wanted {
    /// As its name says; a bias is optional.
    Usual,
    /// As its name says, with a bias.
    WithBias,
    /// It has this shape.
    Of(Vec<Dim>),
    /// It has this shape, and a bias.
    WithBiasOf(Vec<Dim>),
    /// Runtimes do not look for it.
    Not,
}

/// What a model has by the tables of its names; `own` knows better about some of them, by layer and
/// GGUF name without leaf.
///
/// # Errors
/// `Malformed` if `vocab_size` is not a number.
pub(crate) fn wanted(
    config: &ModelConfig,
    hparams: &Hparams,
    names: &Names,
    own: impl Fn(Option<u64>, &str) -> Wanted,
) -> Result<Vec<Expected>> {
    let Names { prefix, global, layered, .. } = names;
    Tables { prefix, global, layered, optional: &["output"] }.list(config, hparams, own)
}

/// The modules among which runtimes look for tensors.
pub(super) struct Tables<'a> {
    /// Of the names of layers in GGUF.
    pub(super) prefix: &'a str,
    /// Modules outside the layers.
    pub(super) global: &'a [&'a [Module]],
    /// Modules of every layer.
    pub(super) layered: &'a [&'a [Module]],
    /// Targets that may be absent.
    pub(super) optional: &'a [&'a str],
}

impl Tables<'_> {
    /// As [`wanted`].
    ///
    /// # Errors
    /// `Malformed` if `vocab_size` is not a number.
    pub(super) fn list(
        &self,
        config: &ModelConfig,
        hparams: &Hparams,
        own: impl Fn(Option<u64>, &str) -> Wanted,
    ) -> Result<Vec<Expected>> {
        let vocabulary = config.u64(&["vocab_size"])?;
        let mut out: Vec<Expected> = Vec::new();
        // Several modules may make one tensor, or be called differently in checkpoints of different age.
        let mut list = |name: String, dims: Vec<Dim>, optional: bool| {
            if out.iter().rev().take(TABLE).all(|known| known.name != name) {
                out.push(Expected { name, dims, optional });
            }
        };
        let mut add = |layer: Option<u64>, module: &Module| {
            let prefix =
                layer.map_or_else(String::new, |layer| format!("{}.{layer}.", self.prefix));
            for Target { name: target, .. } in module.targets {
                let usual = || expected::usual(module.source, target, hparams, vocabulary);
                let (dims, bias) = match own(layer, target) {
                    Wanted::Usual => (usual(), false),
                    Wanted::WithBias => (usual(), true),
                    Wanted::Of(dims) => (Some(dims), false),
                    Wanted::WithBiasOf(dims) => (Some(dims), true),
                    Wanted::Not => (None, false),
                };
                let Some(dims) = dims else { continue };
                let name = |leaf: &str| format!("{prefix}{target}.{leaf}");
                // A stack has its biases side by side.
                let biases = dims.split_last().map(|(_, rest)| rest.to_vec());
                let biases = biases.filter(|rest| !rest.is_empty()).unwrap_or_else(|| dims.clone());
                if module.leaves == Leaves::WeightAndBias {
                    list(name("bias"), biases.clone(), !bias);
                }
                let leaf = match module.leaves {
                    Leaves::Bare(leaf) => leaf,
                    _ => "weight",
                };
                let dims = if leaf == "bias" { biases } else { dims };
                list(name(leaf), dims, self.optional.contains(target));
            }
        };
        self.global.iter().flat_map(|table| table.iter()).for_each(|module| add(None, module));
        for layer in 0..hparams.layers {
            let modules = self.layered.iter().flat_map(|table| table.iter());
            modules.for_each(|module| add(Some(layer), module));
        }
        Ok(out)
    }
}

/// More tensors than a layer has by the tables of its names.
const TABLE: usize = 64;
