//! A folder on disk as a source of files.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use gmat_core::io::{Chunk, Files};
use gmat_core::tensor::mem_len;
use gmat_core::{Error, ErrorKind, Result};

use crate::mmap;

/// Files kept open: a store has thousands of tensors, of which one after the other is read.
const OPEN_FILES: usize = 16;

/// Smaller reads are copied: a map costs more than it saves.
const MAP_FROM: u64 = 64 << 10;

/// Length and time of the last change.
type State = (u64, Option<SystemTime>);

/// A folder on disk.
pub(crate) struct Folder {
    path: PathBuf,
    open: RefCell<VecDeque<(String, Rc<File>)>>,
    /// What files were when they were first looked at.
    seen: RefCell<BTreeMap<String, State>>,
}

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), open: RefCell::default(), seen: RefCell::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> io::Result<Rc<File>> {
        let mut open = self.open.borrow_mut();
        if let Some((_, file)) = open.iter().find(|(other, _)| other == name) {
            return Ok(Rc::clone(file));
        }
        let file = Rc::new(File::open(self.path.join(name))?);
        if open.len() == OPEN_FILES {
            open.pop_front();
        }
        open.push_back((name.to_owned(), Rc::clone(&file)));
        Ok(file)
    }

    /// Passes on how work on these files ended, if none of them has changed since it was first looked
    /// at.
    ///
    /// # Errors
    /// `Malformed`, naming the first one that has, whatever the work came to: it has read something
    /// that nobody wrote.
    pub(crate) fn unchanged<T>(&self, result: Result<T>) -> Result<T> {
        for (name, seen) in self.seen.borrow().iter() {
            if fs::metadata(self.path.join(name)).ok().map(|found| state(&found)) != Some(*seen) {
                return Err(Error::malformed(format!(
                    "`{}` was changed while it was read",
                    self.place(name)
                ))
                .with_hint("wait until whatever writes it is done, then start again"));
            }
        }
        result
    }

    fn note(&self, name: &str, metadata: &fs::Metadata) {
        let mut seen = self.seen.borrow_mut();
        if !seen.contains_key(name) {
            seen.insert(name.to_owned(), state(metadata));
        }
    }

    fn cannot(&self, doing: &str, name: &str, error: io::Error) -> Error {
        Error::io(format!("cannot {doing} `{}`", self.place(name)), error)
    }
}

fn state(metadata: &fs::Metadata) -> State {
    (metadata.len(), metadata.modified().ok())
}

impl Files for Folder {
    fn names(&self) -> Result<Vec<String>> {
        let failed = |error| self.cannot("list", "", error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // `metadata` follows links: model caches are full of them. A link that leads nowhere is
            // listed, and so is a folder that is called like a file: whoever wants to read it must
            // not take it for absent. A name that is not UTF-8 cannot be one that we look for.
            let path = entry.path();
            let folder = fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            let plain = folder && path.extension().is_none();
            if let (false, Ok(name)) = (plain, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path.join(folder);
        // A file of that name is none of its files' folder.
        if path.is_dir() { Self::new(path).names() } else { Ok(Vec::new()) }
    }

    fn len(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path.join(name);
        let is =
            |what: &str| Error::new(ErrorKind::Io, format!("`{}` is {what}", self.place(name)));
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                self.note(name, &metadata);
                Ok(Some(metadata.len()))
            }
            Ok(metadata) if metadata.is_dir() => {
                Err(is("a folder, not a file")
                    .with_hint("move it away if it does not belong there"))
            }
            Ok(_) => Err(is("not a regular file").with_hint("copy its content to a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                Err(is("a link that leads nowhere")
                    .with_hint("download the model again, or remove the link if it is not needed"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.cannot("open", name, error)),
        }
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        let file = self.file(name).map_err(|e| self.cannot("open", name, e))?;
        let failed = |error| self.cannot("read", name, error);
        let metadata = file.metadata().map_err(failed)?;
        self.note(name, &metadata);
        let len = metadata.len();
        if range.end > len {
            return Err(Error::malformed(format!(
                "`{}` has become shorter: {len} bytes, but bytes {} to {} are wanted",
                self.place(name),
                range.start,
                range.end
            )));
        }
        let size = range.end.saturating_sub(range.start);
        if size >= MAP_FROM
            && let Some(map) = mmap::map(&file, range.start, mem_len(size)?).map_err(failed)?
        {
            return Ok(Box::new(map));
        }
        let mut bytes = vec![0; mem_len(size)?];
        let mut file: &File = &file;
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(Box::new(bytes))
    }

    fn changed(&self, name: &str) -> Result<Option<String>> {
        let metadata = fs::metadata(self.path.join(name));
        let (_, time) = state(&metadata.map_err(|e| self.cannot("open", name, e))?);
        let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        Ok(since.map(|since| since.as_nanos().to_string()))
    }

    fn place(&self, name: &str) -> String {
        match name {
            "" => self.path.display().to_string(),
            _ => self.path.join(name).display().to_string(),
        }
    }
}
