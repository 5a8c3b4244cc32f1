//! Reading all row groups of tensor files, and comparing them with the checksums in their indexes
//! and the hash of the source.

use std::collections::BTreeSet;

use blake3::{Hash, Hasher};

use super::tensor_file;
use crate::decode::{Restorer, Stored};
use crate::error::{Error, Result, ResultExt};
use crate::format::store::{Group, Index};
use crate::io::{Chunk, Files};
use crate::pipeline::{Budget, drive};
use crate::progress::{Event, Progress, notify};

/// A row group: number of the index, and of the group in it.
pub(crate) type GroupOf = (usize, usize);

/// A tensor file to be read.
pub(crate) struct ToCheck<'a> {
    pub(crate) index: &'a Index,
    /// The tensor of the base that it differs from.
    pub(crate) base: Option<&'a Index>,
    /// How its source bytes are restored, if they are to be hashed.
    pub(crate) restore: Option<Restorer>,
}

/// What reading all of them showed.
pub(crate) struct Checked {
    /// Row groups that are not what was written.
    pub(crate) damaged: BTreeSet<GroupOf>,
    /// The same of the base.
    pub(crate) damaged_in_base: BTreeSet<GroupOf>,
    /// BLAKE3 of the source bytes, where they were restored.
    pub(crate) sources: Vec<Option<Hash>>,
}

/// What reading one row group showed.
enum Found {
    /// Its source bytes, if they were to be restored.
    Whole(Vec<u8>),
    Damaged,
    DamagedInBase,
}

/// Reads every row group of these tensor files in `files`, and of those in `base` that they differ
/// from.
///
/// # Errors
/// `Io` if a file cannot be read; `Config` if a group does not fit the budget; `Cancelled`.
pub(crate) fn check_groups(
    files: &dyn Files,
    base: Option<&dyn Files>,
    tensors: &[ToCheck<'_>],
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Checked> {
    let tensor_of = |unit: &GroupOf| tensors.get(unit.0).ok_or_else(no_such);
    let units = tensors
        .iter()
        .enumerate()
        .flat_map(|(at, tensor)| (0..tensor.index.groups.len()).map(move |group| (at, group)));
    let sources = vec![None; tensors.len()];
    let (damaged, damaged_in_base) = (BTreeSet::new(), BTreeSet::new());
    let mut checked = Checked { damaged, damaged_in_base, sources };
    let mut hasher = Hasher::new();
    let mut done = 0;
    drive(
        units,
        budget.units(tensors.iter().map(ToCheck::cost).max().unwrap_or(1))?,
        |unit| {
            let tensor = tensor_of(unit)?;
            let own = read(files, tensor.index, unit.1)?;
            let base = match (tensor.base, base) {
                (Some(index), Some(files)) => Some(read(files, index, unit.1)?),
                _ => None,
            };
            Ok((own, base))
        },
        |unit, (own, base)| {
            tensor_of(unit)?.check(
                unit.1,
                own.as_ref().as_ref(),
                base.as_ref().map(|b| b.as_ref().as_ref()),
            )
        },
        |unit, found| {
            let tensor = tensor_of(&unit)?;
            match found {
                Found::Whole(source) => {
                    hasher.update(&source);
                }
                Found::Damaged => {
                    checked.damaged.insert(unit);
                }
                Found::DamagedInBase => {
                    checked.damaged_in_base.insert(unit);
                }
            }
            if unit.1 + 1 == tensor.index.groups.len() {
                if let Some(hash) = checked.sources.get_mut(unit.0) {
                    *hash = tensor.restore.map(|_| hasher.finalize());
                }
                hasher.reset();
            }
            done += group_of(tensor.index, unit.1)?.len;
            notify(progress, Event::Bytes(done))
        },
    )?;
    Ok(checked)
}

impl ToCheck<'_> {
    /// Bytes that a row group needs at most.
    fn cost(&self) -> u64 {
        let longest = |index: &Index| index.groups.iter().map(|group| group.len).max().unwrap_or(0);
        let stored = longest(self.index).saturating_add(self.base.map_or(0, longest));
        let rows = self.index.group_rows.min(self.index.matrix().0);
        let source = self.restore.map_or(0, |_| self.index.source_len(rows));
        // Those of the base are restored, too.
        let source = source.saturating_mul(1 + u64::from(self.base.is_some()));
        stored.saturating_add(source).max(1)
    }

    fn check(&self, group: usize, own: &[u8], base: Option<&[u8]>) -> Result<Found> {
        if self.index.checked(group, own).is_err() {
            return Ok(Found::Damaged);
        }
        if let (Some(index), Some(bytes)) = (self.base, base)
            && index.checked(group, bytes).is_err()
        {
            return Ok(Found::DamagedInBase);
        }
        let mut source = Vec::new();
        if let Some(restorer) = self.restore {
            let shape = self.index.group_shape(group)?;
            // What cannot be restored has another hash.
            let _ = restorer.source(Stored { own, base }, shape, &mut source);
        }
        Ok(Found::Whole(source))
    }
}

fn read<'f>(files: &'f dyn Files, index: &Index, number: usize) -> Result<Chunk<'f>> {
    let (name, group) = (tensor_file(index.id), group_of(index, number)?);
    let bytes = files.read(&name, group.offset..group.offset + group.len);
    bytes.context(|| format!("file `{}`", files.place(&name)))
}

fn group_of(index: &Index, number: usize) -> Result<&Group> {
    index.groups.get(number).ok_or_else(no_such)
}

fn no_such() -> Error {
    Error::shape("no such row group")
}
