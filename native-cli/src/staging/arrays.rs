//! A converted model in the making.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gmat_core::arrays::{Done, MANIFEST, Manifest, NOTES};
use gmat_core::io::Sink;
use gmat_core::{Error, Result};

use super::failed;
use super::folder::OutputFolder;
use super::room::Room;
use crate::folder::Folder;

/// A folder written to `X.partial`, renamed to `X` by [`StagedArrays::commit`]. What a run that ends
/// before has completed stays there for the next one, which may go on with it.
pub(crate) struct StagedArrays {
    out: OutputFolder,
}

impl StagedArrays {
    /// Starts, or with `resume` takes up what is there. A converted model of that name is replaced on
    /// commit, if that loses nothing else: neither `inputs`, nor files of the user.
    pub(crate) fn new(target: &Path, inputs: &[PathBuf], resume: bool) -> Result<Self> {
        let out = OutputFolder::claim(target, inputs, refuse_foreign)?;
        if out.staging.exists() && !resume {
            fs::remove_dir_all(&out.staging).map_err(|e| failed("remove", &out.staging, e))?;
        }
        Ok(Self { out })
    }

    /// The folder with what an earlier run has completed, if there is one.
    pub(crate) fn earlier(&self) -> Option<Folder> {
        let found =
            [&self.out.staging, &self.out.target].into_iter().find(|folder| folder.is_dir());
        found.map(|folder| Folder::new(folder.as_path()))
    }

    /// Whether all of it has its final name.
    pub(crate) fn is_complete(&self) -> bool {
        !self.out.staging.exists() && self.out.target.join(MANIFEST).exists()
    }

    /// Prepares for writing `needed` bytes in all. Of what is there these shards stay, nothing else.
    ///
    /// # Errors
    /// `Io` if there is no room for the rest.
    pub(crate) fn prepare(&mut self, done: &Done, needed: u64) -> Result<()> {
        if !done.is_empty() && self.is_complete() {
            fs::rename(&self.out.target, &self.out.staging)
                .map_err(|e| failed("rename", &self.out.target, e))?;
        }
        fs::create_dir_all(&self.out.staging)
            .map_err(|e| failed("create", &self.out.staging, e))?;
        let kept: BTreeSet<PathBuf> =
            done.files().map(|file| self.out.staging.join(file)).collect();
        let stays = |path: &Path| {
            kept.contains(path) || kept.iter().any(|file| file.parent() == Some(path))
        };
        for path in entries(&self.out.staging)? {
            // Notes and manifest say which shards are complete.
            let note = path.ends_with(NOTES) || path.ends_with(MANIFEST);
            if note && !done.is_empty() {
                continue;
            }
            if !stays(&path) {
                remove(&path)?;
            } else if path.is_dir() {
                let odd = entries(&path)?.into_iter().filter(|inner| !kept.contains(inner));
                odd.into_iter().try_for_each(|inner| remove(&inner))?;
            }
        }
        let there = kept.iter().map(|path| fs::metadata(path).map_or(0, |found| found.len())).sum();
        self.out.room = Room::ask(&self.out.staging, needed, there)?;
        Ok(())
    }

    /// The folder that is being written.
    pub(crate) fn folder(&self) -> Folder {
        Folder::new(&self.out.staging)
    }

    /// Gives the folder its name, in the place of an older one.
    pub(crate) fn commit(mut self) -> Result<()> {
        self.out.check_target()?;
        remove(&self.out.staging.join(NOTES))?;
        self.out.commit()
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).map_err(|e| failed("read", folder, e))?;
    list.map(|entry| Ok(entry.map_err(|e| failed("read", folder, e))?.path())).collect()
}

fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() && !path.is_symlink() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.map_err(|e| failed("remove", path, e))
}

/// Only a converted model may be replaced, and only if it holds nothing else.
fn refuse_foreign(target: &Path) -> Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let refused = |why: String| {
        Err(Error::config(format!("`{}` {why}, so it is not replaced", target.display()))
            .with_hint("choose another --output, or move that away"))
    };
    if !target.is_dir() {
        return refused("exists and is not a folder".to_owned());
    }
    let present = entries(target)?;
    if present.is_empty() {
        return Ok(());
    }
    let Ok(Some((manifest, _))) = Manifest::read(&Folder::new(target)) else {
        return refused("exists and is not a model that gmat converted".to_owned());
    };
    let known: BTreeSet<PathBuf> =
        manifest.paths().into_iter().map(|path| target.join(path)).collect();
    let mut odd = Vec::new();
    for path in present {
        let folder = known.iter().any(|file| file.parent() == Some(&path));
        if folder && path.is_dir() {
            odd.extend(entries(&path)?.into_iter().filter(|inner| !known.contains(inner)));
        } else if !known.contains(&path) {
            odd.push(path);
        }
    }
    odd.sort();
    let Some(first) = odd.first() else { return Ok(()) };
    let first = first.strip_prefix(target).unwrap_or(first);
    let more = match odd.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    refused(format!("holds `{}`{more}, which convert did not write", first.display()))
}

impl Sink for StagedArrays {
    fn begin(&mut self, name: &str, len: Option<u64>) -> Result<()> {
        self.out.begin(name, len)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.append(bytes)
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }
}

impl StagedArrays {
    /// Whether a shard is complete.
    pub(crate) fn has_shards(&self) -> bool {
        let is_shard = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("shard_"))
        };
        let notes = entries(&self.out.staging.join(NOTES)).unwrap_or_default();
        notes.iter().any(is_shard) || self.out.staging.join(MANIFEST).exists()
    }
}

impl Drop for StagedArrays {
    fn drop(&mut self) {
        self.out.keep = self.has_shards();
    }
}
