//! Tensor files that an interrupted run has finished.

use std::ops::ControlFlow;

use uuid::Uuid;

use super::{ToCheck, check_groups, tensor_file};
use crate::error::Result;
use crate::format::store::Index;
use crate::io::{Files, read_exact};
use crate::pipeline::Budget;
use crate::progress::{Event, Progress, notify};

/// Of the tensor files that are `wanted` in this order, each with its id and what its index must be:
/// the indexes of those that are complete and whole in `existing`. Those that are none of the files
/// are not looked for.
///
/// # Errors
/// As [`check_groups`].
pub(crate) fn finished_files<F: Fn(&Index) -> bool>(
    existing: Option<&dyn Files>,
    wanted: impl Iterator<Item = Option<(Uuid, F)>>,
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Vec<Option<Index>>> {
    let Some(files) = existing else { return Ok(wanted.map(|_| None).collect()) };
    let mut found = Vec::new();
    for wanted in wanted {
        found.push(match wanted {
            Some((id, fits)) => complete(files, id)?.filter(fits),
            None => None,
        });
    }
    let indexes = found.iter().flatten();
    let to_check: Vec<_> =
        indexes.map(|index| ToCheck { index, base: None, restore: None }).collect();
    // Stopping must be possible, but what is checked here is no progress.
    let damaged = check_groups(files, None, &to_check, budget, &mut AskOnly(progress))?.damaged;
    let mut number = 0;
    for entry in &mut found {
        if entry.is_some() {
            if damaged.range((number, 0)..(number + 1, 0)).next().is_some() {
                *entry = None;
            }
            number += 1;
        }
    }
    let (all, there) = (found.len(), found.iter().flatten().count());
    if there > 0 {
        let text = format!("{there} of {all} tensors are there already");
        notify(progress, Event::Note(&text))?;
    }
    Ok(found)
}

/// The index of a tensor's file, if that is there and ends as it should.
fn complete(files: &dyn Files, id: Uuid) -> Result<Option<Index>> {
    let name = tensor_file(id);
    let Some(len) = files.len(&name)? else { return Ok(None) };
    // One that breaks off has no index.
    let index = Index::read(len, |at, len| read_exact(files, &name, at, len)).ok();
    Ok(index.filter(|index| index.id == id))
}

/// Passes on no bytes, only the question whether to go on.
struct AskOnly<'a>(&'a mut dyn Progress);

impl Progress for AskOnly<'_> {
    fn event(&mut self, _: Event<'_>) -> ControlFlow<()> {
        self.0.event(Event::Bytes(0))
    }
}
