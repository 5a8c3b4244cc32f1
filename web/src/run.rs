//! Imports and exports, in the order of steps of the command line.

use gmat_core::config::{ExportConfig, ImportConfig, metadata};
use gmat_core::export::{Decision, ExportPlan, Importance, KEEP, Report, suggest};
use gmat_core::format::tokens;
use gmat_core::import::{Draft, ImportPlan, Tokenizer, model_files};
use gmat_core::io::{Files, Sink, read_small};
use gmat_core::pipeline::Budget;
use gmat_core::progress::Progress;
use gmat_core::source::Model;
use gmat_core::store::{ModelFiles, Store, TOKENS};
use gmat_core::token::Vocab;
use gmat_core::{Error, Registry, Result, ResultExt};
use serde_json::{Value as Json, json};

use crate::host::PageFiles;
use crate::options::{ExportOptions, ImportOptions};
use crate::source::{Matrix, Opened, Source, store};

/// Memory for units under way, in bytes.
const MEMORY: u64 = 384 << 20;

/// Thresholds of importance for recommended types, those of the command line.
const THRESHOLDS: (f64, f64) = (0.2, 0.1);

pub(crate) fn budget() -> Budget {
    Budget { in_flight: 2 * rayon::current_num_threads(), memory: MEMORY }
}

/// A model about to be imported.
pub(crate) struct Import<'a> {
    files: &'a PageFiles,
    model: Model,
    config: ImportConfig,
    tokens: Option<Vec<u8>>,
    model_files: ModelFiles,
    notes: Vec<String>,
}

impl<'a> Import<'a> {
    pub(crate) fn new(
        source: &'a Source,
        options: &ImportOptions,
        registry: &Registry,
    ) -> Result<Self> {
        let files = &source.files;
        let Opened { model, config: model_config, config_json } = source.open()?;
        let is_gguf = model.keys.is_some();
        let mut config = match &options.config {
            Some(text) => {
                ImportConfig::parse(text.as_bytes()).context(|| "the config of this import")?
            }
            None => ImportConfig::default(),
        };
        if !options.block_format.is_empty() {
            config.block_format.clone_from(&options.block_format);
        } else if is_gguf && options.config.is_none() {
            "raw".clone_into(&mut config.block_format);
        }
        if config.metadata.is_empty() {
            config.metadata = metadata::extract(model_config.as_ref(), &model.metadata);
        }
        let mut notes = model.notes.clone();
        let pre = options.pre.as_deref();
        let (tokens, model_files) = match is_gguf {
            true => (None, ModelFiles::default()),
            false => {
                let config = model_config.as_ref();
                let tokenizer = Tokenizer::read(files, registry, config, pre, &mut notes)?;
                let beside = model_files(files, config_json, source.name.clone())?;
                (tokenizer.map(|tokenizer| tokenizer.bytes), beside)
            }
        };
        notes.extend(model_config.iter().flat_map(metadata::odd));
        Ok(Self { files, model, config, tokens, model_files, notes })
    }

    pub(crate) fn draft(self, registry: &Registry) -> Result<(Draft, Json)> {
        let plan = ImportPlan::new(&self.model, &self.config, registry)?;
        let draft = plan.draft(self.model_files, self.tokens.as_deref())?;
        let notes: Vec<&String> = self.notes.iter().chain(&plan.notes).collect();
        let answer = json!({
            "bytes": draft.bytes(),
            "sourceBytes": plan.source_bytes()?,
            "tensors": plan.tensors(),
            "blockFormat": self.config.block_format,
            "tokenizer": self.tokens.is_some(),
            "notes": notes,
        });
        Ok((draft, answer))
    }

    pub(crate) fn run(
        self,
        registry: &Registry,
        sink: &mut dyn Sink,
        progress: &mut dyn Progress,
    ) -> Result<Json> {
        let plan = ImportPlan::new(&self.model, &self.config, registry)?;
        let tokens = self.tokens.as_deref();
        let written =
            plan.run(self.files, self.model_files, tokens, None, sink, budget(), progress)?;
        let stored = written.tensors.values().map(|tensor| tensor.stored_bytes);
        Ok(json!({
            "tensors": written.total_tensors,
            "bytes": stored.fold(0, u64::saturating_add),
        }))
    }
}

/// The recommended config for a store.
pub(crate) fn recommended(
    store: &Store<'_>,
    options: &ExportOptions,
    registry: &Registry,
) -> Result<ExportConfig> {
    let (high, medium) = THRESHOLDS;
    Ok(suggest(store, options.arch.as_deref(), high, medium, registry)?.config)
}

/// The config of an export: recommended types come with what else was chosen.
fn config(store: &Store<'_>, options: &ExportOptions, registry: &Registry) -> Result<ExportConfig> {
    let given = options.config()?;
    if !options.recommend {
        return Ok(given);
    }
    let mut config = recommended(store, options, registry)?;
    config.shard_size = given.shard_size;
    config.quantization.scale_optimization = given.quantization.scale_optimization;
    config.quantization.trellis_lambda = given.quantization.trellis_lambda;
    config.quantization.trellis_metric = given.quantization.trellis_metric;
    Ok(config)
}

/// The vocabulary of a store, unless none is wanted.
fn vocabulary(
    store: &Store<'_>,
    options: &ExportOptions,
    registry: &Registry,
) -> Result<Option<Vocab>> {
    let files = store.files();
    let read =
        |bytes: Vec<u8>| tokens::read(&bytes).context(|| format!("file `{}`", files.place(TOKENS)));
    let vocab = match read_small(files, TOKENS)?.map(read).transpose() {
        Err(_) if options.no_tokenizer => None,
        read => read?,
    };
    let is_gguf = store.metadata.model.source_keys.is_some();
    if vocab.is_none() && !options.no_tokenizer && !is_gguf && options.loadable(registry)? {
        return Err(Error::unsupported(
            "the model has no tokenizer, without which llama.cpp does not load it",
        )
        .with_hint("put the tokenizer files beside the weights, or choose to do without"));
    }
    Ok(vocab)
}

/// Everything that an export needs, found or read.
struct Ready<'a> {
    store: Store<'a>,
    config: ExportConfig,
    vocab: Option<Vocab>,
    importance: Option<Importance<'a>>,
}

impl<'a> Ready<'a> {
    fn new(
        files: &'a dyn Files,
        base: Option<&'a PageFiles>,
        options: &ExportOptions,
        matrix: Option<&'a Matrix>,
        registry: &Registry,
    ) -> Result<Self> {
        let store = store(files, base)?;
        let mut config = config(&store, options, registry)?;
        let importance = match (matrix, &config.imatrix) {
            (Some(matrix), _) => {
                config.imatrix = Some(matrix.name.clone());
                Some(Importance::open(&matrix.files, &matrix.name, &matrix.name)?)
            }
            (None, Some(name)) => {
                return Err(Error::config(format!(
                    "the config names the importance matrix `{name}`"
                ))
                .with_hint("pick that file, too"));
            }
            (None, None) => None,
        };
        let vocab = vocabulary(&store, options, registry)?;
        Ok(Self { store, config, vocab, importance })
    }
}

/// What an export would write. Types for a size are not looked for, as that reads all weights.
pub(crate) fn plan(
    files: &dyn Files,
    base: Option<&PageFiles>,
    options: &ExportOptions,
    matrix: Option<&Matrix>,
    registry: &Registry,
) -> Result<Json> {
    let Ready { store, mut config, vocab, importance } =
        Ready::new(files, base, options, matrix, registry)?;
    let target = (config.target_size.take(), config.target_bpw.take());
    let core = options.core(importance.as_ref());
    let plan = ExportPlan::new(&store, vocab.as_ref(), &config, core, registry)?;
    let mut shown = shown(&plan);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("targetSize".to_owned(), target.0.into());
        shown.insert("targetBpw".to_owned(), target.1.into());
        shown.insert("keep".to_owned(), (config.quantization.default_type.name == KEEP).into());
    }
    Ok(shown)
}

/// Writes the files of an export.
pub(crate) fn export(
    files: &dyn Files,
    base: Option<&PageFiles>,
    options: &ExportOptions,
    matrix: Option<&Matrix>,
    registry: &Registry,
    sink: &mut dyn Sink,
    progress: &mut dyn Progress,
) -> Result<Json> {
    let Ready { store, config, vocab, importance } =
        Ready::new(files, base, options, matrix, registry)?;
    let (core, vocab) = (options.core(importance.as_ref()), vocab.as_ref());
    let plan = match config.target() {
        None => ExportPlan::new(&store, vocab, &config, core, registry)?,
        Some(target) => ExportPlan::for_size(
            target,
            &store,
            vocab,
            &config,
            core,
            registry,
            budget(),
            progress,
        )?,
    };
    let mut damages = Vec::new();
    plan.run(sink, budget(), progress, options.report.then_some(&mut damages))?;
    let mut answer = shown(&plan);
    if let (true, Some(answer)) = (options.report, answer.as_object_mut()) {
        let report = Report::new(&plan, &damages);
        answer.insert("reportHtml".to_owned(), report.to_html()?.into());
        answer.insert("reportJson".to_owned(), report.to_json()?.into());
    }
    Ok(answer)
}

fn shown(plan: &ExportPlan<'_>) -> Json {
    let elems = plan.decisions.iter().map(Decision::elems).fold(0, u64::saturating_add);
    let data: u64 = plan.decisions.iter().map(|decision| decision.bytes).sum();
    let bytes: u64 = plan.files().map(|(_, len)| len).sum();
    let files: Vec<_> =
        plan.files().map(|(name, len)| json!({"name": name, "bytes": len})).collect();
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let bits = 8.0 * data as f64 / elems.max(1) as f64;
    json!({
        "tensors": plan.decisions.iter().map(tensor).collect::<Vec<_>>(),
        "files": files,
        "bytes": bytes,
        "weights": elems,
        "bitsPerWeight": bits,
        "notes": plan.notes,
        "warnings": plan.warnings,
    })
}

fn tensor(decision: &Decision) -> Json {
    json!({
        "ids": decision.ids,
        "source": decision.source,
        "name": decision.name,
        "shape": decision.shape,
        "type": decision.ty,
        "bits": decision.bits,
        "bytes": decision.bytes,
        "by": decision.by,
        "why": decision.why,
    })
}
