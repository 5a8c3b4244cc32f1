//! `gmat export`.

use std::path::{Path, PathBuf};

use gmat_core::config::{ExportConfig, pretty};
use gmat_core::export::{
    ExportOptions, ExportPlan, Importance, Manifest, Report, Suggestion, manifest_name, suggest,
};
use gmat_core::format::tokens;
use gmat_core::io::read_small;
use gmat_core::store::{FOLDER, METADATA, Store, TOKENS};
use gmat_core::token::Vocab;
use gmat_core::{Error, Registry, Result, ResultExt};

use self::config::{apply_options, config};
use super::{base, budget, explain, reports, write_generated};
use crate::args::{Common, Export};
use crate::behind::write_behind;
use crate::folder::Folder;
use crate::report::Console;
use crate::staging::{StagedFiles, write_whole};

mod config;

/// File that `--generate-config` writes, and that is used when it is there.
const CONFIG: &str = "export_config.json";

pub(crate) fn run(
    args: &Export,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    check_thresholds(args)?;
    let folder = Folder::new(store_path(&args.model));
    let store = Store::open(&folder)?;
    let base_folder = base::require(&store, folder.path(), args.base.as_deref())?;
    let store = base::attach(store, base_folder.as_ref())?;
    if args.generate_config {
        return generate(args, &store, registry, console);
    }
    let (output_folder, file_name) = output(&args.output, folder.path())?;
    let reports = report_targets(args, folder.path(), &output_folder)?;
    let (mut config, beside) = config(args, &store, registry, console)?;
    apply_options(args, &mut config, registry, console)?;
    let matrix = imatrix(args, &config, &beside)?;
    let importance = match (&matrix, &config.imatrix) {
        (Some((folder, file)), Some(given)) => Some(Importance::open(folder, file, given)?),
        _ => None,
    };
    let vocab = match vocabulary(&folder) {
        Err(error) if args.no_tokenizer => {
            console.note(format!("{error}: the file gets no tokenizer"));
            None
        }
        read => read?,
    };
    let is_gguf = store.metadata.model.source_keys.is_some();
    if is_gguf && args.no_tokenizer {
        console.note("`--no-tokenizer` has no effect: keys of a GGUF source stay as they are");
    }
    // Nobody loads a file that keeps the names of the source anyway.
    let loadable = match args.arch.as_deref() {
        Some(name) => registry.arch(name)?.caveat().is_none(),
        None => true,
    };
    if vocab.is_none() && !args.no_tokenizer && loadable && !is_gguf {
        return Err(Error::unsupported(
            "the store has no tokenizer, without which llama.cpp does not load a model",
        )
        .with_hint(
            "put the tokenizer files beside the model and import again, or add --no-tokenizer",
        ));
    }
    if let Some((folder, file)) = &matrix {
        keep_matrix(&folder.path().join(file), &args.output)?;
    }
    let options = ExportOptions {
        arch: args.arch.as_deref(),
        file_name: &file_name,
        tensor_types: &args.tensor_type,
        importance: importance.as_ref(),
        allow_unweighted: args.allow_unweighted,
        allow_custom_types: args.allow_custom_types,
    };
    let plan = match config.target() {
        None => ExportPlan::new(&store, vocab.as_ref(), &config, options, registry)?,
        Some(target) => {
            console.note("measuring what each type does to each tensor");
            let (vocab, budget) = (vocab.as_ref(), budget(common)?);
            let plan = ExportPlan::for_size(
                target, &store, vocab, &config, options, registry, budget, console,
            );
            console.end();
            plan?
        }
    };
    if args.explain {
        explain::show(&plan, args.json, console);
        return Ok(());
    }
    for note in &plan.notes {
        console.note(note);
    }
    for detail in &plan.details {
        console.detail(detail);
    }
    for warning in &plan.warnings {
        console.warn(warning);
    }
    for decision in &plan.decisions {
        console.detail(format!("{}: {} ({})", decision.name, decision.ty, decision.why));
    }
    let how = match config.shard_size {
        Some(bytes) if plan.files().len() > 1 => {
            format!(" (sharded, max {} MB per shard)", bytes as f64 / 1e6)
        }
        _ => String::new(),
    };
    console.line(format!("Exporting to GGUF{how}: {}", args.output.display()));
    let tensors = super::tensors(plan.tensors());
    console.line(format!("Processing {tensors}..."));
    let names: Vec<&str> = plan.files().map(|(name, _)| name).collect();
    let manifest_path = output_folder.join(manifest_name(&file_name));
    refuse_foreign(&manifest_path)?;
    let mut staging = StagedFiles::new(&output_folder, &file_name, &names)?;
    // A report needs the damage of every tensor.
    let finished = staging.finished(&plan, args.restart || !reports.is_empty())?;
    if finished.tensors() > 0 {
        let (there, all) = (finished.tensors(), plan.tensors());
        console.note(format!("going on: {there} of {all} tensors are there already"));
    }
    let budget = budget(common)?;
    let mut damages = Vec::new();
    let result = write_behind(&mut staging, |sink| {
        let damages = (!reports.is_empty()).then_some(&mut damages);
        plan.go_on(finished, sink, budget, console, damages)
    });
    console.end();
    let others = matrix.iter().map(|(folder, _)| folder).chain(&base_folder);
    let result = others.fold(result, |result, folder| folder.unchanged(result));
    let written = staging.settle(folder.unchanged(result))?;
    let manifest = Manifest::new(&plan, &options, vocab.is_some(), &written)?;
    staging.commit()?;
    write_whole(&manifest_path, &pretty(&manifest)?)?;
    if !reports.is_empty() {
        let report = Report::new(&plan, &damages);
        for target in &reports {
            target.write(&report)?;
            console.line(format!("Report: {}", target.path().display()));
        }
    }
    let bytes: u64 = plan.files().map(|(_, len)| len).sum();
    let shards = match plan.files().len() {
        1 => String::new(),
        count => format!("{count} shards, "),
    };
    console.line(format!("Done! {shards}{tensors}, {bytes} bytes total"));
    Ok(())
}

/// A manifest replaces a manifest, and nothing else.
fn refuse_foreign(manifest: &Path) -> Result<()> {
    let foreign = match std::fs::read(manifest) {
        Ok(text) => Manifest::parse(&text).is_err(),
        Err(_) => manifest.symlink_metadata().is_ok(),
    };
    match foreign {
        true => Err(Error::config(format!(
            "`{}`, where the manifest of the export goes, exists and is none, so it is not replaced",
            manifest.display()
        ))
        .with_hint("choose another --output, or move that file away")),
        false => Ok(()),
    }
}

/// The vocabulary of the store, if it has one.
pub(super) fn vocabulary(folder: &Folder) -> Result<Option<Vocab>> {
    let read = |bytes: Vec<u8>| {
        tokens::read(&bytes)
            .map_err(|e| e.with_hint("import the model again, or add --no-tokenizer"))
            .context(|| format!("file `{}`", folder.path().join(TOKENS).display()))
    };
    read_small(folder, TOKENS)?.map(read).transpose()
}

/// The importance matrix is a GGUF file, too, but not one to be replaced by what it helps to make.
fn keep_matrix(matrix: &Path, output: &Path) -> Result<()> {
    let same =
        matrix.canonicalize().ok().filter(|real| output.canonicalize().ok().as_ref() == Some(real));
    match same {
        Some(_) => {
            Err(Error::config(format!("output `{}` is the importance matrix", output.display()))
                .with_hint("choose another --output"))
        }
        None => Ok(()),
    }
}

/// The store that `--model` means: the folder itself, or the `model.gmat` in it.
pub(crate) fn store_path(model: &Path) -> PathBuf {
    let inner = model.join(FOLDER);
    if !model.join(METADATA).exists() && inner.is_dir() { inner } else { model.to_owned() }
}

/// Reports must not overwrite what they are about, nor what the export reads.
fn report_targets(
    args: &Export,
    store: &Path,
    output_folder: &Path,
) -> Result<Vec<reports::Target>> {
    let mut taken = vec![("output", args.output.as_path())];
    taken.extend(args.config.as_deref().map(|path| ("config", path)));
    if args.config.is_none() {
        taken.push(("config", Path::new(CONFIG)));
    }
    taken.extend(args.imatrix.as_deref().map(|path| ("importance matrix", path)));
    for path in &args.report {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let real = folder.unwrap_or(Path::new(".")).canonicalize().ok();
        if real.zip(store.canonicalize().ok()).is_some_and(|(real, store)| real.starts_with(store))
        {
            return Err(Error::config(format!("report `{}` is inside the store", path.display()))
                .with_hint("choose another folder"));
        }
    }
    reports::Target::all(&args.report, &taken, Some(output_folder))
}

/// From which importance on a tensor gets a high-quality and a medium-quality type.
fn thresholds(args: &Export) -> (f64, f64) {
    (args.importance_high.unwrap_or(0.2), args.importance_medium.unwrap_or(0.1))
}

fn check_thresholds(args: &Export) -> Result<()> {
    let range = 0.0..=1.0;
    for (option, value) in
        [("--importance-high", thresholds(args).0), ("--importance-medium", thresholds(args).1)]
    {
        if !range.contains(&value) {
            return Err(Error::config(format!(
                "`{option}` is `{value}`, expected a number from 0 to 1"
            )));
        }
    }
    Ok(())
}

/// Folder and name of the importance matrix. An option means a file as seen from the working
/// directory, a config one as seen from where it is.
fn imatrix(
    args: &Export,
    config: &ExportConfig,
    beside: &Path,
) -> Result<Option<(Folder, String)>> {
    let path = match (&args.imatrix, &config.imatrix) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => beside.join(path),
        (None, None) => return Ok(None),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        Error::config(format!("importance matrix `{}` is not a file name", path.display()))
    })?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(Some((Folder::new(folder.unwrap_or(Path::new("."))), name.to_owned())))
}

/// Folder and name of the output file, which must not be in the store.
fn output(path: &Path, store: &Path) -> Result<(PathBuf, String)> {
    if path.as_os_str() == "-" {
        return Err(Error::config("an export cannot be written to standard output")
            .with_hint("give a file name; `./-` is a file of that name"));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let as_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir();
    let name = name.filter(|_| !as_folder).ok_or_else(|| {
        Error::config(format!("output `{}` is not a file name", path.display()))
            .with_hint("give a file name, such as model.gguf")
    })?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let real = |path: &Path| path.canonicalize().ok();
    if let (Some(folder), Some(store)) = (real(folder), real(store))
        && folder.starts_with(&store)
    {
        return Err(Error::config(format!("output `{}` is inside the store", path.display()))
            .with_hint("choose another --output"));
    }
    Ok((folder.to_owned(), name.to_owned()))
}

fn recommended(args: &Export, store: &Store<'_>, registry: &Registry) -> Result<Suggestion> {
    let (high, medium) = thresholds(args);
    suggest(store, args.arch.as_deref(), high, medium, registry)
}

fn generate(
    args: &Export,
    store: &Store<'_>,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    console.line(format!("Analyzing {}...", super::tensors(store.metadata.total_tensors)));
    let mut suggestion = recommended(args, store, registry)?;
    for note in &suggestion.notes {
        console.note(note);
    }
    for path in &suggestion.missing {
        console.warn(format!("missing tensor: {path}"));
    }
    apply_options(args, &mut suggestion.config, registry, console)?;
    let total = suggestion.config.tensor_map.len();
    console.line("=== Export Tensor Statistics ===");
    console.line(format!("Total tensors: {total}"));
    console.line("Quantization types:");
    let mut counts: Vec<_> = suggestion.counts.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (name, count) in counts {
        let share = 100.0 * *count as f64 / total.max(1) as f64;
        console.line(format!("  {name}: {count} ({share:.1}%)"));
    }
    write_generated(CONFIG, &suggestion.config.to_json()?, args.force)?;
    console.line(format!("Generated {CONFIG} ({})", super::tensors(total)));
    Ok(())
}
