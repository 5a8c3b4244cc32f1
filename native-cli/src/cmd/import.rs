//! `gmat import`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gmat_core::config::{ImportConfig, Mapping, ModelConfig, metadata, tensor_id};
use gmat_core::import::ImportPlan;
use gmat_core::io::Files;
use gmat_core::source::{INDEX, Model, Pick, gguf_in};
use gmat_core::store::{FOLDER, FromBase, Store};
use gmat_core::{DType, Error, Registry, Result, ResultExt};

use super::source::Source;
use super::{base, budget, export, read_config, write_generated};
use crate::args::{Common, Import};
use crate::behind::write_behind;
use crate::folder::Folder;
use crate::report::Console;
use crate::size::{show_count, show_size};
use crate::staging::StagedFolder;

/// The block format that keeps everything as it is.
const RAW: &str = "raw";

/// The same in less room.
const LOSSLESS: &str = "lossless";

/// File that `--generate-config` writes.
const CONFIG: &str = "import_config.json";

pub(crate) fn run(
    args: &Import,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    let source = Source::open(&args.model)?;
    let (model, model_config, is_gguf) = (&source.model, source.config.as_ref(), source.is_gguf());
    let metadata = metadata::extract(model_config, &model.metadata);
    if args.generate_config {
        return generate(args, model, metadata, console);
    }

    let mut config = match &args.config {
        Some(path) => ImportConfig::parse(&read_config(path)?)
            .context(|| format!("config `{}`", path.display()))?,
        None => default_config(model),
    };
    let base_folder = args.base.as_deref().map(|path| Folder::new(export::store_path(path)));
    let base = base_folder.as_ref().map(|folder| Store::open(folder)).transpose()?;
    // Without a config, what the base is stored as decides.
    if let (Some(base), None) = (&base, &args.config) {
        config.block_format = match base.metadata.config.block_format.as_str() {
            RAW => LOSSLESS,
            other => other,
        }
        .to_owned();
    }
    if let Some(format) = &args.block_format {
        config.block_format.clone_from(format);
    }
    if is_gguf && !config.metadata.is_empty() {
        console
            .note("`metadata` of the config has no effect: keys of a GGUF file stay as they are");
    }
    if config.metadata.is_empty() {
        config.metadata = metadata;
    }
    check_format(args, &config, registry)?;
    let target = output_path(&args.output);
    let mut plan = ImportPlan::new(model, &config, registry)?;
    if let (Some(base), Some(base_folder)) = (&base, &base_folder) {
        let way = base::way(&target, base_folder.path());
        plan.against(base, way, &source.folder, registry, console)?;
    }
    for note in model.notes.iter().chain(&plan.notes) {
        console.note(note);
    }
    for odd in model_config.into_iter().flat_map(metadata::odd) {
        console.note(odd);
    }
    if !is_gguf {
        foresee(model_config, &config, registry, console)?;
    } else if args.pre.is_some() {
        console.note("`--pre` has no effect: keys of a GGUF file stay as they are");
    }
    let (tokens, model_files) = source.beside(args.pre.as_deref(), registry, console)?;

    let mut inputs = source.input.paths(model);
    inputs.extend(base_folder.iter().map(|base| base.path().to_owned()));
    let mut staging = StagedFolder::new(&target, &inputs)?;
    let fingerprint = plan.fingerprint(&model_files, tokens.as_deref())?;
    let existing = staging.existing(&fingerprint, args.restart)?;
    let room = staging.ask_for_room(plan.stored_bytes(), args.ignore_space);
    room.map_err(|error| error.and_hint("--ignore-space begins all the same"))?;
    staging.begin(&fingerprint)?;
    let existing = existing.as_ref().map(|folder| folder as &dyn Files);
    console.line(format!(
        "Importing {} ({}) from {} file(s) as {}",
        super::tensors(plan.tensors()),
        show_size(plan.source_bytes()?),
        model.shards.len(),
        config.block_format
    ));
    let budget = budget(common)?;
    let written = write_behind(&mut staging, |sink| {
        plan.run(&source.folder, model_files, tokens.as_deref(), existing, sink, budget, console)
    });
    console.end();
    let written = staging.settle(source.folder.unchanged(written))?;
    if let Some((path, manifest)) = source.manifest()? {
        let place = || format!("manifest `{}`", path.display());
        manifest.check_source(&written).context(place)?;
    }
    staging.commit()?;
    let own = written.tensors.values();
    let own = own.filter(|record| !matches!(record.from_base, Some(FromBase::Same(_))));
    let stored: u64 = own.map(|tensor| tensor.stored_bytes).sum();
    console.line(format!(
        "Done! {}, {} stored in {}",
        super::tensors(written.total_tensors),
        show_size(stored),
        target.display()
    ));
    Ok(())
}

/// What an import does without a config. A GGUF file has been quantized with care, or is to be: no
/// bit of it is changed unless that is asked for.
fn default_config(model: &Model) -> ImportConfig {
    let mut config = ImportConfig::default();
    if model.keys.is_some() {
        config.block_format = RAW.to_owned();
    }
    config
}

/// Checks the name of the block format, so that a message says who gave it.
fn check_format(args: &Import, config: &ImportConfig, registry: &Registry) -> Result<()> {
    let known = registry.block(&config.block_format).map(drop);
    known.context(|| match (&args.block_format, &args.config) {
        (None, Some(path)) => format!("`block_format` in config `{}`", path.display()),
        _ => "`--block-format`".to_owned(),
    })
}

/// Tells at once what an export will not accept: an import takes hours, and what it lacks is
/// cheaper to add before.
fn foresee(
    model: Option<&ModelConfig>,
    config: &ImportConfig,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    let effective = gmat_core::export::effective_config(model, &config.metadata)?;
    if let Err(error) = gmat_core::arch::choose(registry.archs(), &effective) {
        let hint = error.hint().unwrap_or_default();
        let said = format!("export will not accept this as it is: {}; {hint}", error.message());
        match effective.architecture() {
            Some(_) => console.warn(said),
            None => console.note(said),
        }
    }
    Ok(())
}

/// The store that `--output` means: a folder that gets a `model.gmat`, unless it is one by name.
pub(crate) fn output_path(output: &Path) -> PathBuf {
    // Without a slash at the end: suffixes are added to the name.
    let output: PathBuf = output.components().collect();
    let is_store =
        output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gmat"));
    let store = if is_store { output } else { output.join(FOLDER) };
    // A link to a store is written through, not replaced.
    match store.canonicalize() {
        Ok(real) if store.is_symlink() => real,
        _ => store,
    }
}

/// The model that `--model` means.
pub(crate) struct Input {
    pub(crate) folder: PathBuf,
    file: Option<String>,
    gguf: Option<String>,
}

/// Whether a file is a GGUF file, by its first bytes or at least by its name.
fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let begins = File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok());
    let named = path.extension().is_some_and(|extension| extension == "gguf");
    (begins && &magic == b"GGUF") || named
}

impl Input {
    pub(crate) fn find(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| {
            let dangling = path.is_symlink() && error.kind() == std::io::ErrorKind::NotFound;
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let error = Error::io(format!("cannot open model `{}`", path.display()), error);
            match (dangling, missing) {
                (true, _) => error.with_hint("it is a link that leads nowhere: download the model again"),
                (_, true) => error.with_hint(
                    "give a `.safetensors` or `.gguf` file, a shard index, or a model folder; names of hubs are not downloaded",
                ),
                _ => error,
            }
        })?;
        if metadata.is_dir() {
            return Ok(Self {
                folder: path.to_owned(),
                file: None,
                gguf: gguf_in(&Folder::new(path))?,
            });
        }
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Error::config(format!("the name of model `{}` is not UTF-8", path.display()))
        })?;
        let folder = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => PathBuf::from("/"),
        };
        if name == INDEX {
            return Ok(Self { folder, file: None, gguf: None });
        }
        if is_gguf(path) {
            return Ok(Self { folder, file: None, gguf: Some(name.to_owned()) });
        }
        if !name.ends_with(".safetensors") {
            return Err(Error::unsupported(format!(
                "`{}` is not a SafeTensors file (by its name), nor a GGUF file",
                path.display()
            ))
            .with_hint("give a `.safetensors` or `.gguf` file, a shard index, or a model folder"));
        }
        Ok(Self { folder, file: Some(name.to_owned()), gguf: None })
    }

    pub(crate) fn pick(&self) -> Pick<'_> {
        self.file.as_deref().map_or(Pick::Folder, Pick::File)
    }

    /// Name of the GGUF file, if it is one.
    pub(crate) fn gguf(&self) -> Option<&str> {
        self.gguf.as_deref()
    }

    pub(super) fn open(&self, folder: &Folder) -> Result<Model> {
        match &self.gguf {
            Some(file) => Model::open_gguf(folder, file),
            None => Model::open(folder, self.pick()),
        }
    }

    /// Everything that must be there until the import is done.
    pub(crate) fn paths(&self, model: &Model) -> Vec<PathBuf> {
        let shards = model.shards.iter().map(|shard| self.folder.join(&shard.name));
        [self.folder.clone()].into_iter().chain(shards).collect()
    }
}

fn generate(
    args: &Import,
    model: &Model,
    metadata: BTreeMap<String, serde_json::Value>,
    console: &mut Console,
) -> Result<()> {
    let shards = model.shards.len();
    let format = if model.keys.is_some() { "GGUF" } else { "safetensors" };
    console.line(format!("Found {shards} {format} file(s)"));
    for (number, _) in model.shards.iter().enumerate() {
        let tensors = model.tensors.iter().filter(|tensor| tensor.shard == number).count();
        let tensors = super::tensors(tensors);
        console.line(format!("Processed {}/{shards} files ({tensors})...", number + 1));
    }
    for note in &model.notes {
        console.note(note);
    }
    statistics(model, console)?;
    let config = ImportConfig {
        source_format: if model.keys.is_some() { "gguf" } else { "safetensors" }.to_owned(),
        block_format: args.block_format.clone().unwrap_or(default_config(model).block_format),
        tensor_map: model
            .tensors
            .iter()
            .map(|tensor| Mapping {
                source: tensor.info.name.clone(),
                target: tensor_id(&tensor.info.name),
                include: true,
            })
            .collect(),
        metadata,
    };
    write_generated(CONFIG, &config.to_json()?, args.force)?;
    let architecture = config.metadata.get("architecture").and_then(|value| value.as_str());
    console.line(format!("\n=== Generated {CONFIG} ==="));
    console.line(format!("Tensors: {}", config.tensor_map.len()));
    console.line(format!("Architecture: {}", architecture.unwrap_or("unknown")));
    console.line("\nEdit the config, then run:");
    let path = quoted(&args.model.display().to_string());
    console.line(format!("  gmat import --model {path} --config {CONFIG}"));
    Ok(())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%~".contains(c);
    match !word.is_empty() && word.chars().all(plain) && !word.starts_with('~') {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The statistics block: all from headers.
fn statistics(model: &Model, console: &mut Console) -> Result<()> {
    let counts = || model.tensors.iter().map(|tensor| tensor.info.shape.elems());
    let with_short = |count: u64| match show_count(count) {
        Some(short) => format!("{count} ({short})"),
        None => count.to_string(),
    };
    let bytes = model.tensors.iter().try_fold(0u64, |sum, tensor| {
        sum.checked_add(tensor.source_len()?).ok_or_else(|| Error::limit("model too large"))
    })?;
    let on_disk: u64 = model.shards.iter().map(|shard| shard.len).sum();
    let of_rank = |ranks: std::ops::RangeInclusive<usize>| {
        model.tensors.iter().filter(|tensor| ranks.contains(&tensor.info.shape.rank())).count()
    };
    console.line("\n=== Tensor Statistics ===");
    console.line(format!("Total tensors: {}", model.tensors.len()));
    console.line(format!("Total elements: {}", with_short(counts().fold(0, u64::saturating_add))));
    console.line(format!("Total size: {} ({})", show_size(bytes), show_size(on_disk)));
    console.line("\nShape distribution:");
    if of_rank(0..=0) > 0 {
        console.line(format!("  0D tensors: {}", of_rank(0..=0)));
    }
    for rank in 1..=3 {
        console.line(format!("  {rank}D tensors: {}", of_rank(rank..=rank)));
    }
    console.line(format!("  4D+ tensors: {}", of_rank(4..=usize::MAX)));
    console.line(format!("  Min elements: {}", with_short(counts().min().unwrap_or(0))));
    console.line(format!("  Max elements: {}", with_short(counts().max().unwrap_or(0))));
    console.line("\nData types:");
    let mut dtypes: BTreeMap<(DType, &str), usize> = BTreeMap::new();
    for tensor in &model.tensors {
        let encoding = tensor.derived.as_ref().map_or("", |derived| derived.encoding);
        *dtypes.entry((tensor.info.dtype, encoding)).or_default() += 1;
    }
    for ((dtype, encoding), tensors) in dtypes {
        console.line(match encoding.is_empty() || encoding == dtype.name() {
            true => format!("  {dtype}: {tensors}"),
            false => format!("  {dtype} (from {encoding}): {tensors}"),
        });
    }
    Ok(())
}
