//! The plan of an export: every tensor with its name, type and place, and the finished headers.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::config::{ExportConfig, Quantization, Rule, ScaleOptimization};
use crate::error::{Error, Result, ResultExt};
use crate::export::basis::{self, Basis};
use crate::export::explain::Decision;
use crate::export::fit::Fitted;
use crate::export::importance::{Importance, Weighing, Weights};
use crate::export::keep::{self, stated_type, stays};
use crate::export::model::Placed;
use crate::export::output::{Data, Output, stored};
use crate::export::remarks::Remarks;
use crate::export::split::{OutputFile, split};
use crate::export::types::{DefaultType, Named, Wishes, available, default_type};
use crate::export::verbatim::{kept_type, settle, stored_type};
use crate::format::gguf::{Meta, TensorEntry};
use crate::general::Parameters;
use crate::plugin::Identity;
use crate::quant::{Goal, Search};
use crate::recipe::{self, FileType};
use crate::registry::Registry;
use crate::store::{Metadata, Store};
use crate::token::Vocab;

/// Choices that are not in the config.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// Architecture forced by the user.
    pub arch: Option<&'a str>,
    /// Name of the output file, without folder.
    pub file_name: &'a str,
    /// Types by name that win over everything in the config.
    pub tensor_types: &'a [Rule],
    /// Importance of columns.
    pub importance: Option<&'a Importance<'a>>,
    /// Whether types that need importance may do without.
    pub allow_unweighted: bool,
    /// Whether types of plugins may have ids that no runtime knows.
    pub allow_custom_types: bool,
}

/// Everything decided; no tensor byte has been read.
pub struct ExportPlan<'a> {
    pub(crate) store: &'a Store<'a>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) files: Vec<OutputFile>,
    pub(crate) importance: Option<&'a Importance<'a>>,
    pub(crate) search: Search,
    /// The config, as it is written.
    pub(crate) config: String,
    pub(crate) file_type: FileType,
    /// What the user should know.
    pub notes: Vec<String>,
    /// The same in all detail, for those who ask for it.
    pub details: Vec<String>,
    /// What keeps runtimes from loading or using the file as it was meant.
    pub warnings: Vec<String>,
    /// What every tensor becomes and why, in the order of the file.
    pub decisions: Vec<Decision>,
    /// The plugins that have a part in it, by name.
    pub plugins: BTreeMap<String, Identity>,
}

impl<'a> ExportPlan<'a> {
    /// Checks a config against a store and decides everything.
    ///
    /// # Errors
    /// `Config` for unknown types, ids or keys; `Unsupported` for an architecture or tensors that
    /// are not known; `Malformed` if the store is damaged or the shapes of its tensors are not
    /// those that the model's config implies; `Shape` if importance and tensors differ in size;
    /// `Limit` if a tensor does not fit a shard.
    pub fn new(
        store: &'a Store<'a>,
        vocab: Option<&Vocab>,
        config: &ExportConfig,
        options: ExportOptions<'a>,
        registry: &Registry,
    ) -> Result<Self> {
        Self::with_types(store, vocab, config, options, None, registry)
    }

    /// The same, with types that were chosen for a size in the place of the default type's recipe.
    pub(crate) fn with_types(
        store: &'a Store<'a>,
        vocab: Option<&Vocab>,
        config: &ExportConfig,
        options: ExportOptions<'a>,
        fitted: Option<&Fitted>,
        registry: &Registry,
    ) -> Result<Self> {
        let metadata = &store.metadata;
        let mut notes = Vec::new();
        registry.has_plugins(&metadata.plugins, "the store", &mut notes)?;
        registry.same_plugins(&config.plugins)?;
        let basis = Basis::new(store, options.arch, registry)?;
        let placed = basis.place(metadata, &config.tensor_map, &mut notes)?;
        let mut warnings = basis.check(metadata, &placed)?;
        let generated = basis.generated()?;
        let default = match fitted {
            Some(fitted) => DefaultType::Mix(fitted.file_type, None),
            None => default_type(&config.quantization.default_type, registry)
                .context(|| "`quantization.default_type`")?,
        };
        let (file_type, default_vendor) = match default {
            DefaultType::Mix(file_type, vendor) => (file_type, vendor),
            DefaultType::Keep => (basis.file_type(metadata)?, None),
        };
        let mut wishes = Wishes::new(config, options.tensor_types, registry)?;

        let mut outputs = Vec::new();
        let mut keys = Vec::new();
        // A store with files missing is that before anything else.
        for piece in placed.iter().flat_map(|tensor| &tensor.pieces) {
            store
                .file_len(piece.id, piece.record)
                .context(|| format!("tensor `{}`", piece.record.name))?;
        }
        for tensor in placed {
            let dims: Vec<u64> = tensor.shape.dims().iter().rev().copied().collect();
            let slices = dims.get(2).copied().unwrap_or(1);
            let named: Vec<(Uuid, &str)> =
                tensor.pieces.iter().map(|piece| (piece.id, piece.record.name.as_str())).collect();
            let named = Named { sources: &named, gguf: &tensor.name, slices };
            let wanted = wishes.of(&named, registry)?;
            let wanted = wanted.or_else(|| fitted?.wish(&tensor.name));
            let wanted = match wanted {
                None if !basis.is_gguf() && default != DefaultType::Keep => {
                    stays(&tensor, registry)?
                }
                wanted => wanted,
            };
            keys.push((tensor, dims, wanted));
        }
        if let Some(id) =
            config.quantization.per_tensor.keys().find(|id| !metadata.tensors.contains_key(id))
        {
            return Err(Error::config(format!(
                "`quantization.per_tensor` names `{id}`, which is not in the store"
            ))
            .with_hint("ids are listed in the store's metadata.json; generate the config again"));
        }
        wishes.finish(&mut notes)?;
        // Stable file order: embedding first, blocks by number, output last; or that of the source.
        if basis.is_gguf() {
            let places = basis::source_order(metadata);
            keys.sort_by_key(|(tensor, ..)| places.get(&tensor.pieces.first()?.id).copied());
        } else {
            keys.sort_by_cached_key(|(tensor, ..)| order(&tensor.name));
        }
        let stored_types =
            keys.iter().map(|(tensor, ..)| stored_type(tensor)).collect::<Result<Vec<_>>>()?;

        let recipe_tensors: Vec<recipe::Tensor<'_>> =
            keys.iter().map(|(t, dims, _)| recipe::Tensor { name: &t.name, dims }).collect();
        let overrides = keys.iter().zip(&stored_types).map(|((.., wanted), ty)| match default {
            _ if wanted.is_some() => wanted.as_ref().map(|wish| wish.ty),
            DefaultType::Mix(..) => None,
            DefaultType::Keep => Some(kept_type(*ty)),
        });
        let overrides: Vec<Option<&str>> = overrides.collect();
        let recipe_model = basis.recipe_model(options.importance.is_some())?;
        let choices = recipe::assign(file_type, &recipe_model, &recipe_tensors, &overrides)?;

        let mut weighing = Weighing::new(options.importance, file_type, options.allow_unweighted);
        let mut decisions = Vec::new();
        let mut remarks = Remarks::default();
        for (((tensor, dims, wish), choice), stored_type) in
            keys.into_iter().zip(choices).zip(stored_types)
        {
            let place = || format!("tensor `{}`", tensor.name);
            let wanted = default != DefaultType::Keep || wish.is_some();
            let settled = settle(&tensor, choice, wanted, basis.is_gguf(), registry);
            let (mut choice, mut quant, verbatim) = settled.context(place)?;
            let vendor = wish.as_ref().map_or(default_vendor, |wish| wish.vendor);
            if let (Some(vendor), false) = (vendor, verbatim) {
                let (cols, allowed) = (tensor.shape.cols(), options.allow_custom_types);
                (choice, quant) = vendor.replace(choice, quant, cols, allowed).context(place)?;
            }
            remarks.look(&tensor.name, &choice, stored_type.filter(|_| !verbatim));
            // What types a size allows is found out with importance.
            let weights = match verbatim && (fitted.is_none() || wish.is_some()) {
                true => Weights::None,
                false => weighing.weights(&tensor.name, &dims, quant)?,
            };
            let source = source_names(&tensor);
            let ids = tensor.pieces.iter().map(|piece| piece.id).collect();
            let output = stored(store, tensor, dims, quant, weights, verbatim, registry)?;
            decisions.push(Decision::new(source, ids, &output, file_type, &choice, wish.as_ref()));
            outputs.push(output);
        }
        weighing.finish(&mut notes, &mut warnings);
        let details = remarks.finish(&mut notes, &mut warnings);
        let f32 = available("f32", registry)?;
        for tensor in generated {
            let elems = tensor.values.len() as u64;
            let len = f32.block().len_of(elems).ok_or_else(|| Error::limit("tensor too large"))?;
            let entry = TensorEntry {
                name: tensor.name,
                dims: vec![elems],
                ggml_type: f32.ggml_type(),
                len,
            };
            let data = Data::Generated(tensor.values);
            let weights = Weights::None;
            let output = Output { entry, quant: f32, weights, verbatim: false, data };
            decisions.push(Decision::generated(&output));
            outputs.push(output);
        }
        if !basis.is_gguf() {
            decisions.sort_by_cached_key(|decision| order(&decision.name));
            outputs.sort_by_cached_key(|output| order(&output.entry.name));
        }

        let mut parameters = Parameters::default();
        for output in &outputs {
            let dims: Vec<u64> = output.entry.dims.iter().rev().copied().collect();
            parameters.add(&output.entry.name, &dims);
        }
        notes.extend(keep::notes(&decisions));
        let mut meta = basis.keys(metadata, vocab, config, parameters, &mut notes)?;
        // Where all stay what they are, so does what the file says of itself.
        if default != DefaultType::Keep || !basis.is_gguf() {
            meta.set("general.file_type", stated_type(file_type, &decisions).id());
            meta.set("general.quantization_version", 2u32);
        }
        if let Some(importance) = options.importance {
            importance.write(&mut meta)?;
        }
        let plugins = used_plugins(&outputs, metadata, registry);
        let with = |plugins| ExportConfig { plugins, ..config.clone() }.to_json();
        // Plugins have keys of their own, so that a config that names them makes the same file.
        provenance(store, &with(BTreeMap::new())?, &plugins, &mut meta);
        let config_json = with(plugins.clone())?;

        let entries: Vec<TensorEntry> = outputs.iter().map(|output| output.entry.clone()).collect();
        let files = split(options.file_name, &meta, &entries, config.shard_size)?;
        if let (Some(cap), [_]) = (config.shard_size, files.as_slice()) {
            notes.push(format!("everything fits in one file of {cap} bytes, so it is not split"));
        }
        let (importance, search) = (options.importance, search(&config.quantization));
        Ok(Self {
            store,
            outputs,
            files,
            importance,
            search,
            config: config_json,
            file_type,
            notes,
            details,
            warnings,
            decisions,
            plugins,
        })
    }

    /// Number of tensors.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.outputs.len()
    }

    /// Names and lengths of the files.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.files.iter().map(|file| (file.name.as_str(), file.len))
    }
}

/// How scales are chosen.
fn search(quantization: &Quantization) -> Search {
    #[expect(clippy::cast_possible_truncation, reason = "a number from 0 to 1")]
    let lambda = quantization.trellis_lambda as f32;
    let metric = quantization.trellis_metric;
    match quantization.scale_optimization {
        ScaleOptimization::Standard => Search::Standard,
        ScaleOptimization::Trellis => Search::Trellis(Goal { lambda, metric }),
    }
}

/// What a tensor is made of, for people.
fn source_names(tensor: &Placed<'_>) -> Option<String> {
    let first = tensor.sources().next()?;
    let others: BTreeSet<&str> = tensor.sources().filter(|name| *name != first).collect();
    Some(match others.len() {
        0 => first.to_owned(),
        1 => format!("{first} and 1 more"),
        more => format!("{first} and {more} more"),
    })
}

/// Position of a tensor in the file: embedding, other globals, blocks by number, output.
fn order(name: &str) -> (u8, u64, String) {
    let block = name.split('.').nth(1).and_then(|number| number.parse().ok());
    let rank = match block {
        Some(number) if name.starts_with("blk.") => return (2, number, name.to_owned()),
        _ if name.starts_with("token_embd") => 0,
        _ if name.starts_with("output_norm") => 3,
        _ if name.starts_with("output") => 4,
        _ => 1,
    };
    (rank, 0, name.to_owned())
}

/// Plugins that read tensors of the store, or make those of the output.
fn used_plugins(
    outputs: &[Output],
    metadata: &Metadata,
    registry: &Registry,
) -> BTreeMap<String, Identity> {
    let quants = outputs.iter().filter_map(|output| output.quant.plugin());
    let formats = metadata.plugins.keys();
    let readers = formats.filter_map(|name| registry.plugin(name));
    let used = quants.chain(readers);
    used.map(|plugin| (plugin.name().to_owned(), plugin.identity().clone())).collect()
}

/// Where the file comes from: enough to find out which store, config and plugins made it.
fn provenance(
    store: &Store<'_>,
    config: &str,
    plugins: &BTreeMap<String, Identity>,
    meta: &mut Meta,
) {
    let mut hasher = blake3::Hasher::new();
    let by_name: BTreeMap<&str, &str> = store
        .metadata
        .tensors
        .values()
        .map(|record| (record.name.as_str(), record.source_blake3.as_str()))
        .collect();
    for (name, hash) in by_name {
        hasher.update(name.as_bytes()).update(&[0]).update(hash.as_bytes()).update(&[0]);
    }
    meta.set("gmat.version", env!("CARGO_PKG_VERSION"));
    meta.set("gmat.source_blake3", hasher.finalize().to_hex().to_string());
    meta.set("gmat.config_blake3", blake3::hash(config.as_bytes()).to_hex().to_string());
    for (name, identity) in plugins {
        meta.set(format!("gmat.plugin.{name}.blake3"), identity.blake3.clone());
        meta.set(format!("gmat.plugin.{name}.version"), identity.version.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn file_order() {
        let mut names = [
            "output.weight",
            "blk.10.attn_q.weight",
            "blk.2.attn_q.weight",
            "blk.2.attn_k.weight",
            "output_norm.weight",
            "rope_freqs.weight",
            "token_embd.weight",
        ];
        names.sort_by_key(|name| order(name));
        assert_eq!(
            names,
            [
                "token_embd.weight",
                "rope_freqs.weight",
                "blk.2.attn_k.weight",
                "blk.2.attn_q.weight",
                "blk.10.attn_q.weight",
                "output_norm.weight",
                "output.weight",
            ]
        );
    }
}
