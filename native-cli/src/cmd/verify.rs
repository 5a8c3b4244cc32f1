//! `gmat verify`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use gmat_core::arrays::{self, MANIFEST, Origin};
use gmat_core::config::{ExportConfig, Rule};
use gmat_core::export::{ExportOptions, ExportPlan, Importance, Manifest, manifest_name};
use gmat_core::format::gguf::GgufModel;
use gmat_core::format::tokens;
use gmat_core::import::ImportPlan;
use gmat_core::io::{Files, read_small};
use gmat_core::progress::{Event, Progress};
use gmat_core::store::{Store, TOKENS, tensor_file};
use gmat_core::verify::{Comparison, Verified, verify_gguf, verify_store};
use gmat_core::{Error, Registry, Result, ResultExt};
use serde_json::json;

use super::compare::Opened;
use super::import::Input;
use super::source::{Source, output_name};
use super::{base, budget, export, read_config, tensors};
use crate::args::{Common, Verify};
use crate::folder::Folder;
use crate::report::Console;
use crate::size::show_size;

pub(crate) fn run(
    args: &Verify,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    let converted = args.path.join(MANIFEST).is_file();
    let found = match super::store_at(&args.path) {
        Some(folder) => verify_a_store(args, &folder, common, registry, console),
        None if converted => verify_arrays(args, common, registry, console),
        None => verify_a_gguf(args, common, registry, console),
    };
    console.end();
    let found = found?;
    show(args, &found, console);
    found.result()
}

fn show(args: &Verify, found: &Verified, console: &mut Console) {
    let path = args.path.display().to_string();
    if args.json {
        let mut object = json!(found);
        object["path"] = path.into();
        object["ok"] = found.differences.is_empty().into();
        console.result(object.to_string());
        return;
    }
    let files = match found.files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let size = show_size(found.bytes);
    console.line(format!("{path} ({}): {}, {files}, {size}", found.kind, tensors(found.tensors)));
    for check in &found.checks {
        console.line(format!("  checked: {check}"));
    }
    if !found.not_hashed.is_empty() {
        console.line(format!(
            "  not checked: source hashes of {}, which are stored as differences; give their base with \
             --base: {}",
            tensors(found.not_hashed.len()),
            found.not_hashed.join(", ")
        ));
    }
    for difference in &found.differences {
        let tensor = difference.tensor.as_ref().map(|name| format!(", tensor `{name}`"));
        let tensor = tensor.unwrap_or_default();
        console.result(format!("  differs: `{}`{tensor}: {}", difference.file, difference.what));
    }
    if found.differences.is_empty() {
        console.line("Nothing differs.");
    }
}

fn verify_a_store(
    args: &Verify,
    path: &Path,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<Verified> {
    refuse(args.config.is_some(), "--config")?;
    refuse(args.manifest.is_some(), "--manifest")?;
    let folder = Folder::new(path);
    let (base_folder, unfit) = base_of(&folder, args.base.as_deref())?;
    let base = base_folder.as_ref().map(|folder| folder as &dyn Files);
    let (budget, progress) = (budget(common)?, &mut BytesOnly(console));
    let mut found = verify_store(&folder, base, registry, budget, progress)?;
    if let Some((place, error)) = &unfit {
        found.differs(place, None, error.message());
    }
    let Some(path) = &args.source else { return Ok(found) };
    // What cannot be opened has been reported.
    let Ok(store) = Store::open(&folder) else { return Ok(found) };
    let base = match (unfit, base) {
        (Some((_, error)), _) => return Err(error),
        (None, None) if store.metadata.made_against.is_some() => return Err(store.base_missing()),
        (None, base) => base.map(Store::open).transpose()?,
    };
    let source = Source::open(path)?;
    let mut plan = ImportPlan::new(&source.model, &store.metadata.config, registry)
        .context(|| format!("model `{}`", path.display()))?;
    if let (Some(base), Some(made)) = (&base, &store.metadata.made_against) {
        let progress = &mut BytesOnly(console);
        plan.against(base, made.path.clone(), &source.folder, registry, progress)?;
    }
    let vocab = read_small(&folder, TOKENS)?.and_then(|bytes| tokens::read(&bytes).ok());
    let pre = vocab.map(|vocab| vocab.pre).filter(|pre| !pre.is_empty());
    // Whoever forced the pre-tokenizer on import had to.
    let beside = source.beside(None, registry, &mut Console::silent());
    let (tokens, model_files) = match beside {
        Err(_) => source.beside(pre.as_deref(), registry, console)?,
        Ok((made, _)) if differs_in_pre(made.as_deref(), pre.as_deref()) => {
            source.beside(pre.as_deref(), registry, &mut Console::silent())?
        }
        Ok(beside) => beside,
    };
    let mut comparison = Comparison::new(&folder);
    let (tokens, progress) = (tokens.as_deref(), &mut BytesOnly(console));
    plan.run(&source.folder, model_files, tokens, None, &mut comparison, budget, progress)?;
    let name_of = |file: &str| {
        let mut records = store.metadata.tensors.iter();
        let record = records.find(|(id, _)| tensor_file(**id) == file);
        record.map(|(_, record)| record.name.clone())
    };
    comparison.report(|file, _| name_of(file), &mut found);
    found.checks.push(format!("every byte, made once more from {}", path.display()));
    Ok(found)
}

/// The base of a store: the one given, or one that is found. What is found and does not fit comes with
/// the error, which is then a difference among others: the store can be verified without.
fn base_of(
    folder: &Folder,
    given: Option<&Path>,
) -> Result<(Option<Folder>, Option<(String, Error)>)> {
    let Ok(store) = Store::open(folder) else { return Ok((None, None)) };
    let Some(base) = base::find(&store, folder.path(), given) else { return Ok((None, None)) };
    match store.with_base(&base).map(drop) {
        Ok(()) => Ok((Some(base), None)),
        Err(error) if given.is_some() => Err(error),
        Err(error) => Ok((None, Some((base.path().display().to_string(), error)))),
    }
}

/// Whether a tokenizer that was read without being told so has another pre-tokenizer.
fn differs_in_pre(made: Option<&[u8]>, pre: Option<&str>) -> bool {
    let made = made.and_then(|bytes| tokens::read(bytes).ok());
    made.is_some_and(|made| pre.is_some_and(|pre| made.pre != pre))
}

/// A folder that `gmat convert` wrote.
fn verify_arrays(
    args: &Verify,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<Verified> {
    refuse(args.config.is_some(), "--config")?;
    refuse(args.manifest.is_some(), "--manifest")?;
    let (folder, budget) = (Folder::new(&args.path), budget(common)?);
    let mut found = Verified::new("arrays");
    found.checks.push("length and hash of every file".to_owned());
    let progress = &mut BytesOnly(console);
    let differences = match &args.source {
        None => {
            refuse_base(args)?;
            arrays::verify(&folder, None, registry, budget, progress)?
        }
        Some(path) => {
            found.checks.push(format!("hashes, made once more from {}", path.display()));
            let opened = Opened::new(path, args.base.as_slice())?;
            Opened::use_all(&[&opened], args.base.as_slice())?;
            match opened {
                Opened::Store(source, base) => {
                    let store = base::attach(Store::open(&source)?, base.as_ref())?;
                    let origin = Some(Origin::Store(&store));
                    arrays::verify(&folder, origin, registry, budget, progress)?
                }
                Opened::Source(source) => {
                    let origin = Some(Origin::Model(&source.model, &source.folder));
                    arrays::verify(&folder, origin, registry, budget, progress)?
                }
            }
        }
    };
    if let Some((manifest, _)) = arrays::Manifest::read(&folder)? {
        let files = manifest.files();
        found.files = files.len() + 1;
        found.tensors = manifest.tensors.len();
        found.bytes = files.iter().map(|file| file.bytes).sum::<u64>() + manifest.loader.bytes;
    }
    for difference in differences {
        found.differs(&difference.file, None, difference.what);
    }
    Ok(found)
}

fn verify_a_gguf(
    args: &Verify,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<Verified> {
    let input = Input::find(&args.path)?;
    let Some(file) = input.gguf() else {
        return Err(Error::unsupported(format!(
            "`{}` is a SafeTensors model, which has no checksums",
            args.path.display()
        ))
        .with_hint("give a store or a GGUF file; `gmat inspect` checks headers and sizes"));
    };
    if args.source.is_none() {
        refuse_base(args)?;
    }
    let folder = Folder::new(&input.folder);
    let output = output_name(file);
    let manifest = manifest(args, &folder, &output)?;
    let (budget, progress) = (budget(common)?, &mut BytesOnly(console));
    let mut found = verify_gguf(&folder, file, manifest.as_ref(), registry, budget, progress)?;
    if let Some(source) = &args.source {
        let store = Folder::new(export::store_path(source));
        let made = Made { args, manifest: manifest.as_ref(), output: &output, file };
        made.compare(&folder, &store, common, registry, console, &mut found)?;
        found.checks.push(format!("every byte, made once more from {}", source.display()));
    }
    Ok(found)
}

/// The manifest that was given, or that lies beside the file.
fn manifest(args: &Verify, folder: &Folder, output: &str) -> Result<Option<Manifest>> {
    let beside = folder.path().join(manifest_name(output));
    let path: PathBuf = match &args.manifest {
        Some(path) => path.clone(),
        None if beside.is_file() => beside,
        None => return Ok(None),
    };
    let text = read_config(&path)?;
    let manifest = Manifest::parse(&text).context(|| format!("manifest `{}`", path.display()));
    manifest.map(Some).map_err(|error| {
        error.with_hint("move the file away to verify the structure only, or export again")
    })
}

/// What an export is made of once more.
struct Made<'a> {
    args: &'a Verify,
    manifest: Option<&'a Manifest>,
    output: &'a str,
    file: &'a str,
}

impl Made<'_> {
    fn compare(
        &self,
        folder: &Folder,
        store_folder: &Folder,
        common: &Common,
        registry: &Registry,
        console: &mut Console,
        found: &mut Verified,
    ) -> Result<()> {
        let store = Store::open(store_folder)?;
        let given = self.args.base.as_deref();
        let base = base::require(&store, store_folder.path(), given)?;
        let store = base::attach(store, base.as_ref())?;
        if let Some(manifest) = self.manifest
            && manifest.store.checksum != store.metadata.checksum()
        {
            console.note("the export was made from another store, or another state of it");
        }
        let config = self.config()?;
        let options = self.manifest.map(|manifest| manifest.options.clone()).unwrap_or_default();
        let rules = options.tensor_types.iter().map(|text| Rule::parse(text));
        let rules = rules.collect::<Result<Vec<_>>>().context(|| "the manifest")?;
        let tokenizer = self.manifest.is_none() || options.tokenizer;
        let vocab = if tokenizer { export::vocabulary(store_folder)? } else { None };
        let matrix = config.imatrix.as_ref().map(|path| {
            let path = Path::new(path);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (Folder::new(path.parent().unwrap_or(Path::new(""))), name)
        });
        let importance = match (&matrix, &config.imatrix) {
            (Some((folder, name)), Some(given)) => Some(Importance::open(folder, name, given)?),
            _ => None,
        };
        let export = ExportOptions {
            arch: options.arch.as_deref(),
            file_name: self.output,
            tensor_types: &rules,
            importance: importance.as_ref(),
            allow_unweighted: options.allow_unweighted,
            // Somebody allowed them when the file was written.
            allow_custom_types: true,
        };
        let (budget, vocab) = (budget(common)?, vocab.as_ref());
        let mut progress = BytesOnly(console);
        let plan = match config.target() {
            None => ExportPlan::new(&store, vocab, &config, export, registry)?,
            Some(target) => ExportPlan::for_size(
                target,
                &store,
                vocab,
                &config,
                export,
                registry,
                budget,
                &mut progress,
            )?,
        };
        let mut comparison = Comparison::new(folder);
        plan.run(&mut comparison, budget, &mut progress, None)?;
        // Where tensors are, by the headers that are there.
        let model = GgufModel::open(folder, self.file).ok();
        let tensor_at = |file: &str, at: u64| {
            let part = model.as_ref()?.parts.iter().find(|part| part.name == file)?;
            let tensors = part.gguf.tensors.iter().zip(&part.lens);
            let inside = tensors.filter(|(tensor, len)| {
                let start = part.gguf.data_start.saturating_add(tensor.offset);
                (start..start.saturating_add(len.unwrap_or(0))).contains(&at)
            });
            inside.map(|(tensor, _)| tensor.name.clone()).next()
        };
        comparison.report(tensor_at, found);
        Ok(())
    }

    /// The config that was given, or that of the manifest.
    fn config(&self) -> Result<ExportConfig> {
        match (&self.args.config, self.manifest) {
            (Some(path), _) => ExportConfig::parse(&read_config(path)?)
                .context(|| format!("config `{}`", path.display())),
            (None, Some(manifest)) => manifest.config().context(|| "the manifest"),
            (None, None) => Err(Error::config(
                "the file has no manifest that says how it was made",
            )
            .with_hint("give the export config with --config, or the manifest with --manifest")),
        }
    }
}

fn refuse(given: bool, option: &str) -> Result<()> {
    match given {
        true => Err(Error::config(format!("`{option}` is for GGUF files; this is none"))),
        false => Ok(()),
    }
}

/// A base is of use only to a store, as what is verified or as its source.
fn refuse_base(args: &Verify) -> Result<()> {
    match args.base {
        Some(_) => Err(Error::config("`--base` is for stores; there is none here")
            .with_hint("leave --base out, or name the store with --source")),
        None => Ok(()),
    }
}

/// Shows how far a verification is, but no list of tensors: that would hide what differs.
pub(super) struct BytesOnly<'a>(pub(super) &'a mut Console);

impl Progress for BytesOnly<'_> {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Tensor { .. } => ControlFlow::Continue(()),
            event => self.0.event(event),
        }
    }
}
