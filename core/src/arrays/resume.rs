//! What identifies a conversion, and which of its shards are complete already.

use std::collections::BTreeMap;

use super::manifest::{
    FileRecord, Identity, Manifest, Options, PLAN_NOTE, PlanNote, ShardNote, parse, shard_note,
};
use super::plan::ArrayPlan;
use super::run::Done;
use crate::error::{Error, Result, ResultExt};
use crate::io::{Files, read_small};
use crate::limits::GROUP_VALUES;
use crate::progress::{Event, Progress, notify};

impl ArrayPlan<'_> {
    /// What identifies the conversion.
    pub(super) fn identity(&self) -> Result<Identity> {
        let options = Options {
            format: self.options.container.name().to_owned(),
            mxfp4: self.options.mxfp4.name().to_owned(),
            precision: self.options.precision.name().to_owned(),
            shard_size: self.options.shard_size,
        };
        let mut layout = blake3::Hasher::new();
        layout.update(concat!("gmat ", env!("CARGO_PKG_VERSION"), "\0").as_bytes());
        for array in &self.arrays {
            let line = format!(
                "{}\0{}\0{}\0{}\0{}\n",
                array.name,
                self.file(array),
                array.dtype,
                array.shape,
                array.len
            );
            layout.update(line.as_bytes());
        }
        let mut source = blake3::Hasher::new();
        for entry in &self.entries {
            let line = format!("{}\0{}\0{}\n", entry.info.name, entry.info.dtype, entry.info.shape);
            source.update(line.as_bytes());
            entry.identify(&self.origin, &mut source).context(|| self.origin.place(entry))?;
        }
        Ok(Identity {
            layout: layout.finalize().to_hex().to_string(),
            options,
            source: source.finalize().to_hex().to_string(),
            source_format: self.origin.kind().to_owned(),
        })
    }

    /// What is noted of the plan.
    pub(super) fn note(&self) -> Result<PlanNote> {
        Ok(PlanNote { identity: self.identity()?, files: self.origin.changed()? })
    }

    /// The shards in `files` that need not be written again: what an earlier run with the same plan
    /// completed, and what still has the right hash.
    ///
    /// # Errors
    /// `Config` if the earlier run had another source or other options, naming them; what reading
    /// says.
    pub fn done(&self, files: &dyn Files, progress: &mut dyn Progress) -> Result<Done> {
        let mut notes = BTreeMap::new();
        let noted = read_small(files, PLAN_NOTE)?;
        // One that was not written to the end says nothing.
        let note = noted.as_ref().and_then(|text| parse::<PlanNote>(text, "a note").ok());
        let now = self.origin.changed()?;
        let manifest = match Manifest::read(files) {
            // A run was killed while it wrote the manifest, which comes last.
            Err(_) if noted.is_some() => None,
            read => read?,
        };
        if let Some((manifest, _)) = manifest {
            self.same(&manifest.identity, files)?;
            self.noted(&manifest, &mut notes);
        } else if let Some(note) = &note {
            self.same(&note.identity, files)?;
            for shard in 0..self.shards.len() {
                let text = read_small(files, &shard_note(shard))?.unwrap_or_default();
                if let Ok(note) = parse::<ShardNote>(&text, "a note") {
                    notes.insert(shard, note);
                }
            }
        }
        if note.and_then(|note| note.files).is_some_and(|was| now.is_some_and(|now| now != was)) {
            return Err(refused(files, "files of the model have changed since"));
        }
        let records = notes.values().flat_map(|note| &note.files);
        let bytes = records.map(|record| record.bytes).fold(0, u64::saturating_add);
        notify(progress, Event::Start { tensors: notes.len(), bytes })?;
        let mut read = 0;
        let mut done = BTreeMap::new();
        for (shard, note) in notes {
            let planned = self.planned_files(shard);
            let mut same = note
                .files
                .iter()
                .map(|file| file.file.as_str())
                .eq(planned.iter().map(String::as_str));
            for record in &note.files {
                same = same && is_as_recorded(files, record, &mut read, progress)?;
            }
            if same {
                done.insert(shard, note);
            }
        }
        Ok(Done(done))
    }

    /// The files of a shard, in order.
    fn planned_files(&self, shard: usize) -> Vec<String> {
        let plan = self.shards.get(shard).map_or(0..0, |shard| shard.arrays.clone());
        let arrays = self.arrays.get(plan).unwrap_or_default();
        let mut files: Vec<String> = arrays.iter().map(|array| self.file(array)).collect();
        files.dedup();
        files
    }

    /// What notes of shards would say, from the manifest of a complete conversion.
    fn noted(&self, manifest: &Manifest, notes: &mut BTreeMap<usize, ShardNote>) {
        let records = manifest.files();
        let records: BTreeMap<&str, &FileRecord> =
            records.iter().map(|record| (record.file.as_str(), record)).collect();
        let clamped: BTreeMap<&str, u64> = manifest
            .tensors
            .iter()
            .filter(|tensor| tensor.clamped > 0)
            .map(|tensor| (tensor.name.as_str(), tensor.clamped))
            .collect();
        for (shard, plan) in self.shards.iter().enumerate() {
            let files = self.planned_files(shard);
            let files = files.iter().filter_map(|file| records.get(file.as_str()).copied());
            let arrays = self.arrays.get(plan.arrays.clone()).unwrap_or_default();
            let clamped = arrays
                .iter()
                .filter_map(|array| Some((array.name.clone(), *clamped.get(array.name.as_str())?)));
            let note =
                ShardNote { clamped: clamped.collect(), files: files.cloned().collect(), shard };
            notes.insert(shard, note);
        }
    }

    /// Refuses to go on with what another run began.
    fn same(&self, old: &Identity, files: &dyn Files) -> Result<()> {
        let new = self.identity()?;
        if *old == new {
            return Ok(());
        }
        let (was, is) = (&old.options, &new.options);
        let mut reasons = Vec::new();
        let mut differs = |option: &str, was: &str, is: &str| {
            if was != is {
                reasons.push(format!("{option} was {was} and is {is}"));
            }
        };
        differs("--format", &was.format, &is.format);
        differs("--precision", &was.precision, &is.precision);
        differs("--mxfp4", &was.mxfp4, &is.mxfp4);
        let size = |size: u64| format!("{size} bytes");
        differs("--shard-size", &size(was.shard_size), &size(is.shard_size));
        if old.source != new.source || old.source_format != new.source_format {
            reasons.push("the model is another one, or has changed".to_owned());
        }
        if reasons.is_empty() {
            reasons.push("it was made by another version of gmat".to_owned());
        }
        Err(refused(files, &reasons.join("; ")))
    }
}

fn refused(files: &dyn Files, why: &str) -> Error {
    let place = files.place("");
    Error::config(format!("the conversion in `{place}` cannot be continued: {why}"))
        .with_hint("repeat the options of that run, or add --restart to start over")
}

/// Whether a file has the length and hash that are recorded.
pub(super) fn is_as_recorded(
    files: &dyn Files,
    record: &FileRecord,
    read: &mut u64,
    progress: &mut dyn Progress,
) -> Result<bool> {
    // A folder or a broken link in its place is not the file.
    if files.len(&record.file).ok().flatten() != Some(record.bytes) {
        return Ok(false);
    }
    // One file is read after the other, so all threads hash each.
    let mut hasher = blake3::Hasher::new();
    let mut start = 0;
    while start < record.bytes {
        let end = record.bytes.min(start + GROUP_VALUES * 4);
        hasher.update_rayon(files.read(&record.file, start..end)?.as_ref().as_ref());
        *read += end - start;
        notify(progress, Event::Bytes(*read))?;
        start = end;
    }
    Ok(hasher.finalize().to_hex().as_str() == record.blake3)
}
