//! Output that appears under its final name only when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gmat_core::io::Sink;
use gmat_core::{Error, ErrorKind, Result};

/// Added to the name of output that is not complete.
const PARTIAL: &str = ".partial";

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
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|e| failed("create", parent, e))?;
        }
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(|e| failed("remove", &staging, e))?;
        }
        fs::create_dir(&staging).map_err(|e| failed("create", &staging, e))?;
        Ok(Self { target: target.to_owned(), staging, open: None, committed: false })
    }

    /// Gives the store its name, in the place of an older one.
    pub(crate) fn commit(mut self) -> Result<()> {
        let old = with_suffix(&self.target, ".old.partial");
        if self.target.exists() {
            fs::rename(&self.target, &old).map_err(|e| failed("replace", &self.target, e))?;
        }
        fs::rename(&self.staging, &self.target).map_err(|e| failed("rename", &self.staging, e))?;
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
        if !self.committed {
            // Nothing can be done about a failure here, and the name says what it is.
            let _ = fs::remove_dir_all(&self.staging);
        }
    }
}

/// One or more files in the making, each written to `X.partial` and renamed by
/// [`StagedFiles::commit`], removed if dropped before.
pub(crate) struct StagedFiles {
    folder: PathBuf,
    names: Vec<String>,
    open: Option<Open>,
    committed: usize,
}

impl StagedFiles {
    /// Files to be written to `folder`, which is made if it does not exist.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| failed("create", folder, e))?;
        Ok(Self { folder: folder.to_owned(), names: Vec::new(), open: None, committed: 0 })
    }

    fn partial(&self, name: &str) -> PathBuf {
        with_suffix(&self.folder.join(name), PARTIAL)
    }

    /// Gives every file its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        for name in &self.names {
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
        if target.is_dir() {
            return Err(Error::config(format!("output `{}` is a folder", target.display()))
                .with_hint("give a file name, such as model.gguf"));
        }
        self.open = Some(create(&self.partial(name))?);
        self.names.push(name.to_owned());
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
        for name in self.names.iter().skip(self.committed) {
            // Nothing can be done about a failure here, and the name says what it is.
            let _ = fs::remove_file(self.partial(name));
        }
    }
}
