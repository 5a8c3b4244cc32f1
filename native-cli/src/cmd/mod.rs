//! The subcommands, one file each.

mod explain;
pub(crate) mod export;
pub(crate) mod formats;
pub(crate) mod import;
pub(crate) mod inspect;

use std::fs;
use std::path::Path;

use gmat_core::pipeline::Budget;
use gmat_core::{Error, Result, limits};

use crate::args::Common;

/// Environment variable for the number of units under way.
const BUFFER_SIZE: &str = "GMAT_BUFFER_SIZE";

/// How much may be under way: `GMAT_BUFFER_SIZE` units, or two per thread.
fn budget(common: &Common) -> Result<Budget> {
    let in_flight = match std::env::var(BUFFER_SIZE) {
        Ok(text) => text.trim().parse().ok().filter(|&units| units > 0).ok_or_else(|| {
            Error::config(format!("`{BUFFER_SIZE}` is `{text}`, expected a positive integer"))
        })?,
        Err(_) => 2 * rayon::current_num_threads(),
    };
    Ok(Budget { in_flight, memory: common.memory })
}

/// Reads a config file.
fn read_config(path: &Path) -> Result<Vec<u8>> {
    let failed = |e| Error::io(format!("cannot read config `{}`", path.display()), e);
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > limits::JSON_FILE {
        return Err(Error::config(format!(
            "config `{}` is not a file of at most {} bytes",
            path.display(),
            limits::JSON_FILE
        )));
    }
    fs::read(path).map_err(failed)
}

/// Writes a generated config to the working directory, unless that would lose a user's changes.
fn write_generated(name: &str, text: &str, force: bool) -> Result<()> {
    let exists = fs::read(name).ok();
    if exists.is_some_and(|old| old != text.as_bytes()) && !force {
        return Err(Error::config(format!(
            "`{name}` exists here and differs, so it is not overwritten"
        ))
        .with_hint("move it away, or add --force"));
    }
    let partial = format!("{name}.partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, name))
        .map_err(|e| Error::io(format!("cannot write `{name}`"), e))
}
