//! Reading some rows of a tensor.

use std::ops::Range;

use super::{Model, SourceTensor};
use crate::error::{Error, Result, ResultExt};
use crate::io::{Chunk, Files};

impl Model {
    /// What some rows need: one piece of the tensor, or of each of its parts. `row_len` are the bytes
    /// of one row of a tensor without parts; `seen` is told every piece, with the number of its part
    /// and its place in it.
    ///
    /// # Errors
    /// What reading says, naming the part.
    pub(crate) fn read_rows<'f>(
        &self,
        files: &'f dyn Files,
        tensor: &SourceTensor,
        rows: &Range<u64>,
        row_len: u64,
        mut seen: impl FnMut(usize, &Range<u64>, &[u8]) -> Result<()>,
    ) -> Result<Vec<Chunk<'f>>> {
        let mut chunks = Vec::new();
        let mut read = |part: usize, shard: usize, offset: u64, range: Range<u64>| -> Result<()> {
            let shard = self.shards.get(shard).ok_or_else(|| Error::shape("no such shard"))?;
            let chunk = files.read(&shard.name, offset + range.start..offset + range.end)?;
            seen(part, &range, chunk.as_ref().as_ref())?;
            chunks.push(chunk);
            Ok(())
        };
        match &tensor.derived {
            None => {
                let range = rows.start * row_len..rows.end * row_len;
                read(0, tensor.shard, tensor.offset, range)?;
            }
            Some(derived) => {
                for (number, part) in derived.parts().iter().enumerate() {
                    let part_of = || format!("its part `{}`", part.info.name);
                    read(number, part.shard, part.offset, part.range(rows)?).context(part_of)?;
                }
            }
        }
        Ok(chunks)
    }
}
