//! What a store will be, before any weight is read: enough to plan an export of it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{ImportPlan, Item, OpenTensor, record};
use crate::error::{Error, ErrorKind, Result};
use crate::format::store::{self as file, Group};
use crate::import::encode::group_shape;
use crate::io::{Chunk, Files, Sink};
use crate::stats::GroupStats;
use crate::store::{Metadata, ModelFiles, TOKENS, tensor_file, write_source_keys};
use crate::tensor::mem_len;

/// A store without weights, as a folder of files: metadata, tokenizer, and of every tensor file its
/// first bytes and its index. Exports can be planned from it, with their exact sizes, but not run.
///
/// What only the weights tell is empty: hashes and statistics are zero, and lengths of row groups
/// upper bounds.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Content of small files.
    whole: BTreeMap<String, Vec<u8>>,
    /// Offset and bytes of the index of tensor files.
    tensors: BTreeMap<String, (u64, Vec<u8>)>,
    open: Option<String>,
}

impl ImportPlan<'_> {
    /// The store that [`Self::run`] would write, without weights.
    ///
    /// # Errors
    /// `Limit` if a row group does not fit in memory.
    pub fn draft(&self, model_files: ModelFiles, tokens: Option<&[u8]>) -> Result<Draft> {
        let mut draft = Draft::default();
        let mut records = BTreeMap::new();
        for item in &self.items {
            let index = record::index(item, sketch(item)?, [0; 32]);
            let end = index.end();
            draft.tensors.insert(tensor_file(item.id), (end, index.to_bytes(end)));
            records.insert(item.id, self.record(item, &index));
        }
        let mut model_files = model_files;
        if let Some(keys) = &self.model.keys {
            model_files.source_keys = Some(write_source_keys(keys, &mut draft)?);
        }
        if let Some(tokens) = tokens {
            model_files.tokens = Some(blake3::hash(tokens).to_hex().to_string());
            draft.whole.insert(TOKENS.to_owned(), tokens.to_vec());
        }
        Metadata::new(self.config.clone(), model_files, records).write(&mut draft)?;
        Ok(draft)
    }
}

/// The row groups of a tensor, each as long as it may become.
fn sketch(item: &Item<'_>) -> Result<OpenTensor> {
    let mut tensor = OpenTensor::default();
    let mut offset = file::HEAD;
    let mut start = 0;
    while start < item.rows {
        let rows = item.group_rows.min(item.rows - start);
        let len = item.format.max_len(group_shape(item, rows)?);
        let len = len.ok_or_else(|| Error::limit("a row group does not fit in memory"))? as u64;
        let (sum, stats) = ([0; file::SUM], GroupStats::default());
        tensor.groups.push(Group { offset, len, sum, stats });
        offset += len;
        start += rows;
    }
    Ok(tensor)
}

impl Draft {
    /// Bytes of the whole store, at most.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let whole = self.whole.values().map(|bytes| bytes.len() as u64);
        let tensors = self.tensors.values().map(|(at, footer)| at + footer.len() as u64);
        whole.chain(tensors).fold(0, u64::saturating_add)
    }

    /// Where the row groups of a tensor file end.
    pub(super) fn rows_end(&self, name: &str) -> Option<u64> {
        self.tensors.get(name).map(|(end, _)| *end)
    }

    /// The same of the file that is being written.
    pub(super) fn open_rows_end(&self) -> Option<u64> {
        self.rows_end(self.open.as_deref()?)
    }
}

/// Small files are kept, and of tensor files that the draft knows what comes after the row groups.
impl Sink for Draft {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        match self.tensors.get_mut(name) {
            Some((_, index)) => index.clear(),
            None => drop(self.whole.insert(name.to_owned(), Vec::new())),
        }
        self.open = Some(name.to_owned());
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(name) = &self.open else { return Ok(()) };
        let index = self.tensors.get_mut(name).map(|(_, index)| index);
        if let Some(file) = index.or_else(|| self.whole.get_mut(name)) {
            file.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.open = None;
        Ok(())
    }
}

impl Files for Draft {
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.whole.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> Result<Option<u64>> {
        let whole = self.whole.get(name).map(|bytes| bytes.len() as u64);
        let tensor = || self.tensors.get(name).map(|(at, footer)| at + footer.len() as u64);
        Ok(whole.or_else(tensor))
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        let absent = || Error::new(ErrorKind::Io, format!("`{name}` has not been written yet"));
        let head = file::head();
        let (start, bytes) = match (self.whole.get(name), self.tensors.get(name)) {
            (Some(bytes), _) => (0, bytes.as_slice()),
            (None, Some(_)) if range.end <= file::HEAD => (0, head.as_slice()),
            (None, Some((at, footer))) => (*at, footer.as_slice()),
            (None, None) => return Err(absent()),
        };
        let within = |at: u64| mem_len(at.checked_sub(start).ok_or_else(absent)?);
        let bytes = bytes.get(within(range.start)?..within(range.end)?).ok_or_else(absent)?;
        Ok(Box::new(bytes.to_vec()))
    }

    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}
