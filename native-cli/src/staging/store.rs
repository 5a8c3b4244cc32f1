//! A store in the making.

use std::fs;
use std::path::{Path, PathBuf};

use gmat_core::io::Sink;
use gmat_core::resume::Fingerprint;
use gmat_core::store::{METADATA, SOURCE_KEYS, TOKENS};
use gmat_core::{Error, Result};

use super::folder::OutputFolder;
use super::room::Room;
use super::{failed, kept, may_go_on, write_whole};
use crate::folder::Folder;

/// The file in an unfinished store that says what is being made.
const PLAN: &str = "import.partial";
/// The folder of tensor files in a store.
const TENSORS: &str = "tensors";

/// A store in the making: written to `X.partial`, renamed to `X` by [`StagedFolder::commit`]. If the
/// run is stopped, it stays for the run that goes on; otherwise it is removed if dropped before.
pub(crate) struct StagedFolder {
    out: OutputFolder,
    /// Finished files.
    finished: usize,
    /// Whether an interrupted run finished some of them.
    resumed: bool,
}

impl StagedFolder {
    /// Takes hold of the output. A store that is there already is replaced on commit, if that loses
    /// nothing but the store: neither `inputs`, which are still to be read, nor files of the user.
    pub(crate) fn new(target: &Path, inputs: &[PathBuf]) -> Result<Self> {
        let out = OutputFolder::claim(target, inputs, refuse_foreign)?;
        Ok(Self { out, finished: 0, resumed: false })
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
        let plan = self.out.staging.join(PLAN);
        let found = if restart { None } else { fs::read_to_string(&plan).ok() };
        if let Some(line) = found {
            fingerprint.check(line.trim_end())?;
            self.resumed = true;
            return Ok(Some(Folder::new(&self.out.staging)));
        }
        remove_folder(&self.out.staging)?;
        self.out.keep = false;
        Ok(None)
    }

    /// Asks for room for so many bytes, less what an interrupted run has written; with `anyway` it is
    /// only remembered that they are needed.
    ///
    /// # Errors
    /// `Io` if there is less.
    pub(crate) fn ask_for_room(&mut self, needed: u64, anyway: bool) -> Result<()> {
        let mut there = 0;
        for path in [self.out.staging.clone(), self.out.staging.join(TENSORS)] {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                there += entry
                    .metadata()
                    .map_or(0, |found| if found.is_file() { found.len() } else { 0 });
            }
        }
        self.out.keep = self.resumed;
        self.out.room = match anyway {
            true => Room::expect(needed, there),
            false => Room::ask(self.out.parent(), needed, there)?,
        };
        Ok(())
    }

    /// Begins, or goes on: notes what is being made for the run that may have to go on.
    ///
    /// # Errors
    /// `Io` if that cannot be written.
    pub(crate) fn begin(&mut self, fingerprint: &Fingerprint) -> Result<()> {
        if !self.resumed {
            fs::create_dir(&self.out.staging)
                .map_err(|e| failed("create", &self.out.staging, e))?;
            write_whole(&self.out.staging.join(PLAN), &format!("{}\n", fingerprint.to_line()?))?;
        }
        Ok(())
    }

    /// Passes on how the run ended. If it may go on later, what is finished is kept.
    pub(crate) fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            // Whatever becomes of this run, it does not lose what another one finished.
            self.out.keep = self.resumed || self.finished > 0 && may_go_on(&error);
            if self.out.keep { kept(error) } else { error }
        })
    }

    /// Gives the store its name, in the place of an older one.
    pub(crate) fn commit(mut self) -> Result<()> {
        self.out.check_target()?;
        let plan = self.out.staging.join(PLAN);
        fs::remove_file(&plan).map_err(|e| failed("remove", &plan, e))?;
        self.out.keep = false;
        self.out.commit()
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match path.exists() {
        true => fs::remove_dir_all(path).map_err(|e| failed("remove", path, e)),
        false => Ok(()),
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
    fn begin(&mut self, name: &str, len: Option<u64>) -> Result<()> {
        self.out.begin(name, len)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.append(bytes)
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()?;
        self.finished += 1;
        Ok(())
    }
}
