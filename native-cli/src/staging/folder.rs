//! Output that is a folder: written beside its place, and put there when it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use gmat_core::io::Sink;
use gmat_core::{Error, Result};

use super::room::Room;
use super::{
    Open, PARTIAL, create_folder, create_in, create_locked, failed, nothing_open, remove_empty,
    with_suffix,
};

/// Added to the name of a folder while it is replaced.
const OLD: &str = ".old.partial";
/// Added to the name of the file that says that a folder is being written.
const LOCK: &str = ".lock.partial";

/// A folder in the making: `X.partial`, renamed to `X` by [`OutputFolder::commit`]. Unless `keep` says
/// otherwise, it is removed if dropped before.
pub(super) struct OutputFolder {
    pub(super) target: PathBuf,
    pub(super) staging: PathBuf,
    pub(super) room: Room,
    /// Whether what was written stays for a run that goes on.
    pub(super) keep: bool,
    open: Option<Open>,
    /// Held for the whole run: the lock of this output.
    lock: (PathBuf, File),
    /// The topmost folder that was made for this output.
    made: Option<PathBuf>,
    /// Refuses to replace what is not of this kind.
    refuse_foreign: fn(&Path) -> Result<()>,
    committed: bool,
}

impl OutputFolder {
    /// Takes hold of the output. What is there is replaced on commit, if that loses neither `inputs`,
    /// which are still to be read, nor what `refuse_foreign` refuses to lose.
    pub(super) fn claim(
        target: &Path,
        inputs: &[PathBuf],
        refuse_foreign: fn(&Path) -> Result<()>,
    ) -> Result<Self> {
        let (staging, old) = (with_suffix(target, PARTIAL), with_suffix(target, OLD));
        for folder in [target, &staging, &old] {
            refuse_inputs(folder, inputs)?;
        }
        refuse_foreign(target)?;
        let made = create_folder(parent(target))?;
        let lock = with_suffix(target, LOCK);
        let lock = (lock.clone(), create_locked(&lock)?);
        restore(target, &old)?;
        Ok(Self {
            target: target.to_owned(),
            staging,
            room: Room::default(),
            keep: true,
            open: None,
            lock,
            made,
            refuse_foreign,
            committed: false,
        })
    }

    /// The folder that the output is in.
    pub(super) fn parent(&self) -> &Path {
        parent(&self.target)
    }

    /// Looks once more at what is to be replaced: something may have been put there meanwhile.
    pub(super) fn check_target(&self) -> Result<()> {
        (self.refuse_foreign)(&self.target)
    }

    /// Gives the folder its name, in the place of an older one.
    pub(super) fn commit(&mut self) -> Result<()> {
        // The name must not survive a power cut without its content. Until here, the system has had
        // time to write most of it.
        sync(&self.staging)?;
        swap(&self.staging, &self.target)?;
        self.committed = true;
        Ok(())
    }
}

/// The folder that something is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Has the system write what all files of a folder hold.
fn sync(folder: &Path) -> Result<()> {
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

/// Puts right what a run left that was killed between the two renames of [`swap`], or after them.
fn restore(target: &Path, old: &Path) -> Result<()> {
    if old.exists() && !target.exists() {
        fs::rename(old, target).map_err(|e| failed("restore", target, e))?;
    }
    if old.exists() {
        fs::remove_dir_all(old).map_err(|e| failed("remove", old, e))?;
    }
    Ok(())
}

/// Gives a folder its final name, in the place of an older one.
fn swap(staging: &Path, target: &Path) -> Result<()> {
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
fn refuse_inputs(folder: &Path, inputs: &[PathBuf]) -> Result<()> {
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

impl Sink for OutputFolder {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        self.open = Some(create_in(&self.staging, name, &self.room)?);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().ok_or_else(nothing_open)?.append(bytes, &mut self.room)
    }

    fn finish(&mut self) -> Result<()> {
        self.open.take().ok_or_else(nothing_open).map(drop)
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        // Nothing can be done about failures here, and the names say what these are.
        if !self.committed && !self.keep {
            let _ = fs::remove_dir_all(&self.staging);
        }
        let _ = fs::remove_file(&self.lock.0);
        if !self.committed {
            remove_empty(parent(&self.target), self.made.as_ref());
        }
    }
}
