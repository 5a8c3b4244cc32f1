//! GGUF files in the making.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use gmat_core::export::{ExportPlan, Finished};
use gmat_core::io::{Chunk, Files, Sink};
use gmat_core::{Error, Result};

use super::room::Room;
use super::{
    Open, PARTIAL, create_folder, create_locked, failed, kept, may_go_on, nothing_open,
    remove_empty, with_suffix,
};
use crate::folder::Folder;

/// First bytes of a GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";
const SUFFIX: &str = ".gguf";

/// Added to the name of the output for the journal of what is finished.
const JOURNAL: &str = ".journal.partial";

/// One or more files in the making, each written to `X.partial` and renamed by
/// [`StagedFiles::commit`]. If the run is stopped, they stay for the run that goes on; otherwise they
/// are removed if dropped before.
pub(crate) struct StagedFiles {
    folder: PathBuf,
    output: String,
    /// Final paths, and the open files, which hold the locks of this output.
    files: Vec<(PathBuf, File)>,
    open: Option<Open>,
    /// What is finished; locked for the whole run.
    journal: (PathBuf, File),
    /// The topmost folder that was made for this output.
    made: Option<PathBuf>,
    room: Room,
    /// Finished tensors in the partial files.
    finished: usize,
    /// Whether an interrupted run finished some of them.
    resumed: bool,
    keep: bool,
    committed: usize,
}

impl StagedFiles {
    /// Files of these names to be written to `folder`, which is made if it does not exist. `output`
    /// is the name that the user gave.
    ///
    /// # Errors
    /// `Config` if a file of that name exists and is not a GGUF file: exports replace what exports
    /// wrote, and nothing else.
    pub(crate) fn new(folder: &Path, output: &str, names: &[&str]) -> Result<Self> {
        for name in names {
            replaceable(&folder.join(name))?;
        }
        let made = create_folder(folder)?;
        let journal = with_suffix(&folder.join(output), JOURNAL);
        let file = create_locked(&journal)?;
        Ok(Self {
            folder: folder.to_owned(),
            output: output.to_owned(),
            files: Vec::new(),
            open: None,
            journal: (journal, file),
            made,
            room: Room::default(),
            finished: 0,
            resumed: false,
            keep: false,
            committed: 0,
        })
    }

    /// What of `plan` an interrupted run finished, with `restart` nothing; anything else that it
    /// left is removed.
    ///
    /// # Errors
    /// `Config` if that run was of another plan: its output is not thrown away unasked; `Io` if there
    /// is no room for the rest.
    pub(crate) fn finished(&mut self, plan: &ExportPlan<'_>, restart: bool) -> Result<Finished> {
        let failed = |error| failed("read", &self.journal.0, error);
        let mut text = String::new();
        let mut file = &self.journal.1;
        file.read_to_string(&mut text).map_err(failed)?;
        let begun = text.contains('\n') && !restart;
        // Until it is known to be of no use.
        self.keep = begun;
        let partials = Partials { folder: &self.folder, files: Folder::new("") };
        let finished = match begun {
            true => plan.finished(&partials, &text)?,
            false => Finished::default(),
        };
        (self.keep, self.resumed) = (false, finished.tensors() > 0);
        let lines = if finished.tensors() == 0 { 0 } else { finished.tensors() + 1 };
        let kept: usize = text.split_inclusive('\n').take(lines).map(str::len).sum();
        self.journal.1.set_len(kept as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        if finished.tensors() == 0 {
            remove_leftovers(&self.folder, &self.output);
        }
        let needed = plan.files().map(|(_, len)| len).sum();
        // Nor does it if there is no room.
        self.keep = self.resumed;
        self.room = Room::ask(&self.folder, needed, plan.written(&finished))?;
        self.keep = false;
        if finished.tensors() == 0 {
            self.checkpoint(&plan.fingerprint()?.to_line()?)?;
            self.finished = 0;
        }
        Ok(finished)
    }

    /// Passes on how the run ended. If it may go on later, what is finished is kept.
    pub(crate) fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            // Whatever becomes of this run, it does not lose what another one finished.
            self.keep = self.resumed || self.finished > 0 && may_go_on(&error);
            if self.keep { kept(error) } else { error }
        })
    }

    /// Gives every file its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        for (target, file) in &self.files {
            let partial = with_suffix(target, PARTIAL);
            let failed = |e| failed("write", target, e);
            // A name must not survive a power cut that its content does not.
            file.sync_data().map_err(failed)?;
            fs::rename(partial, target).map_err(failed)?;
            self.committed += 1;
        }
        Ok(())
    }

    /// Opens the partial file of a name.
    fn open(&mut self, name: &str, kept: u64) -> Result<()> {
        let target = replaceable(&self.folder.join(name))?;
        let path = with_suffix(&target, PARTIAL);
        let mut lock = create_locked(&path)?;
        let failed = |error| failed("write", &path, error);
        lock.set_len(kept).map_err(failed)?;
        lock.seek(SeekFrom::End(0)).map_err(failed)?;
        self.open = Some(Open { file: lock.try_clone().map_err(failed)?, path });
        self.files.push((target, lock));
        Ok(())
    }
}

/// The files that an interrupted run left, under the names that they would have got.
struct Partials<'a> {
    folder: &'a Path,
    files: Folder,
}

impl Partials<'_> {
    fn real(&self, name: &str) -> Result<String> {
        let path = with_suffix(&replaceable(&self.folder.join(name))?, PARTIAL);
        path.into_os_string().into_string().map_err(|path| {
            Error::config(format!("the path `{}` is not UTF-8", path.to_string_lossy()))
        })
    }
}

impl Files for Partials<'_> {
    fn names(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn len(&self, name: &str) -> Result<Option<u64>> {
        self.files.len(&self.real(name)?)
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        self.files.read(&self.real(name)?, range)
    }

    fn place(&self, name: &str) -> String {
        self.real(name).unwrap_or_else(|_| name.to_owned())
    }
}

/// Where a file is really written: through a link, which stays what it is.
fn resolved(path: &Path) -> Result<PathBuf> {
    if !path.is_symlink() {
        return Ok(path.to_owned());
    }
    path.canonicalize().map_err(|error| {
        Error::io(format!("output `{}` is a link that leads nowhere", path.display()), error)
            .with_hint("remove the link, or choose another --output")
    })
}

/// The path to write to, if nothing is lost that no export wrote.
fn replaceable(path: &Path) -> Result<PathBuf> {
    let target = resolved(path)?;
    let Ok(metadata) = fs::metadata(&target) else { return Ok(target) };
    if !metadata.is_file() {
        // Renaming over a device or a pipe would destroy it.
        return Err(Error::config(format!("output `{}` is not a file", path.display()))
            .with_hint("give a file name, such as model.gguf"));
    }
    let mut magic = [0; 4];
    let read = |mut file: File| file.read_exact(&mut magic);
    let read = File::open(&target).and_then(read);
    if metadata.len() > 0 && (read.is_err() || &magic != MAGIC) {
        return Err(Error::config(format!(
            "`{}` exists and is not a GGUF file, so it is not replaced",
            path.display()
        ))
        .with_hint("choose another --output, or remove that file first"));
    }
    Ok(target)
}

/// Removes partial files of this output, whole or split, that nobody is writing.
fn remove_leftovers(folder: &Path, output: &str) {
    let stem = output.strip_suffix(SUFFIX).unwrap_or(output);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(PARTIAL)) else {
            continue;
        };
        if name != output && !is_part(name, stem) {
            continue;
        }
        let path = entry.path();
        let free = OpenOptions::new().write(true).open(&path).is_ok_and(|f| f.try_lock().is_ok());
        if free {
            // One that cannot be removed is in nobody's way.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether a name is `STEM-00001-of-00003.gguf`.
fn is_part(name: &str, stem: &str) -> bool {
    let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(SUFFIX));
    let numbers = rest.and_then(|rest| rest.strip_prefix('-')?.split_once("-of-"));
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(number, count)| digits(number) && digits(count))
}

impl Sink for StagedFiles {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        self.open(name, 0)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().ok_or_else(nothing_open)?.append(bytes, &mut self.room)
    }

    fn finish(&mut self) -> Result<()> {
        self.open.take().ok_or_else(nothing_open).map(drop)
    }

    fn reopen(&mut self, name: &str, kept: u64) -> Result<()> {
        self.open(name, kept)
    }

    fn checkpoint(&mut self, line: &str) -> Result<()> {
        let (path, file) = &mut self.journal;
        let written = file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| self.room.told("write", path, error))?;
        self.finished += 1;
        Ok(())
    }
}

impl Drop for StagedFiles {
    fn drop(&mut self) {
        // Nothing can be done about failures here, and the names say what these files are.
        if !self.keep {
            for (target, _) in self.files.iter().skip(self.committed) {
                let _ = fs::remove_file(with_suffix(target, PARTIAL));
            }
            let _ = fs::remove_file(&self.journal.0);
            if self.committed < self.files.len() || self.files.is_empty() {
                remove_empty(&self.folder, self.made.as_ref());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_part;

    #[test]
    fn parts_of_a_split() {
        assert!(is_part("m-00001-of-00003.gguf", "m"));
        for other in ["m.gguf", "m-1-of-3.gguf", "mm-00001-of-00003.gguf", "m-00001-of-00003"] {
            assert!(!is_part(other, "m"), "{other}");
        }
    }
}
