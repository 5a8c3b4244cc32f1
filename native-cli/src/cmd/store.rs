//! `gmat store`.

use gmat_core::io::Files;
use gmat_core::store::{Flattening, Store};
use gmat_core::{Registry, Result};

use super::export::store_path;
use super::import::output_path;
use super::{base, budget};
use crate::args::{Common, Flatten, StoreCommand};
use crate::behind::write_behind;
use crate::folder::Folder;
use crate::report::Console;
use crate::size::show_size;
use crate::staging::StagedFolder;

pub(crate) fn run(
    command: &StoreCommand,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    match command {
        StoreCommand::Flatten(args) => run_flatten(args, common, registry, console),
    }
}

fn run_flatten(
    args: &Flatten,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    let folder = Folder::new(store_path(&args.path));
    let store = Store::open(&folder)?;
    let base_folder = base::require(&store, folder.path(), args.base.as_deref())?;
    let store = base::attach(store, base_folder.as_ref())?;
    let plan = Flattening::new(&store, registry)?;
    let target = output_path(&args.output);
    let mut inputs = vec![folder.path().to_owned()];
    inputs.extend(base_folder.iter().map(|base| base.path().to_owned()));
    let mut staging = StagedFolder::new(&target, &inputs)?;
    let fingerprint = plan.fingerprint();
    let existing = staging.existing(&fingerprint, args.restart)?;
    let room = staging.ask_for_room(plan.stored_bytes(), args.ignore_space);
    room.map_err(|error| error.and_hint("--ignore-space begins all the same"))?;
    staging.begin(&fingerprint)?;
    let existing = existing.as_ref().map(|folder| folder as &dyn Files);
    let budget = budget(common)?;
    let written = write_behind(&mut staging, |sink| plan.run(existing, sink, budget, console));
    console.end();
    let written = base_folder.iter().fold(written, |written, base| base.unchanged(written));
    let written = staging.settle(folder.unchanged(written))?;
    staging.commit()?;
    let stored: u64 = written.tensors.values().map(|tensor| tensor.stored_bytes).sum();
    console.line(format!(
        "Done! {}, {} stored in {}",
        super::tensors(written.total_tensors),
        show_size(stored),
        target.display()
    ));
    Ok(())
}
