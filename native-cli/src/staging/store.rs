//! A store in the making.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use gmat_core::io::Sink;
use gmat_core::resume::Fingerprint;
use gmat_core::store::{METADATA, SOURCE_KEYS, TOKENS};
use gmat_core::{Error, Result};

use super::room::Room;
use super::{
    Open, PARTIAL, create_folder, create_in, create_locked, failed, kept, may_go_on, nothing_open,
    remove_empty, with_suffix, write_whole,
};
use crate::folder::Folder;

/// Added to the name of a store while it is replaced.
pub(super) const OLD: &str = ".old.partial";
/// Added to the name of the file that says that a store is being written.
pub(super) const LOCK: &str = ".lock.partial";
/// The file in an unfinished store that says what is being imported.
const PLAN: &str = "import.partial";
/// The folder of tensor files in a store.
const TENSORS: &str = "tensors";

/// A store in the making: written to `X.partial`, renamed to `X` by [`StagedFolder::commit`]. If the
/// run is stopped, it stays for the run that goes on; otherwise it is removed if dropped before.
pub(crate) struct StagedFolder {
    target: PathBuf,
    staging: PathBuf,
    open: Option<Open>,
    /// Held for the whole run: the lock of this output.
    lock: (PathBuf, File),
    /// The topmost folder that was made for this output.
    made: Option<PathBuf>,
    room: Room,
    /// Finished files.
    finished: usize,
    /// Whether an interrupted run finished some of them.
    resumed: bool,
    keep: bool,
    committed: bool,
}

impl StagedFolder {
    /// Takes hold of the output. A store that is there already is replaced on commit, if that loses
    /// nothing but the store: neither `inputs`, which are still to be read, nor files of the user.
    pub(crate) fn new(target: &Path, inputs: &[PathBuf]) -> Result<Self> {
        let (staging, old) = (with_suffix(target, PARTIAL), with_suffix(target, OLD));
        for folder in [target, &staging, &old] {
            refuse_inputs(folder, inputs)?;
        }
        refuse_foreign(target)?;
        let made = match target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => create_folder(parent)?,
            None => None,
        };
        let lock = with_suffix(target, LOCK);
        let lock = (lock.clone(), create_locked(&lock)?);
        restore(target, &old)?;
        let target = target.to_owned();
        let room = Room::default();
        let (open, finished, resumed, keep, committed) = (None, 0, false, true, false);
        Ok(Self { target, staging, open, lock, made, room, finished, resumed, keep, committed })
    }

    /// What an interrupted run of that fingerprint left, with `restart` nothing; anything else that
    /// is there is removed.
    ///
    /// # Errors
    /// `Config` if that run was another one: its output is not thrown away unasked.
    pub(crate) fn existing(
        &mut self,
        fingerprint: &Fingerprint,
        restart: bool,
    ) -> Result<Option<Folder>> {
        let plan = self.staging.join(PLAN);
        let found = if restart { None } else { fs::read_to_string(&plan).ok() };
        if let Some(line) = found {
            fingerprint.check(line.trim_end())?;
            self.resumed = true;
            return Ok(Some(Folder::new(&self.staging)));
        }
        remove_folder(&self.staging)?;
        self.keep = false;
        fs::create_dir(&self.staging).map_err(|e| failed("create", &self.staging, e))?;
        write_whole(&plan, &format!("{}\n", fingerprint.to_line()?))?;
        Ok(None)
    }

    /// Asks for room for so many bytes, less what an interrupted run has written.
    ///
    /// # Errors
    /// `Io` if there is less.
    pub(crate) fn ask_for_room(&mut self, needed: u64) -> Result<()> {
        let mut there = 0;
        for path in [self.staging.clone(), self.staging.join(TENSORS)] {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                there += entry
                    .metadata()
                    .map_or(0, |found| if found.is_file() { found.len() } else { 0 });
            }
        }
        self.keep = self.resumed;
        self.room = Room::ask(&self.staging, needed, there)?;
        Ok(())
    }

    /// Passes on how the run ended. If it may go on later, what is finished is kept.
    pub(crate) fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            // Whatever becomes of this run, it does not lose what another one finished.
            self.keep = self.resumed || self.finished > 0 && may_go_on(&error);
            if self.keep { kept(error) } else { error }
        })
    }

    /// Gives the store its name, in the place of an older one.
    pub(crate) fn commit(mut self) -> Result<()> {
        // Something may have been put there meanwhile.
        refuse_foreign(&self.target)?;
        let plan = self.staging.join(PLAN);
        fs::remove_file(&plan).map_err(|e| failed("remove", &plan, e))?;
        // The store must not survive a power cut without its content. Until here, the system has had
        // time to write most of it.
        sync(&self.staging)?;
        self.keep = false;
        swap(&self.staging, &self.target)?;
        self.committed = true;
        Ok(())
    }
}

/// Has the system write what the files of a folder hold, and those of its folders.
pub(super) fn sync(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| failed("read", folder, e))? {
        let path = entry.map_err(|e| failed("read", folder, e))?.path();
        if path.is_dir() {
            sync(&path)?;
        } else {
            let synced = File::open(&path).and_then(|file| file.sync_data());
            synced.map_err(|e| failed("write", &path, e))?;
        }
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<()> {
    match path.exists() {
        true => fs::remove_dir_all(path).map_err(|e| failed("remove", path, e)),
        false => Ok(()),
    }
}

/// Puts right what a run left that was killed between the two renames of [`swap`], or after them.
pub(super) fn restore(target: &Path, old: &Path) -> Result<()> {
    if old.exists() && !target.exists() {
        fs::rename(old, target).map_err(|e| failed("restore", target, e))?;
    }
    if old.exists() {
        fs::remove_dir_all(old).map_err(|e| failed("remove", old, e))?;
    }
    Ok(())
}

/// Gives a folder its final name, in the place of an older one.
pub(super) fn swap(staging: &Path, target: &Path) -> Result<()> {
    let old = with_suffix(target, OLD);
    if target.exists() {
        fs::rename(target, &old).map_err(|e| failed("replace", target, e))?;
    }
    if let Err(error) = fs::rename(staging, target) {
        // What was there is better than nothing.
        let _ = fs::rename(&old, target);
        return Err(failed("rename", staging, error));
    }
    if old.exists() {
        fs::remove_dir_all(&old).map_err(|e| failed("remove", &old, e))?;
    }
    Ok(())
}

/// Replacing a store must not remove what it is made from.
pub(super) fn refuse_inputs(folder: &Path, inputs: &[PathBuf]) -> Result<()> {
    let Ok(real) = folder.canonicalize() else { return Ok(()) };
    let inside =
        |input: &&PathBuf| input.canonicalize().is_ok_and(|input| input.starts_with(&real));
    match inputs.iter().find(inside) {
        Some(input) => Err(Error::config(format!(
            "the model is inside the output: `{}` would be removed with what `{}` holds now",
            input.display(),
            folder.display()
        ))
        .with_hint("move the model out of there, or choose another --output")),
        None => Ok(()),
    }
}

/// Only a store may be replaced, and only one that holds nothing but what import writes.
fn refuse_foreign(target: &Path) -> Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let names = |folder: &Path| -> Result<Vec<String>> {
        let list = fs::read_dir(folder).map_err(|e| failed("read", folder, e))?;
        let names = list.map(|entry| {
            let entry = entry.map_err(|e| failed("read", folder, e))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        });
        names.collect()
    };
    let is_store = target.join(METADATA).symlink_metadata().is_ok();
    let present = if target.is_dir() { names(target)? } else { Vec::new() };
    if !is_store && (!present.is_empty() || !target.is_dir()) {
        return Err(Error::config(format!(
            "`{}` exists and is not a store, so it is not replaced",
            target.display()
        ))
        .with_hint("choose another --output"));
    }
    let mut foreign: Vec<String> = present
        .into_iter()
        .filter(|name| ![METADATA, TOKENS, SOURCE_KEYS, TENSORS].contains(&name.as_str()))
        .collect();
    let tensors = target.join(TENSORS);
    if tensors.is_dir() {
        let odd = names(&tensors)?.into_iter().filter(|name| !is_tensor_file(name));
        foreign.extend(odd.map(|name| format!("{TENSORS}/{name}")));
    }
    foreign.sort();
    let Some(first) = foreign.first() else { return Ok(()) };
    let more = match foreign.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Err(Error::config(format!(
        "`{}` holds `{first}`{more}, which import did not write, so it is not replaced",
        target.display()
    ))
    .with_hint("move that away, or choose another --output"))
}

/// `0d98dc51-3b90-5c81-a26f-5aaf7cc82671.gmat`.
fn is_tensor_file(name: &str) -> bool {
    let id = name.strip_suffix(".gmat").unwrap_or_default();
    id.len() == 36 && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

impl Sink for StagedFolder {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        self.open = Some(create_in(&self.staging, name)?);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().ok_or_else(nothing_open)?.append(bytes, &mut self.room)
    }

    fn finish(&mut self) -> Result<()> {
        self.open.take().ok_or_else(nothing_open)?;
        self.finished += 1;
        Ok(())
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        // Nothing can be done about failures here, and the names say what these are.
        if !self.committed && !self.keep {
            let _ = fs::remove_dir_all(&self.staging);
        }
        let _ = fs::remove_file(&self.lock.0);
        if let (false, Some(parent)) = (self.committed, self.target.parent()) {
            remove_empty(parent, self.made.as_ref());
        }
    }
}
