//! What an interrupted export has finished, found out from its journal and checked against the files
//! that it left.
//!
//! The journal is text: the fingerprint of the plan in the first line, then for every finished
//! tensor, in the order of the output, the BLAKE3 of its bytes in hexadecimal.

use blake3::{Hash, Hasher};

use crate::error::Result;
use crate::export::plan::ExportPlan;
use crate::export::split::OutputFile;
use crate::io::Files;
use crate::resume::Fingerprint;

/// How far an interrupted run came: the hashes of finished tensors.
#[derive(Debug, Clone, Default)]
pub struct Finished(pub(crate) Vec<Hash>);

impl Finished {
    /// Number of finished tensors.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.0.len()
    }
}

impl ExportPlan<'_> {
    /// What decides the bytes of the output.
    ///
    /// # Errors
    /// `Io` if the importance matrix cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let mut headers = Vec::new();
        for file in &self.files {
            headers.extend_from_slice(blake3::hash(&file.header).as_bytes());
        }
        let mut fingerprint = Fingerprint::new()
            .with("config", self.config.as_bytes())
            .with("store", self.store.metadata.checksum().as_bytes())
            .with("choice of types and keys", &headers)
            .with_plugins(self.plugins.iter().map(|(name, identity)| (name.as_str(), identity)));
        if let Some(importance) = self.importance {
            fingerprint = fingerprint.with("importance matrix", importance.hash()?.as_bytes());
        }
        Ok(fingerprint)
    }

    /// The tensors that an interrupted run finished: those of its `journal` whose bytes are in
    /// `files`, the files it left, up to the first that are not.
    ///
    /// # Errors
    /// `Config` if that run was another one, naming what differs; `Io` if its files cannot be read.
    pub fn finished(&self, files: &dyn Files, journal: &str) -> Result<Finished> {
        let (first, lines) = journal.split_once('\n').unwrap_or((journal, ""));
        self.fingerprint()?.check(first)?;
        // A line without its end was not written to the end.
        let lines = lines.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut hashes = lines.map_while(|line| Hash::from_hex(line).ok());
        let mut found = Vec::new();
        for file in &self.files {
            let Some(len) = files.len(&file.name)? else { break };
            if !starts_with(files, file, len)? {
                break;
            }
            for tensor in file.tensors.clone() {
                let (Some(hash), Some(output)) = (hashes.next(), self.outputs.get(tensor)) else {
                    return Ok(Finished(found));
                };
                let start = self.start_in(file, tensor);
                let end = start.saturating_add(output.entry.len);
                if end.next_multiple_of(file.alignment) > len
                    || hash_of(files, &file.name, start..end)? != hash
                {
                    return Ok(Finished(found));
                }
                found.push(hash);
            }
        }
        Ok(Finished(found))
    }

    /// Bytes of the files that hold these tensors, as far as they are finished.
    #[must_use]
    pub fn written(&self, finished: &Finished) -> u64 {
        let begun = self.files.iter().filter(|file| file.tensors.start < finished.tensors());
        begun.map(|file| self.start_in(file, finished.tensors().min(file.tensors.end))).sum()
    }

    /// Where the bytes of a tensor start in its file.
    pub(crate) fn start_in(&self, file: &OutputFile, tensor: usize) -> u64 {
        let before = self.outputs.get(file.tensors.start..tensor).unwrap_or_default();
        let padded = |len: u64| len.next_multiple_of(file.alignment);
        file.header.len() as u64 + before.iter().map(|output| padded(output.entry.len)).sum::<u64>()
    }
}

/// Whether a file of `len` bytes has the header of the plan.
fn starts_with(files: &dyn Files, file: &OutputFile, len: u64) -> Result<bool> {
    let header_len = file.header.len() as u64;
    if len < header_len {
        return Ok(false);
    }
    Ok(hash_of(files, &file.name, 0..header_len)? == blake3::hash(&file.header))
}

/// BLAKE3 of a range of a file, read piece by piece.
///
/// # Errors
/// Like [`Files::read`].
pub(crate) fn hash_of(files: &dyn Files, name: &str, range: std::ops::Range<u64>) -> Result<Hash> {
    const PIECE: u64 = 1 << 20;
    let mut hasher = Hasher::new();
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + PIECE);
        hasher.update(files.read(name, at..end)?.as_ref().as_ref());
        at = end;
    }
    Ok(hasher.finalize())
}
