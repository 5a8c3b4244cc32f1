//! The plan of an export: every tensor with its name, type and place, and the finished headers.

use std::collections::BTreeMap;

use crate::arch::RowMap;
use crate::block::BlockFormat;
use crate::config::{ExportConfig, ModelConfig};
use crate::error::{Error, Result, ResultExt};
use crate::export::check::check;
use crate::export::model::{Placed, architecture, model_config, place_all};
use crate::export::split::{OutputFile, split};
use crate::format::gguf::{Meta, TensorEntry};
use crate::format::store::Index;
use crate::general::{self, ModelFacts, Parameters};
use crate::quant::QuantType;
use crate::recipe::{self, FileType, Why};
use crate::registry::{Registry, unknown};
use crate::store::Store;
use crate::token::Vocab;

/// Choices that are not in the config.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// Architecture forced by the user.
    pub arch: Option<&'a str>,
    /// Name of the output file, without folder.
    pub file_name: &'a str,
}

/// One tensor of the output.
pub(crate) struct Output {
    pub(crate) entry: TensorEntry,
    pub(crate) quant: &'static dyn QuantType,
    pub(crate) data: Data,
}

/// Where its values come from.
pub(crate) enum Data {
    /// A tensor of the store.
    Stored {
        /// Its index.
        index: Box<Index>,
        /// How its rows are stored.
        format: &'static dyn BlockFormat,
        /// Its name in the source, for messages.
        name: String,
        rows: RowMap,
        /// Rows that must stay together: one head where rows are rearranged.
        head_rows: u64,
    },
    /// Computed from the config.
    Generated(Vec<f32>),
}

/// Everything decided; no tensor byte has been read.
pub struct ExportPlan<'a> {
    pub(crate) store: &'a Store<'a>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) files: Vec<OutputFile>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// What keeps runtimes from loading or using the file as it was meant.
    pub warnings: Vec<String>,
    /// Why each tensor has its type, for `--verbose`: name, type, reason.
    pub decisions: Vec<(String, &'static str, String)>,
}

impl<'a> ExportPlan<'a> {
    /// Checks a config against a store and decides everything.
    ///
    /// # Errors
    /// `Config` for unknown types, ids or keys; `Unsupported` for an architecture or tensors that
    /// are not known; `Malformed` if the store is damaged or the shapes of its tensors are not
    /// those that the model's config implies; `Limit` if a tensor does not fit a shard.
    pub fn new(
        store: &'a Store<'a>,
        vocab: Option<&Vocab>,
        config: &ExportConfig,
        options: ExportOptions<'_>,
        registry: &Registry,
    ) -> Result<Self> {
        let metadata = &store.metadata;
        let mut notes = Vec::new();
        let model = model_config(metadata)?;
        let arch = architecture(registry, &model, options.arch)?;
        let placed = place_all(metadata, arch, &model, &config.tensor_map, &mut notes)?;
        let warnings = check(metadata, arch, &model, &placed)?;
        let generated = arch.generated(&model)?;
        let file_type = file_type(&config.quantization.default_type, registry)
            .context(|| "`quantization.default_type`")?;

        let mut outputs = Vec::new();
        let mut keys = Vec::new();
        for tensor in placed {
            let index = store.index(tensor.id, tensor.record)?;
            let dims: Vec<u64> = index.shape.dims().iter().rev().copied().collect();
            if !index.dtype.is_float() {
                return Err(Error::unsupported(format!(
                    "tensor `{}` has {} elements, which this architecture cannot hold",
                    tensor.record.name, index.dtype
                ))
                .with_hint("import without it (`\"include\": false`)"));
            }
            let wanted = config.quantization.per_tensor.get(&tensor.id);
            let wanted =
                wanted.map(|name| base_type(name, registry)).transpose().context(|| {
                    format!(
                        "`quantization.per_tensor.{}` (tensor `{}`)",
                        tensor.id, tensor.record.name
                    )
                })?;
            keys.push((tensor, index, dims, wanted));
        }
        if let Some(id) =
            config.quantization.per_tensor.keys().find(|id| !metadata.tensors.contains_key(id))
        {
            return Err(Error::config(format!(
                "`quantization.per_tensor` names `{id}`, which is not in the store"
            ))
            .with_hint("ids are listed in the store's metadata.json; generate the config again"));
        }
        // Stable file order: embedding first, blocks by number, output last.
        keys.sort_by_cached_key(|(tensor, ..)| order(&tensor.name));

        let recipe_tensors: Vec<recipe::Tensor<'_>> =
            keys.iter().map(|(t, _, dims, _)| recipe::Tensor { name: &t.name, dims }).collect();
        let overrides: Vec<Option<&str>> = keys.iter().map(|(.., wanted)| *wanted).collect();
        let recipe_model = recipe_model(arch.name(), &model)?;
        let choices = recipe::assign(file_type, &recipe_model, &recipe_tensors, &overrides)?;

        let mut decisions = Vec::new();
        let mut kept = Vec::new();
        for ((tensor, index, dims, _), choice) in keys.into_iter().zip(choices) {
            let quant =
                available(choice.ty, registry).context(|| format!("tensor `{}`", tensor.name))?;
            match &choice.why {
                Why::Fallback { wanted } => notes.push(format!(
                    "`{}` becomes `{}`: its rows are not whole blocks of `{wanted}`",
                    tensor.name, choice.ty
                )),
                Why::KeptF32 { overridden: true, .. } => kept.push(tensor.name.clone()),
                _ => {}
            }
            decisions.push((tensor.name.clone(), quant.name(), choice.why.to_string()));
            let format = registry
                .block(&index.format)
                .context(|| format!("tensor `{}`", tensor.record.name))?;
            outputs.push(stored(tensor, index, format, dims, quant)?);
        }
        if !kept.is_empty() {
            notes.push(format!(
                "{} tensors stay f32 whatever the config says: runtimes reject other types for \
                 vectors and routers",
                kept.len()
            ));
        }
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
            outputs.push(Output { entry, quant: f32, data: Data::Generated(tensor.values) });
        }
        outputs.sort_by_cached_key(|output| order(&output.entry.name));

        let mut meta = Meta::new();
        let mut parameters = Parameters::default();
        for output in &outputs {
            let dims: Vec<u64> = output.entry.dims.iter().rev().copied().collect();
            parameters.add(&output.entry.name, &dims);
        }
        let facts = ModelFacts {
            architecture: arch.name(),
            dir_name: metadata.model.name.as_deref(),
            config: &model,
            generation_config: metadata
                .model
                .generation_config
                .as_ref()
                .map(|raw| raw.get().as_bytes()),
            model_card: metadata.model.model_card.as_deref(),
            parameters,
        };
        notes.extend(general::write(&facts, &mut meta)?);
        arch.metadata(&model, &mut meta).context(|| "config.json of the model".to_owned())?;
        meta.set("general.file_type", file_type.id());
        meta.set("general.quantization_version", 2u32);
        if let Some(vocab) = vocab {
            let vocab_size = model.u64(&["vocab_size"])?;
            vocab.to_meta(vocab_size, &config.special_token_keys, &mut meta)?;
        }
        provenance(store, config, &mut meta)?;

        let entries: Vec<TensorEntry> = outputs.iter().map(|output| output.entry.clone()).collect();
        let files = split(options.file_name, &meta, &entries, config.shard_size)?;
        if let (Some(cap), [_]) = (config.shard_size, files.as_slice()) {
            notes.push(format!("everything fits in one file of {cap} bytes, so it is not split"));
        }
        Ok(Self { store, outputs, files, notes, warnings, decisions })
    }

    /// Number of tensors.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.outputs.len()
    }

    /// Whether any tensor has a type with scales to choose.
    #[must_use]
    pub fn has_scales(&self) -> bool {
        self.outputs.iter().any(|output| output.quant.block().elems > 1)
    }

    /// Names and lengths of the files.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.files.iter().map(|file| (file.name.as_str(), file.len))
    }
}

/// The file type of that name.
pub(crate) fn file_type(name: &str, registry: &Registry) -> Result<FileType> {
    let lower = name.to_ascii_lowercase();
    match FileType::from_name(&lower) {
        Some(file_type) => {
            available(file_type.default_type(), registry)?;
            Ok(file_type)
        }
        None => Err(unknown_type(name, registry)),
    }
}

/// The tensor type that a name stands for when given to one tensor.
pub(crate) fn base_type(name: &str, registry: &Registry) -> Result<&'static str> {
    let base = recipe::base_type(&name.to_ascii_lowercase());
    let base = base.ok_or_else(|| unknown_type(name, registry))?;
    available(base, registry).map(|_| base)
}

fn available(name: &str, registry: &Registry) -> Result<&'static dyn QuantType> {
    registry.quant(name).ok_or_else(|| match recipe::base_type(name) {
        Some(known) => {
            Error::unsupported(format!("quantization type `{known}` is not implemented yet"))
        }
        None => unknown_type(name, registry),
    })
}

fn unknown_type(name: &str, registry: &Registry) -> Error {
    let types = registry.quants().iter().map(|quant| quant.name());
    let recipes = FileType::ALL
        .iter()
        .filter(|file_type| registry.quant(file_type.default_type()).is_some())
        .map(|file_type| file_type.name())
        .filter(|recipe| registry.quant(recipe).is_none());
    unknown("quantization type", name, types.chain(recipes))
}

/// What the mixture rules look at.
fn recipe_model<'a>(arch: &'a str, model: &ModelConfig) -> Result<recipe::Model<'a>> {
    let count = |keys: &[&str]| -> Result<Option<u32>> {
        let narrow = |count| {
            u32::try_from(count).map_err(|_| {
                Error::limit(format!("`{}` in `config.json` is {count}", keys.join("` or `")))
            })
        };
        model.u64(keys)?.map(narrow).transpose()
    };
    let heads = count(&["num_attention_heads", "n_head", "num_heads"])?.unwrap_or(0);
    Ok(recipe::Model {
        arch,
        block_count: count(&["num_hidden_layers", "n_layer", "num_layers"])?.unwrap_or(0),
        heads,
        kv_heads: count(&["num_key_value_heads"])?.unwrap_or(heads),
        experts: count(&["num_local_experts", "num_experts", "n_routed_experts"])?.unwrap_or(0),
        has_importance: false,
    })
}

fn stored(
    tensor: Placed<'_>,
    index: Index,
    format: &'static dyn BlockFormat,
    dims: Vec<u64>,
    quant: &'static dyn QuantType,
) -> Result<Output> {
    let elems = index.shape.elems();
    let len = quant.block().len_of(elems).ok_or_else(|| {
        Error::shape(format!(
            "tensor `{}` has {elems} elements, which are not whole blocks of `{}`",
            tensor.name,
            quant.name()
        ))
    })?;
    let (rows, _) = index.matrix();
    let head_rows =
        tensor.rows.unit_rows(rows).context(|| format!("tensor `{}`", tensor.record.name))?;
    Ok(Output {
        entry: TensorEntry { name: tensor.name, dims, ggml_type: quant.ggml_type(), len },
        quant,
        data: Data::Stored {
            index: Box::new(index),
            format,
            name: tensor.record.name.clone(),
            rows: tensor.rows,
            head_rows,
        },
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

/// Where the file comes from: enough to find out which store and config made it.
fn provenance(store: &Store<'_>, config: &ExportConfig, meta: &mut Meta) -> Result<()> {
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
    meta.set("gmat.config_blake3", blake3::hash(config.to_json()?.as_bytes()).to_hex().to_string());
    Ok(())
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
