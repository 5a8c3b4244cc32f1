//! A model as the store that a `raw` import of it would write, without writing it: tensor files are
//! where the model has their rows.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Draft, ImportPlan, Item, RAW};
use crate::config::ImportConfig;
use crate::error::{Error, Result};
use crate::format::store::HEAD;
use crate::io::{Chunk, Files, Sink};
use crate::pipeline::Budget;
use crate::progress::Progress;
use crate::registry::Registry;
use crate::source::Model;
use crate::store::{ModelFiles, tensor_file};
use crate::tensor::mem_len;

/// The folder of that store. Exports can be planned from it and run.
pub(crate) struct InPlace<'a> {
    plan: ImportPlan<'a>,
    files: &'a dyn Files,
    /// All but the rows.
    draft: Draft,
    /// Numbers of items by the names of their files.
    items: BTreeMap<String, usize>,
}

impl<'a> InPlace<'a> {
    /// Reads the model once, for the checksums of its rows.
    ///
    /// # Errors
    /// As [`ImportPlan::run`].
    pub(crate) fn new(
        model: &'a Model,
        files: &'a dyn Files,
        model_files: ModelFiles,
        registry: &Registry,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let config = ImportConfig { block_format: RAW.to_owned(), ..ImportConfig::default() };
        let plan = ImportPlan::new(model, &config, registry)?;
        let mut indexes = Indexes { draft: plan.draft(model_files.clone(), None)?, at: 0 };
        plan.run(files, model_files, None, None, &mut indexes, budget, progress)?;
        let items = plan.items.iter().enumerate();
        let items = items.map(|(number, item)| (tensor_file(item.id), number)).collect();
        Ok(Self { plan, files, draft: indexes.draft, items })
    }

    /// Rows as `raw` stores them.
    fn rows(&self, item: &Item<'_>, range: &Range<u64>) -> Result<Chunk<'_>> {
        let info = &item.source.info;
        let odd = || Error::shape(format!("bytes {range:?} are not whole rows of `{}`", info.name));
        let row_len = info.dtype.byte_len(item.cols).filter(|&len| len > 0).ok_or_else(odd)?;
        let whole = |at: u64| match at % row_len {
            0 => Ok(at / row_len),
            _ => Err(odd()),
        };
        let rows = whole(range.start - HEAD)?..whole(range.end - HEAD)?;
        let (model, source) = (self.plan.model, item.source);
        let mut chunks =
            model.read_rows(self.files, source, &rows, item.row_len, |_, _, _| Ok(()))?;
        let Some(derived) = &source.derived else { return chunks.pop().ok_or_else(odd) };
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_ref().as_ref()).collect();
        let mut bytes = Vec::new();
        derived.decode(&rows, item.cols, &chunks, false, &mut bytes)?;
        Ok(Box::new(bytes))
    }
}

impl Files for InPlace<'_> {
    fn names(&self) -> Result<Vec<String>> {
        self.draft.names()
    }

    fn len(&self, name: &str) -> Result<Option<u64>> {
        self.draft.len(name)
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        let item = self.items.get(name).and_then(|&number| self.plan.items.get(number));
        let end = self.draft.rows_end(name);
        match (item, end) {
            (Some(item), Some(end)) if range.start >= HEAD && range.end <= end => {
                self.rows(item, &range)
            }
            _ => self.draft.read(name, range),
        }
    }

    /// What errors are about is in the model.
    fn place(&self, name: &str) -> String {
        let item = self.items.get(name).and_then(|&number| self.plan.items.get(number));
        let shard = item.and_then(|item| self.plan.model.shards.get(item.source.shard));
        self.files.place(shard.map_or(name, |shard| &shard.name))
    }
}

/// Keeps what an import writes, but for rows.
struct Indexes {
    draft: Draft,
    /// Bytes of the open file so far.
    at: u64,
}

impl Sink for Indexes {
    fn begin(&mut self, name: &str, len: Option<u64>) -> Result<()> {
        self.at = 0;
        self.draft.begin(name, len)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let start = self.at;
        self.at += bytes.len() as u64;
        let rows_end = self.draft.open_rows_end().unwrap_or(0);
        let skipped = mem_len(rows_end.saturating_sub(start))?.min(bytes.len());
        self.draft.append(bytes.get(skipped..).unwrap_or_default())
    }

    fn finish(&mut self) -> Result<()> {
        self.draft.finish()
    }
}
