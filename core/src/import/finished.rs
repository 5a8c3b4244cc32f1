//! What an interrupted import has finished.

use super::ImportPlan;
use crate::error::Result;
use crate::format::store::Index;
use crate::io::Files;
use crate::pipeline::Budget;
use crate::progress::Progress;
use crate::resume::Fingerprint;
use crate::store::{ModelFiles, finished_files};

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
        Ok(Fingerprint::new()
            .with("base", base.unwrap_or_default().as_bytes())
            .with("config", self.config.to_json()?.as_bytes())
            .with("model", model.as_bytes())
            .with("tokenizer", tokens.unwrap_or_default())
            .with("files beside the weights", &files))
    }

    /// The indexes of the tensor files that an interrupted run of this plan left complete and whole
    /// in `existing`, by number of the item. Of what they were made is still to be compared.
    pub(super) fn finished(
        &self,
        existing: Option<&dyn Files>,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Option<Index>>> {
        let wanted = self.items.iter().map(|item| {
            let fits = |index: &Index| {
                let info = &item.source.info;
                index.dtype == info.dtype
                    && index.shape == info.shape
                    && index.format == item.format.name()
                    && index.group_rows == item.group_rows
            };
            (!item.is_same()).then_some((item.id, fits))
        });
        finished_files(existing, wanted, budget, progress)
    }
}
