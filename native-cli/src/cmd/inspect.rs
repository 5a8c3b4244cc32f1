//! `gmat inspect`: what a SafeTensors model, a store or a GGUF file is.

mod distribution;
mod json;
mod summary;
mod table;
mod value;

use std::path::Path;

use gmat_core::config::name_pattern;
use gmat_core::inspect::{Contents, Histogram};
use gmat_core::store::Store;
use gmat_core::{Error, Registry, Result, ResultExt};

use super::base;
use super::import::Input;
use super::store_at;
use crate::args::Inspect;
use crate::folder::Folder;
use crate::report::Console;

pub(crate) fn run(args: &Inspect, registry: &Registry, console: &mut Console) -> Result<()> {
    let place = store_at(&args.path).map(Folder::new);
    let store = place.as_ref().map(|place| Store::open(place)).transpose()?;
    let base_folder = match (&place, &store) {
        (Some(place), Some(store)) => base::find(store, place.path(), args.base.as_deref()),
        _ => None,
    };
    let store = store.map(|store| base::attach(store, base_folder.as_ref())).transpose()?;
    let (folder, mut contents) = match (&place, &store) {
        (Some(place), Some(store)) => (Folder::new(place.path()), Contents::store(store)?),
        _ => open(&args.path, registry)?,
    };
    for warning in &contents.warnings {
        console.warn(warning);
    }
    let histograms = match &args.histogram {
        Some(wanted) => {
            let bins = args.bins.into();
            let store = store.as_ref();
            distribution::measure(&folder, store, &contents, wanted, bins, registry, console)?
        }
        None => Vec::new(),
    };
    let totals = summary::Totals::of(&contents);
    if let Some(pattern) = &args.tensors {
        let regex = name_pattern(pattern).context(|| "`--tensors`")?;
        contents.tensors.retain(|tensor| regex.is_match(&tensor.name));
        refuse_none(contents.tensors.is_empty(), "tensor", pattern)?;
    }
    if let Some(pattern) = &args.keys {
        let regex = name_pattern(pattern).context(|| "`--keys`")?;
        contents.keys.retain(|(key, _)| regex.is_match(key));
        refuse_none(contents.keys.is_empty(), "metadata key", pattern)?;
    }
    if args.json {
        console.result(json::object(&contents, &totals, &histograms).to_string());
        return Ok(());
    }
    console.result(format!("{} ({})", args.path.display(), totals.title(&contents)));
    if args.histogram.is_some() {
        for (tensor, histogram) in &histograms {
            distribution::show(tensor, histogram, console);
        }
        return Ok(());
    }
    let chosen = args.tensors.is_some() || args.keys.is_some();
    if !chosen {
        summary::show(&contents, &totals, console);
    }
    if !contents.keys.is_empty() && (!chosen || args.keys.is_some()) {
        table::keys(&contents, args.keys.is_some(), console);
    }
    if !chosen || args.tensors.is_some() {
        table::tensors(&contents, args.all || args.tensors.is_some(), console);
        console.result(totals.line(&contents));
    }
    Ok(())
}

fn refuse_none(none: bool, what: &str, pattern: &str) -> Result<()> {
    match none {
        true => Err(Error::config(format!("no {what} matches `{pattern}`"))
            .with_hint("without the option, all are listed")),
        false => Ok(()),
    }
}

/// What a path means that is no store, and the folder that it is in.
fn open(path: &Path, registry: &Registry) -> Result<(Folder, Contents)> {
    let input = Input::find(path)?;
    let folder = Folder::new(&input.folder);
    let contents = match input.gguf() {
        Some(file) => Contents::gguf(&folder, file)?,
        None => Contents::safetensors(&folder, input.pick(), registry)?,
    };
    Ok((folder, contents))
}

/// A tensor that was measured.
type Measured = (gmat_core::inspect::Tensor, Histogram);
