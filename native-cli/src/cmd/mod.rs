//! The subcommands, one file each.

mod base;
mod beside;
pub(crate) mod compare;
pub(crate) mod convert;
mod explain;
pub(crate) mod export;
pub(crate) mod formats;
pub(crate) mod import;
pub(crate) mod inspect;
#[cfg(feature = "plugins")]
pub(crate) mod plugins;
mod reports;
mod source;
pub(crate) mod store;
pub(crate) mod verify;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gmat_core::pipeline::Budget;
use gmat_core::store::{FOLDER, METADATA};
use gmat_core::{Error, Result, limits};

use crate::args::Common;
use crate::staging::write_whole;

/// `1 tensor`, `57 tensors`.
fn tensors(count: usize) -> String {
    if count == 1 { "1 tensor".to_owned() } else { format!("{count} tensors") }
}

/// The store that a path means, if it means one: the folder itself, or the `model.gmat` in it.
fn store_at(path: &Path) -> Option<PathBuf> {
    // A metadata file that cannot be read still says what the folder is.
    let is_store = |folder: &PathBuf| folder.join(METADATA).symlink_metadata().is_ok();
    [path.to_owned(), path.join(FOLDER)].into_iter().find(is_store)
}

/// Environment variable for the number of units under way.
const BUFFER_SIZE: &str = "GMAT_BUFFER_SIZE";

/// How much may be under way: `GMAT_BUFFER_SIZE` units, or two per thread. Empty is unset.
fn budget(common: &Common) -> Result<Budget> {
    let given = std::env::var(BUFFER_SIZE).ok().filter(|text| !text.trim().is_empty());
    let in_flight = match given {
        Some(text) => text.trim().parse().ok().filter(|&units| units > 0).ok_or_else(|| {
            Error::config(format!("`{BUFFER_SIZE}` is `{text}`, expected a positive integer"))
        })?,
        None => 2 * rayon::current_num_threads(),
    };
    Ok(Budget { in_flight, memory: common.memory })
}

/// Reads a config file.
fn read_config(path: &Path) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        let error = Error::io(format!("cannot read config `{}`", path.display()), e);
        match missing {
            true => error.with_hint("--generate-config writes one to the working directory"),
            false => error,
        }
    };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(Error::config(format!("config `{}` is a folder", path.display()))
            .with_hint("give the file itself"));
    }
    // A pipe (`-c <(…)`, `-c /dev/stdin`) has no length, so it is read as far as is allowed.
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limits::JSON_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > limits::JSON_FILE {
        return Err(Error::config(format!(
            "config `{}` has more than {} bytes",
            path.display(),
            limits::JSON_FILE
        ))
        .with_hint("this is not a config"));
    }
    Ok(text)
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
