//! GGUF files in the making.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gmat_core::io::Sink;
use gmat_core::{Error, Result};

use super::{
    Open, PARTIAL, create_folder, create_locked, failed, nothing_open, remove_empty, with_suffix,
};
use crate::interrupt::{self, Leftover};

/// First bytes of a GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";
const SUFFIX: &str = ".gguf";

/// One or more files in the making, each written to `X.partial` and renamed by
/// [`StagedFiles::commit`], removed if dropped before.
pub(crate) struct StagedFiles {
    folder: PathBuf,
    /// Final paths, and the open files, which hold the locks of this output.
    files: Vec<(PathBuf, File)>,
    open: Option<Open>,
    /// The topmost folder that was made for this output.
    made: Option<PathBuf>,
    committed: usize,
}

impl StagedFiles {
    /// Files of these names to be written to `folder`, which is made if it does not exist. `output`
    /// is the name that the user gave: what a killed run left of it is removed.
    ///
    /// # Errors
    /// `Config` if a file of that name exists and is not a GGUF file: exports replace what exports
    /// wrote, and nothing else.
    pub(crate) fn new(folder: &Path, output: &str, names: &[&str]) -> Result<Self> {
        for name in names {
            replaceable(&folder.join(name))?;
        }
        let made = create_folder(folder)?;
        remove_leftovers(folder, output);
        Ok(Self { folder: folder.to_owned(), files: Vec::new(), open: None, made, committed: 0 })
    }

    /// Gives every file its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        for (target, _) in &self.files {
            let partial = with_suffix(target, PARTIAL);
            fs::rename(partial, target).map_err(|e| failed("write", target, e))?;
            self.committed += 1;
        }
        Ok(())
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
        let target = replaceable(&self.folder.join(name))?;
        let path = with_suffix(&target, PARTIAL);
        let lock = create_locked(&path)?;
        interrupt::register(Leftover { path: path.clone(), made: self.made.clone() });
        let failed = |error| failed("write", &path, error);
        lock.set_len(0).map_err(failed)?;
        self.open = Some(Open { file: lock.try_clone().map_err(failed)?, path });
        self.files.push((target, lock));
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
        for (number, (target, _)) in self.files.iter().enumerate() {
            let partial = with_suffix(target, PARTIAL);
            if number >= self.committed {
                // Nothing can be done about a failure here, and the name says what it is.
                let _ = fs::remove_file(&partial);
            }
            interrupt::forget(&partial);
        }
        if self.committed < self.files.len() || self.files.is_empty() {
            remove_empty(&self.folder, self.made.as_ref());
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
