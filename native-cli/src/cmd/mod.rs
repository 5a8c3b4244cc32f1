//! The subcommands, one file each.

mod explain;
pub(crate) mod export;
pub(crate) mod formats;
pub(crate) mod import;
pub(crate) mod inspect;
mod reports;

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
    write_whole(Path::new(name), text)
}

/// Writes a small file, which has its name only when it is whole.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    written.map_err(|e| {
        // Nothing can be done about a second failure, and the name says what it is.
        let _ = fs::remove_file(&partial);
        Error::io(format!("cannot write `{}`", path.display()), e)
    })
}
