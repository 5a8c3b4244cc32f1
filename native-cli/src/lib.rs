//! The command line front end of gmat: arguments, files, progress, exit codes. What is done with
//! tensors is in `gmat-core` and `gmat-codecs`.

pub mod exit;

mod args;
mod behind;
mod cmd;
mod folder;
mod interrupt;
mod mmap;
#[cfg(feature = "plugins")]
mod plugins;
mod report;
mod size;
mod staging;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use gmat_core::{Error, Registry, Result};

#[cfg(feature = "plugins")]
use crate::args::PluginCommand;
use crate::args::{Args, Command};
use crate::report::Console;

/// Runs the program with these arguments (the first is its name).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version arrive here too; clap knows which stream and code each takes.
            let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let mut console = Console::new(&args.common);
    match dispatch(args, &mut console).and_then(|()| console.close()) {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => {
            console.error(&error);
            ExitCode::from(exit::code(error.kind()))
        }
    }
}

fn dispatch(args: Args, console: &mut Console) -> Result<()> {
    interrupt::install()?;
    let workers = match &args.command {
        Command::Convert(convert) => convert.workers,
        _ => None,
    };
    if let Some(jobs) = args.common.jobs.or(workers) {
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(jobs))
            .build_global()
            .map_err(|e| Error::config("cannot start the threads").with_source(e))?;
    }
    let mut registry = Registry::builtin(gmat_codecs::link())?;
    let beside = args.command.store().and_then(|store| store.parent().map(Path::to_owned));
    #[cfg(not(feature = "plugins"))]
    let _ = (&mut registry, beside);
    #[cfg(feature = "plugins")]
    if let Command::Plugins(PluginCommand::Check(check)) = &args.command {
        return cmd::plugins::check(check, registry, console);
    }
    #[cfg(feature = "plugins")]
    let places = plugins::places(beside.as_deref(), &args.common.plugin_dir);
    #[cfg(feature = "plugins")]
    let found = plugins::add(&places, &mut registry, console)?;
    match args.command {
        Command::Import(import) => cmd::import::run(&import, &args.common, &registry, console),
        Command::Convert(convert) => cmd::convert::run(&convert, &args.common, &registry, console),
        Command::Export(export) => cmd::export::run(&export, &args.common, &registry, console),
        Command::Inspect(inspect) => cmd::inspect::run(&inspect, &registry, console),
        Command::Compare(compare) => cmd::compare::run(&compare, &args.common, &registry, console),
        Command::Verify(verify) => cmd::verify::run(&verify, &args.common, &registry, console),
        Command::Store(store) => cmd::store::run(&store, &args.common, &registry, console),
        Command::Formats(formats) => cmd::formats::run(&formats, &registry, console),
        #[cfg(feature = "plugins")]
        Command::Plugins(PluginCommand::List(list)) => {
            cmd::plugins::list(&list, &places, &found, console)
        }
        #[cfg(feature = "plugins")]
        Command::Plugins(PluginCommand::Check(_)) => Ok(()),
    }
}
