//! Output that appears under its final name only when it is complete.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gmat_core::io::Sink;
use gmat_core::{Error, ErrorKind, Result};

/// Added to the name of output that is not complete.
const PARTIAL: &str = ".partial";
/// Added to the name of a store while it is replaced.
const OLD: &str = ".old.partial";
/// Added to the name of the file that says that a store is being written.
const LOCK: &str = ".lock.partial";

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let denied =
        matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
    let error = Error::io(format!("cannot {doing} `{}`", path.display()), error);
    match (full, denied) {
        (true, _) => error
            .with_hint("free some space or choose another --output; nothing incomplete was left"),
        (_, true) => error.with_hint("choose another --output, or change the permissions"),
        _ => error,
    }
}

/// A file being written.
struct Open {
    path: PathBuf,
    file: File,
}

fn create(path: &Path) -> Result<Open> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    Ok(Open { path: path.to_owned(), file: file.map_err(|e| failed("create", path, e))? })
}

/// Opens a file that no other run may have: two runs with the same output must not mix.
fn create_locked(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|e| failed("create", path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Io,
            format!("another run of gmat is writing `{}`", path.display()),
        )
        .with_hint("wait for it, or choose another --output")),
        Err(TryLockError::Error(error)) => Err(failed("lock", path, error)),
    }
}

/// Makes a folder and those above it; returns the topmost one that did not exist.
fn create_folder(path: &Path) -> Result<Option<PathBuf>> {
    let missing =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let topmost = missing.last().map(Path::to_owned);
    fs::create_dir_all(path).map_err(|e| failed("create", path, e))?;
    Ok(topmost)
}

/// Removes the folders that a failed run made, as long as they are empty.
fn remove_empty(from: &Path, topmost: Option<&PathBuf>) {
    let Some(topmost) = topmost else { return };
    for folder in from.ancestors().take_while(|folder| folder.starts_with(topmost)) {
        // One that is not empty stays, and so do those above it.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| failed("write", &self.path, e))
    }
}

fn nothing_open() -> Error {
    Error::new(ErrorKind::Io, "no output file is open")
}

/// A store in the making: written to `X.partial`, renamed to `X` by [`StagedFolder::commit`],
/// removed if dropped before.
pub(crate) struct StagedFolder {
    target: PathBuf,
    staging: PathBuf,
    open: Option<Open>,
    /// Held for the whole run: the lock of this output.
    lock: (PathBuf, File),
    /// The topmost folder that was made for this output.
    made: Option<PathBuf>,
    committed: bool,
}

impl StagedFolder {
    /// Starts afresh; `marker` is a file that an existing folder must have to be replaced.
    pub(crate) fn new(target: &Path, marker: &str) -> Result<Self> {
        if target.exists() && !target.join(marker).is_file() && !is_empty(target) {
            return Err(Error::config(format!(
                "`{}` exists and is not a store, so it is not replaced",
                target.display()
            ))
            .with_hint("choose another --output"));
        }
        let staging = with_suffix(target, PARTIAL);
        let made = match target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => create_folder(parent)?,
            None => None,
        };
        let lock = with_suffix(target, LOCK);
        let lock = (lock.clone(), create_locked(&lock)?);
        for leftover in [&staging, &with_suffix(target, OLD)] {
            if leftover.exists() {
                fs::remove_dir_all(leftover).map_err(|e| failed("remove", leftover, e))?;
            }
        }
        fs::create_dir(&staging).map_err(|e| failed("create", &staging, e))?;
        Ok(Self { target: target.to_owned(), staging, open: None, lock, made, committed: false })
    }

    /// Gives the store its name, in the place of an older one.
    pub(crate) fn commit(mut self) -> Result<()> {
        let old = with_suffix(&self.target, OLD);
        if self.target.exists() {
            fs::rename(&self.target, &old).map_err(|e| failed("replace", &self.target, e))?;
        }
        if let Err(error) = fs::rename(&self.staging, &self.target) {
            // The store that was there is better than none.
            let _ = fs::rename(&old, &self.target);
            return Err(failed("rename", &self.staging, error));
        }
        self.committed = true;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(|e| failed("remove", &old, e))?;
        }
        Ok(())
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

impl Sink for StagedFolder {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        let path = self.staging.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| failed("create", parent, e))?;
        }
        self.open = Some(create(&path)?);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().ok_or_else(nothing_open)?.append(bytes)
    }

    fn finish(&mut self) -> Result<()> {
        self.open.take().ok_or_else(nothing_open).map(drop)
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        // Nothing can be done about failures here, and the names say what these are.
        if !self.committed {
            let _ = fs::remove_dir_all(&self.staging);
        }
        let _ = fs::remove_file(&self.lock.0);
        if let (false, Some(parent)) = (self.committed, self.target.parent()) {
            remove_empty(parent, self.made.as_ref());
        }
    }
}

/// One or more files in the making, each written to `X.partial` and renamed by
/// [`StagedFiles::commit`], removed if dropped before.
pub(crate) struct StagedFiles {
    folder: PathBuf,
    /// Names, and the open files, which hold the locks of this output.
    files: Vec<(String, File)>,
    open: Option<Open>,
    /// The topmost folder that was made for this output.
    made: Option<PathBuf>,
    committed: usize,
}

impl StagedFiles {
    /// Files to be written to `folder`, which is made if it does not exist.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let made = create_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new(), open: None, made, committed: 0 })
    }

    fn partial(&self, name: &str) -> PathBuf {
        with_suffix(&self.folder.join(name), PARTIAL)
    }

    /// Gives every file its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        for (name, _) in &self.files {
            let target = self.folder.join(name);
            fs::rename(self.partial(name), &target).map_err(|e| failed("write", &target, e))?;
            self.committed += 1;
        }
        Ok(())
    }
}

impl Sink for StagedFiles {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        let target = self.folder.join(name);
        if target.exists() && !target.is_file() {
            // Renaming over a device or a pipe would destroy it.
            return Err(Error::config(format!("output `{}` is not a file", target.display()))
                .with_hint("give a file name, such as model.gguf"));
        }
        let path = self.partial(name);
        let lock = create_locked(&path)?;
        let failed = |error| failed("write", &path, error);
        lock.set_len(0).map_err(failed)?;
        self.open = Some(Open { file: lock.try_clone().map_err(failed)?, path });
        self.files.push((name.to_owned(), lock));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().ok_or_else(nothing_open)?.append(bytes)
    }

    fn finish(&mut self) -> Result<()> {
        self.open.take().ok_or_else(nothing_open).map(drop)
    }
}

impl Drop for StagedFiles {
    fn drop(&mut self) {
        for (name, _) in self.files.iter().skip(self.committed) {
            // Nothing can be done about a failure here, and the name says what it is.
            let _ = fs::remove_file(self.partial(name));
        }
        if self.committed < self.files.len() || self.files.is_empty() {
            remove_empty(&self.folder, self.made.as_ref());
        }
    }
}
