//! `gmat compare`.

use std::path::{Path, PathBuf};

use gmat_core::compare::{Compared, Pair, Side};
use gmat_core::export::Report;
use gmat_core::store::Store;
use gmat_core::{Error, Registry, Result};

use super::export::store_path;
use super::source::Source;
use super::verify::BytesOnly;
use super::{base, budget, reports, store_at, tensors, write_whole};
use crate::args::{Common, Compare};
use crate::folder::Folder;
use crate::report::Console;
use crate::size::show_size;

/// A model, open; a store with its base.
pub(super) enum Opened {
    Store(Folder, Option<Folder>),
    Source(Box<Source>),
}

impl Opened {
    /// Opens a model; `bases` are those that were given, of whatever store.
    pub(super) fn new(path: &Path, bases: &[PathBuf]) -> Result<Self> {
        match store_at(path) {
            Some(path) => {
                let folder = Folder::new(path);
                let store = Store::open(&folder)?;
                let own = base::own(&store, folder.path(), bases);
                let base = base::require(&store, folder.path(), own)?;
                Ok(Self::Store(folder, base))
            }
            None => Source::open(path).map(|source| Self::Source(Box::new(source))),
        }
    }

    /// Refuses bases that were given and belong to none of these models.
    ///
    /// # Errors
    /// `Config`, naming the first one.
    pub(super) fn use_all(models: &[&Self], bases: &[PathBuf]) -> Result<()> {
        let used = |base: &&PathBuf| {
            let path = store_path(base);
            models.iter().any(|model| match model {
                Self::Store(_, Some(base)) => base.path() == path,
                _ => false,
            })
        };
        match bases.iter().find(|base| !used(base)) {
            Some(base) => Err(Error::config(format!(
                "`{}` is not the base of a store here, or has changed",
                base.display()
            ))
            .with_hint("the base is needed as it was; leave --base out where there is none")),
            None => Ok(()),
        }
    }

    fn side<'a>(&'a self, path: &Path) -> Result<Side<'a>> {
        let path = path.display().to_string();
        match self {
            Self::Store(folder, base) => {
                Ok(Side::store(path, base::attach(Store::open(folder)?, base.as_ref())?))
            }
            Self::Source(source) => Ok(Side::model(path, &source.folder, source.model.clone())),
        }
    }

    fn unchanged<T>(&self, result: Result<T>) -> Result<T> {
        match self {
            Self::Store(folder, base) => {
                let result = folder.unchanged(result);
                base.iter().fold(result, |result, base| base.unchanged(result))
            }
            Self::Source(source) => source.folder.unchanged(result),
        }
    }
}

pub(crate) fn run(
    args: &Compare,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    let taken = [("first model", args.a.as_path()), ("second model", args.b.as_path())];
    let pages: Vec<_> = args.html.iter().cloned().collect();
    reports::Target::all(&pages, &taken, None)?;
    let first = Opened::new(&args.a, &args.base)?;
    let second = Opened::new(&args.b, &args.base)?;
    Opened::use_all(&[&first, &second], &args.base)?;
    let (a, b) = (first.side(&args.a)?, second.side(&args.b)?);
    let compared = Compared::of(&a, &b, registry, budget(common)?, &mut BytesOnly(console));
    console.end();
    let compared = first.unchanged(second.unchanged(compared))?;
    if let Some(path) = &args.html {
        write_whole(path, &Report::of_comparison(&compared).to_html()?)?;
    }
    match args.json {
        true => console.result(compared.to_json()?),
        false => show(&compared, console),
    }
    Ok(())
}

fn show(compared: &Compared, console: &mut Console) {
    for (letter, model) in [("A", &compared.a), ("B", &compared.b)] {
        let (count, size) = (tensors(model.tensors), show_size(model.bytes));
        console.result(format!("{letter}: {} ({}, {count}, {size})", model.path, model.format));
    }
    console.result("");
    let mut rows =
        vec![["tensor", "A", "B", "size", "rel. RMSE", "cosine", "largest"].map(str::to_owned)];
    rows.extend(compared.pairs.iter().map(row));
    let widths: Vec<usize> = (0..7)
        .map(|column| rows.iter().map(|row| row.get(column).map_or(0, |c| c.chars().count())).max())
        .map(Option::unwrap_or_default)
        .collect();
    for row in rows {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0..=2 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        console.result(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let same = compared.pairs.iter().filter(|pair| pair.same).count();
    console.result(format!(
        "\n{} in both, {same} of them the same; relative RMSE over all {:.4} %, cosine {:.7}",
        tensors(compared.pairs.len()),
        compared.total.relative_rmse * 100.0,
        compared.total.cosine
    ));
    for (what, names) in [
        ("only in A", &compared.only_a),
        ("only in B", &compared.only_b),
        ("of another shape", &compared.other_shape),
    ] {
        if !names.is_empty() {
            console.result(format!("{what} ({}): {}", names.len(), names.join(", ")));
        }
    }
}

fn row(pair: &Pair) -> [String; 7] {
    let name = match pair.a.name == pair.b.name || pair.a.name.is_empty() {
        true => pair.b.name.clone(),
        false => format!("{} = {}", pair.b.name, pair.a.name),
    };
    let size = match pair.a.bytes {
        0 => show_size(pair.b.bytes),
        bytes => format!("{:.3}", pair.b.bytes as f64 / bytes as f64),
    };
    let [error, cosine, largest] = match pair.same {
        true => ["same".to_owned(), String::new(), String::new()],
        false => [
            format!("{:.4} %", pair.error.relative_rmse * 100.0),
            format!("{:.7}", pair.error.cosine),
            format!("{:.3e}", pair.error.max_error),
        ],
    };
    [name, pair.a.ty.clone(), pair.b.ty.clone(), size, error, cosine, largest]
}
