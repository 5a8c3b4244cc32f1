//! What an interrupted import has finished.

use std::ops::ControlFlow;

use super::{ImportPlan, Item};
use crate::error::Result;
use crate::format::store::Index;
use crate::io::{Files, read_exact};
use crate::pipeline::Budget;
use crate::progress::{Event, Progress};
use crate::resume::Fingerprint;
use crate::store::{ModelFiles, ToCheck, check_groups, tensor_file};

impl ImportPlan<'_> {
    /// What decides the bytes of the store, but for the source bytes of the tensors: those are
    /// compared one by one.
    ///
    /// # Errors
    /// `Malformed` if config or files cannot be written as JSON (they can).
    pub fn fingerprint(&self, files: &ModelFiles, tokens: Option<&[u8]>) -> Result<Fingerprint> {
        let mut model = String::new();
        for shard in &self.model.shards {
            model += &format!("{} {}\n", shard.name, shard.len);
        }
        for tensor in &self.model.tensors {
            let (info, encoding) = (&tensor.info, tensor.derived.as_ref().map(|d| d.encoding));
            let place = (tensor.shard, tensor.offset);
            model +=
                &format!("{} {} {} {place:?} {encoding:?}\n", info.name, info.dtype, info.shape);
        }
        let files = serde_json::to_vec(files)
            .map_err(|e| crate::Error::malformed("cannot be written as JSON").with_source(e))?;
        let base = self.made_against().map(|base| base.checksum);
        let plugins = self.items.iter().filter_map(|item| item.format.plugin());
        Ok(Fingerprint::new()
            .with("base", base.unwrap_or_default().as_bytes())
            .with("config", self.config.to_json()?.as_bytes())
            .with("model", model.as_bytes())
            .with("tokenizer", tokens.unwrap_or_default())
            .with("files beside the weights", &files)
            .with_plugins(plugins.map(|plugin| (plugin.name(), plugin.identity()))))
    }

    /// The indexes of the tensor files that an interrupted run of this plan left complete and whole
    /// in `existing`, by number of the item.
    pub(super) fn finished(
        &self,
        existing: Option<&dyn Files>,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Option<Index>>> {
        let Some(files) = existing else { return Ok(self.items.iter().map(|_| None).collect()) };
        let mut found = Vec::with_capacity(self.items.len());
        for item in &self.items {
            found.push(if item.is_same() { None } else { complete(files, item)? });
        }
        let indexes = found.iter().flatten();
        let indexes: Vec<_> = indexes.map(|index| ToCheck { index, restore: None }).collect();
        // Stopping must be possible, but what is checked here counts only when it is hashed again.
        let mut ask = AskOnly(progress);
        let damaged = check_groups(files, &indexes, budget, &mut ask)?.damaged;
        let mut number = 0;
        for entry in &mut found {
            if entry.is_some() {
                if damaged.range((number, 0)..(number + 1, 0)).next().is_some() {
                    *entry = None;
                }
                number += 1;
            }
        }
        Ok(found)
    }
}

/// The index of an item's file, if it is there and ends as it should.
fn complete(files: &dyn Files, item: &Item<'_>) -> Result<Option<Index>> {
    let name = tensor_file(item.id);
    let Some(len) = files.len(&name)? else { return Ok(None) };
    // One that breaks off has no index.
    let Ok(index) = Index::read(len, |at, len| read_exact(files, &name, at, len)) else {
        return Ok(None);
    };
    let info = &item.source.info;
    let same = index.id == item.id
        && index.dtype == info.dtype
        && index.shape == info.shape
        && index.format == item.format.name()
        && index.group_rows == item.group_rows;
    Ok(same.then_some(index))
}

/// Passes on no bytes, only the question whether to go on.
struct AskOnly<'a>(&'a mut dyn Progress);

impl Progress for AskOnly<'_> {
    fn event(&mut self, _: Event<'_>) -> ControlFlow<()> {
        self.0.event(Event::Bytes(0))
    }
}
