//! Output that appears under its final name only when it is complete.

pub(crate) use self::arrays::StagedArrays;
pub(crate) use self::files::StagedFiles;
pub(crate) use self::store::StagedFolder;

mod arrays;
mod files;
mod folder;
mod room;
mod store;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gmat_core::{Error, ErrorKind, Result};

use self::room::Room;

/// Added to the name of output that is not complete.
const PARTIAL: &str = ".partial";

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as Kind;
    let hint = match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => "free some space or choose another --output",
        Kind::FileTooLarge => {
            "files of that size are not allowed here; choose another --output, or for GGUF a --shard-size"
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "choose another --output, or change the permissions"
        }
        Kind::NotADirectory | Kind::AlreadyExists => {
            "a part of the path is a file, not a folder; choose another --output"
        }
        _ => "choose another --output if this cannot be helped",
    };
    Error::io(format!("cannot {doing} `{}`", path.display()), error).with_hint(hint)
}

/// Whether the same run may succeed later: it was stopped, or the system had no room.
fn may_go_on(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Io)
}

/// The error of a run whose output is kept.
fn kept(error: Error) -> Error {
    const AGAIN: &str = "what is finished is kept: give the same command again to go on, with \
                         --restart to start over";
    match error.hint().is_some_and(|hint| hint.contains("--restart")) {
        true => error,
        false => error.and_hint(AGAIN),
    }
}

/// Writes a small file, which has its name only when it is whole.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let partial = with_suffix(path, PARTIAL);
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // What is left of it is of no use; if even this fails, the name says what it is.
        let _ = fs::remove_file(&partial);
        Error::io(format!("cannot write `{}`", path.display()), error)
            .with_hint("free some space there, or work in another folder")
    })
}

/// A file being written.
struct Open {
    path: PathBuf,
    file: File,
}

/// Creates a file of a folder, and the folders in its name.
fn create_in(folder: &Path, name: &str, room: &Room) -> Result<Open> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| room.told("create", parent, e))?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(|e| room.told("create", &path, e))?;
    Ok(Open { path, file })
}

/// Opens a file that no other run may have: two runs with the same output must not mix.
fn create_locked(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
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
pub(crate) fn remove_empty(from: &Path, topmost: Option<&PathBuf>) {
    let Some(topmost) = topmost else { return };
    for folder in from.ancestors().take_while(|folder| folder.starts_with(topmost)) {
        // One that is not empty stays, and so do those above it.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8], room: &mut Room) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| room.told("write", &self.path, error))?;
        room.add(bytes.len());
        Ok(())
    }
}

fn nothing_open() -> Error {
    Error::new(ErrorKind::Io, "no output file is open")
}
