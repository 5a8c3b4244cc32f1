//! Whether a converted model is what was written, and what its source says.

use std::collections::{BTreeMap, BTreeSet};

use super::cast::Precision;
use super::entry::Origin;
use super::manifest::{FileRecord, MANIFEST, Manifest, NOTES};
use super::plan::{ArrayOptions, ArrayPlan, Mxfp4};
use super::resume::is_as_recorded;
use super::run::Done;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::io::{Files, Sink};
use crate::pipeline::Budget;
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file, as a path in the output.
    pub file: String,
    /// What is wrong, as a fragment.
    pub what: String,
}

/// Compares a converted model with its manifest: every file, its length and hash, and that there are no
/// others. With `source`, also converts that again, without writing, and compares hashes.
///
/// # Errors
/// `Io` or `Malformed` if there is no manifest that can be read; what reading the source says; what
/// `progress` says. That something differs is no error.
pub fn verify(
    files: &dyn Files,
    source: Option<Origin<'_>>,
    registry: &Registry,
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Vec<Difference>> {
    let (manifest, same) = Manifest::read(files)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Io,
            format!("no converted model here: `{}` does not exist", files.place(MANIFEST)),
        )
        .with_hint("give the folder that `gmat convert` wrote")
    })?;
    let mut differences = Vec::new();
    let mut add = |file: &str, what: String| {
        differences.push(Difference { file: file.to_owned(), what });
    };
    if !same {
        add(MANIFEST, "was changed after it was written".to_owned());
    }
    let mut records = manifest.files();
    records.push(manifest.loader.clone());
    let bytes = records.iter().map(|record| record.bytes).fold(0, u64::saturating_add);
    notify(progress, Event::Start { tensors: manifest.tensors.len(), bytes })?;
    let mut read = 0;
    for record in &records {
        match files.len(&record.file) {
            Ok(None) => add(&record.file, "is missing".to_owned()),
            Ok(Some(len)) if len != record.bytes => {
                add(&record.file, format!("has {len} bytes, {} were written", record.bytes));
            }
            Err(error) => add(&record.file, error.message().to_owned()),
            Ok(Some(_)) => {
                if !is_as_recorded(files, record, &mut read, progress)? {
                    add(&record.file, "has another hash than when it was written".to_owned());
                }
            }
        }
    }
    let known: BTreeSet<String> = manifest.paths().into_iter().collect();
    let folders: BTreeSet<&str> =
        records.iter().filter_map(|record| Some(record.file.split_once('/')?.0)).collect();
    let mut present: BTreeSet<String> =
        files.names()?.into_iter().filter(|name| !folders.contains(name.as_str())).collect();
    for folder in &folders {
        present.extend(files.names_in(folder)?.into_iter().map(|name| format!("{folder}/{name}")));
    }
    for name in present.into_iter().filter(|name| !known.contains(name) && !name.contains(NOTES)) {
        add(&name, "was not written by gmat convert".to_owned());
    }
    if let Some(origin) = source {
        differences.extend(compare(&manifest, &records, origin, registry, budget, progress)?);
    }
    Ok(differences)
}

/// Converts the source again and compares what would be written.
fn compare(
    manifest: &Manifest,
    records: &[FileRecord],
    origin: Origin<'_>,
    registry: &Registry,
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Vec<Difference>> {
    let options = &manifest.identity.options;
    let unknown = |option: &str, value: &str| {
        Error::malformed(format!("unknown {option} `{value}`"))
            .context(format!("file `{MANIFEST}`"))
    };
    let options = ArrayOptions {
        container: registry.container(&options.format).context(|| format!("file `{MANIFEST}`"))?,
        precision: Precision::from_name(&options.precision)
            .ok_or_else(|| unknown("precision", &options.precision))?,
        mxfp4: Mxfp4::from_name(&options.mxfp4).ok_or_else(|| unknown("mxfp4", &options.mxfp4))?,
        shard_size: options.shard_size,
    };
    let plan = ArrayPlan::new(origin, options, registry)?;
    let fresh = plan.run(Done::default(), None, &mut Nowhere, budget, progress)?;
    let fresh = fresh.files();
    let fresh: BTreeMap<&str, &FileRecord> =
        fresh.iter().map(|record| (record.file.as_str(), record)).collect();
    let mut differences = Vec::new();
    let mut known = BTreeSet::new();
    // All but the loader.
    for record in records.iter().filter(|record| record.file != manifest.loader.file) {
        known.insert(record.file.as_str());
        let what = match fresh.get(record.file.as_str()) {
            Some(fresh) if fresh.blake3 == record.blake3 => continue,
            Some(_) => "is not what the source gives",
            None => "is nothing that the source gives",
        };
        differences.push(Difference { file: record.file.clone(), what: what.to_owned() });
    }
    for file in fresh.keys().filter(|file| !known.contains(*file)) {
        let what = "is missing, but the source gives it".to_owned();
        differences.push(Difference { file: (*file).to_owned(), what });
    }
    Ok(differences)
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: &str, _: Option<u64>) -> Result<()> {
        Ok(())
    }

    fn append(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
