//! What an export goes by: a model's config and the architecture that knows how to read it, or the
//! keys of the GGUF file that the model came in, whose tensors have their names already.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::arch::{Generated, ModelArch, Placement};
use crate::config::{ExportConfig, ModelConfig, Target};
use crate::error::{Error, Result, ResultExt};
use crate::export::check::check;
use crate::export::model::{Placed, architecture, model_config, place_all};
use crate::export::types::recipe_model;
use crate::format::gguf::{Array, Meta, Value};
use crate::general::{self, ModelFacts, Parameters};
use crate::recipe::{self, FileType};
use crate::registry::Registry;
use crate::store::{Metadata, Store};
use crate::token::Vocab;

/// Key for what most tensors of a file are.
const FILE_TYPE: &str = "general.file_type";

pub(crate) enum Basis {
    /// A config.
    Config { model: ModelConfig, arch: &'static dyn ModelArch },
    /// Keys of a GGUF file.
    Keys(Meta),
}

/// Takes every tensor as it is.
struct AsIs;

impl ModelArch for AsIs {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &[]
    }

    fn place(&self, tensor: &str, _: &ModelConfig) -> Result<Option<Placement>> {
        Ok(Some(Placement::whole(tensor)))
    }

    fn metadata(&self, _: &ModelConfig, _: &mut Meta) -> Result<()> {
        Ok(())
    }
}

impl Basis {
    /// What the store says; an architecture may be `forced` on a model that has a config.
    ///
    /// # Errors
    /// `Unsupported` or `Config` for an architecture that is not known; `Malformed` or `Io` if the
    /// store is damaged.
    pub(crate) fn new(
        store: &Store<'_>,
        forced: Option<&str>,
        registry: &Registry,
    ) -> Result<Self> {
        if let Some(keys) = store.source_keys()? {
            return match forced {
                Some(name) => Err(Error::config(format!(
                    "the model came as GGUF, whose architecture is fixed, so it cannot become `{name}`"
                ))
                .with_hint("leave out --arch")),
                None => Ok(Self::Keys(keys)),
            };
        }
        let model = model_config(&store.metadata)?;
        let arch = architecture(registry, &model, forced)?;
        Ok(Self::Config { model, arch })
    }

    /// Whether the model came as GGUF.
    pub(crate) fn is_gguf(&self) -> bool {
        matches!(self, Self::Keys(_))
    }

    /// What the file says of its types if all stay what they are: as the source, or by the element
    /// type of most tensors.
    ///
    /// # Errors
    /// `Malformed` if a record of the store makes no sense.
    pub(crate) fn file_type(&self, metadata: &Metadata) -> Result<FileType> {
        if let Self::Keys(keys) = self {
            let id = keys.value(FILE_TYPE).and_then(Value::as_u64);
            let known = FileType::ALL.iter().find(|known| Some(u64::from(known.id())) == id);
            return Ok(known.copied().unwrap_or(FileType::F16));
        }
        let mut elems: BTreeMap<&str, u64> = BTreeMap::new();
        for record in metadata.tensors.values() {
            *elems.entry(&record.dtype).or_default() += record.info()?.shape.elems();
        }
        let most = elems.into_iter().max_by_key(|&(_, elems)| elems);
        Ok(most.and_then(|(dtype, _)| FileType::from_name(dtype)).unwrap_or(FileType::F32))
    }

    /// What every tensor of the store becomes.
    pub(crate) fn place<'m>(
        &self,
        metadata: &'m Metadata,
        map: &[Target],
        notes: &mut Vec<String>,
    ) -> Result<Vec<Placed<'m>>> {
        match self {
            Self::Config { model, arch } => place_all(metadata, *arch, model, map, notes),
            Self::Keys(_) => place_all(metadata, &AsIs, &ModelConfig::default(), map, notes),
        }
    }

    /// Warnings about tensors that are not what the config implies.
    pub(crate) fn check(&self, metadata: &Metadata, placed: &[Placed<'_>]) -> Result<Vec<String>> {
        match self {
            Self::Config { model, arch } => {
                let mut warnings = check(metadata, *arch, model, placed)?;
                warnings.extend(arch.caveat().map(str::to_owned));
                Ok(warnings)
            }
            Self::Keys(_) => Ok(Vec::new()),
        }
    }

    /// Tensors that are computed.
    pub(crate) fn generated(&self) -> Result<Vec<Generated>> {
        match self {
            Self::Config { model, arch } => arch.generated(model),
            Self::Keys(_) => Ok(Vec::new()),
        }
    }

    /// What the mixture rules look at.
    pub(crate) fn recipe_model(&self, has_importance: bool) -> Result<recipe::Model<'_>> {
        let keys = match self {
            Self::Config { model, arch } => {
                return recipe_model(arch.name(), model, has_importance);
            }
            Self::Keys(keys) => keys,
        };
        let arch = keys.value("general.architecture").and_then(Value::as_str).unwrap_or_default();
        let count = |key: &str| -> Result<Option<u32>> {
            let key = format!("{arch}.{key}");
            let Some(count) = keys.value(&key).and_then(first) else { return Ok(None) };
            let narrow = u32::try_from(count);
            narrow.map(Some).map_err(|_| Error::limit(format!("`{key}` of the source is {count}")))
        };
        let heads = count("attention.head_count")?.unwrap_or(0);
        Ok(recipe::Model {
            arch,
            block_count: count("block_count")?.unwrap_or(0),
            heads,
            kv_heads: count("attention.head_count_kv")?.unwrap_or(heads),
            experts: count("expert_count")?.unwrap_or(0),
            has_importance,
        })
    }

    /// The keys of the output, without those that tell of its types and where it comes from. Those
    /// of a GGUF source stay as they are, but for those of its split.
    pub(crate) fn keys(
        &self,
        metadata: &Metadata,
        vocab: Option<&Vocab>,
        config: &ExportConfig,
        parameters: Parameters,
        notes: &mut Vec<String>,
    ) -> Result<Meta> {
        let mut out = Meta::new();
        let (model, arch) = match self {
            Self::Config { model, arch } => (model, *arch),
            Self::Keys(keys) => {
                if !config.special_token_keys.is_empty() {
                    let said = "`special_token_keys` has no effect: keys of a GGUF source stay";
                    notes.push(format!("{said} as they are"));
                }
                let mut kept = keys.clone();
                kept.retain(|key| !key.starts_with("split.") && !key.starts_with("gmat."));
                return Ok(kept);
            }
        };
        let generation = metadata.model.generation_config.as_ref();
        let facts = ModelFacts {
            architecture: arch.name(),
            dir_name: metadata.model.name.as_deref(),
            config: model,
            generation_config: generation.map(|raw| raw.get().as_bytes()),
            model_card: metadata.model.model_card.as_deref(),
            parameters,
        };
        notes.extend(general::write(&facts, &mut out)?);
        arch.metadata(model, &mut out).context(|| "the model's config".to_owned())?;
        // They stand between the keys of the architecture and those of the tokenizer.
        out.set(FILE_TYPE, 0u32);
        out.set("general.quantization_version", 2u32);
        if let Some(vocab) = vocab {
            let vocab_size = model.u64(&["vocab_size"])?;
            vocab.to_meta(vocab_size, &config.special_token_keys, &mut out)?;
        }
        Ok(out)
    }
}

/// Places of tensors in the source.
pub(crate) fn source_order(metadata: &Metadata) -> BTreeMap<Uuid, usize> {
    metadata.config.tensor_map.iter().zip(0..).map(|(mapping, at)| (mapping.target, at)).collect()
}

/// A count, or the first of a list with one for every layer.
fn first(value: &Value) -> Option<u64> {
    match value {
        Value::Array(Array::U32(values)) => values.first().map(|&count| count.into()),
        Value::Array(Array::I32(values)) => values.first().and_then(|&count| count.try_into().ok()),
        value => value.as_u64(),
    }
}
