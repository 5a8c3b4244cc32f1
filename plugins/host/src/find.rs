//! Where plugins are looked for, and how they are read.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use gmat_core::plugin::{Plugin, too_large};
use gmat_core::{Error, Result, ResultExt, limits};

use crate::cache::Cache;
use crate::guest::NativeGuest;

/// A folder that may have plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    /// Who names it, for people.
    pub why: &'static str,
    /// Whether somebody asked for it, so that it has to be there.
    pub asked: bool,
}

/// A plugin that was found.
pub struct Found {
    /// The plugin.
    pub plugin: &'static Plugin,
    /// Its module.
    pub guest: NativeGuest,
    /// Where it was looked for.
    pub why: &'static str,
}

/// Reads a plugin. Nothing of it is run, or compiled.
///
/// # Errors
/// `Io` if it cannot be read; otherwise as [`Plugin::new`].
pub fn open(path: &Path, cache: Option<Cache>) -> Result<(&'static Plugin, NativeGuest)> {
    let place = path.display().to_string();
    let wasm = read(path).context(|| format!("plugin `{place}`"))?;
    let mut module = None;
    let plugin = Plugin::new(&wasm, &place, |facts| {
        let guest = module.insert(NativeGuest::new(wasm.clone(), facts, cache));
        Ok(Box::new(guest.clone()))
    })?;
    let guest = module.ok_or_else(|| Error::shape("a plugin without module"))?;
    // As long-lived as what is built in.
    Ok((Box::leak(Box::new(plugin)), guest))
}

/// The bytes of a module, if they are not too many.
fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io("cannot read the module", error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::config("this is not a file"));
    }
    if metadata.len() > limits::PLUGIN_MODULE {
        return Err(too_large(metadata.len()));
    }
    let mut wasm = Vec::new();
    file.take(limits::PLUGIN_MODULE + 1).read_to_end(&mut wasm).map_err(failed)?;
    Ok(wasm)
}

/// All plugins in these folders, in their order and by file name, and what cannot be used. A module
/// that is there twice counts once.
///
/// # Errors
/// `Io` if a folder that somebody asked for cannot be read.
pub fn find(places: &[Place], cache: Option<&Cache>) -> Result<(Vec<Found>, Vec<Error>)> {
    let (mut found, mut unusable) = (Vec::<Found>::new(), Vec::new());
    for place in places {
        for path in modules(place)? {
            let (plugin, guest) = match open(&path, cache.cloned()) {
                Ok(opened) => opened,
                Err(error) => {
                    unusable.push(error);
                    continue;
                }
            };
            let same = |other: &Found| other.plugin.identity().blake3 == plugin.identity().blake3;
            if !found.iter().any(same) {
                found.push(Found { plugin, guest, why: place.why });
            }
        }
    }
    Ok((found, unusable))
}

/// The modules in a folder, by name.
fn modules(place: &Place) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(&place.folder) {
        Ok(entries) => entries,
        Err(error) if place.asked => {
            let folder = place.folder.display();
            return Err(Error::io(format!("cannot read plugin folder `{folder}`"), error)
                .context(place.why.to_owned()));
        }
        Err(_) => return Ok(Vec::new()),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    paths.sort();
    Ok(paths)
}
