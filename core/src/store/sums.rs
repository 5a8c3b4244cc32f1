//! Reading all row groups of tensor files, and comparing them with the checksums in their indexes
//! and the hash of the source.

use std::collections::BTreeSet;

use blake3::{Hash, Hasher};

use crate::block::BlockFormat;
use crate::error::{Error, Result, ResultExt};
use crate::format::store::{Group, Index, checksum};
use crate::io::Files;
use crate::pipeline::{Budget, drive};
use crate::progress::{Event, Progress, notify};
use crate::store::tensor_file;

/// A row group: number of the index, and of the group in it.
pub(crate) type GroupOf = (usize, usize);

/// A tensor file to be read, and how its source bytes are restored, if they are to be hashed.
pub(crate) struct ToCheck<'a> {
    pub(crate) index: &'a Index,
    pub(crate) restore: Option<&'static dyn BlockFormat>,
}

/// What reading all of them showed.
pub(crate) struct Checked {
    /// Row groups that are not what was written.
    pub(crate) damaged: BTreeSet<GroupOf>,
    /// BLAKE3 of the source bytes, where they were restored.
    pub(crate) sources: Vec<Option<Hash>>,
}

/// Reads every row group of these tensor files.
///
/// # Errors
/// `Io` if a file cannot be read; `Config` if a group does not fit the budget; `Cancelled`.
pub(crate) fn check_groups(
    files: &dyn Files,
    tensors: &[ToCheck<'_>],
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Checked> {
    let group_of = |&(at, group): &GroupOf| -> Result<(&ToCheck<'_>, Group)> {
        let tensor = tensors.get(at);
        let found = tensor.and_then(|tensor| Some((tensor, *tensor.index.groups.get(group)?)));
        found.ok_or_else(|| Error::shape("no such row group"))
    };
    let mut cost = 1;
    for tensor in tensors {
        for (number, group) in tensor.index.groups.iter().enumerate() {
            let restored = match tensor.restore {
                Some(_) => tensor.index.source_len(rows_of(tensor.index, number)),
                None => 0,
            };
            cost = cost.max(group.len.saturating_add(restored));
        }
    }
    let units = tensors
        .iter()
        .enumerate()
        .flat_map(|(at, tensor)| (0..tensor.index.groups.len()).map(move |group| (at, group)));
    let mut checked = Checked { damaged: BTreeSet::new(), sources: vec![None; tensors.len()] };
    let mut hasher = Hasher::new();
    let mut done = 0;
    drive(
        units,
        budget.units(cost)?,
        |unit| {
            let (tensor, group) = group_of(unit)?;
            let name = tensor_file(tensor.index.id);
            let bytes = files.read(&name, group.offset..group.offset + group.len);
            bytes.context(|| format!("file `{}`", files.place(&name)))
        },
        |unit, bytes| {
            let (tensor, group) = group_of(unit)?;
            let bytes = bytes.as_ref().as_ref();
            if checksum(bytes) != group.sum {
                return Ok(None);
            }
            let mut source = Vec::new();
            if let Some(format) = tensor.restore {
                // One that cannot be restored has another hash.
                let _ = format.restore(bytes, tensor.index.group_shape(unit.1)?, &mut source);
            }
            Ok(Some(source))
        },
        |unit, source| {
            let (tensor, group) = group_of(&unit)?;
            match source {
                Some(source) => {
                    hasher.update(&source);
                }
                None => {
                    checked.damaged.insert(unit);
                }
            }
            if unit.1 + 1 == tensor.index.groups.len() {
                if let Some(hash) = checked.sources.get_mut(unit.0) {
                    *hash = tensor.restore.map(|_| hasher.finalize());
                }
                hasher.reset();
            }
            done += group.len;
            notify(progress, Event::Bytes(done))
        },
    )?;
    Ok(checked)
}

fn rows_of(index: &Index, group: usize) -> u64 {
    let rows = index.group_rows(group);
    rows.end - rows.start
}
