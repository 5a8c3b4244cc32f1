//! Which plugins there are: the places where they are looked for, in order, and what is found there.

use std::env;
use std::path::{Path, PathBuf};

use gmat_core::{Registry, Result};
use gmat_plugin_host::{Cache, Found, Place, find};

use crate::report::Console;

/// Name of a folder with plugins.
const FOLDER: &str = "plugins";
/// Environment variable with more such folders.
pub(crate) const VARIABLE: &str = "GMAT_PLUGINS";

/// The places, in the order in which they are documented.
pub(crate) fn places(beside: Option<&Path>, given: &[PathBuf]) -> Vec<Place> {
    let place = |folder: PathBuf, why, asked| Place { folder, why, asked };
    let mut places = Vec::new();
    places.extend(beside.map(|store| place(store.join(FOLDER), "beside the store", false)));
    places.push(place(PathBuf::from(FOLDER), "working directory", false));
    let variable = env::var_os(VARIABLE).unwrap_or_default();
    let named = env::split_paths(&variable).filter(|folder| !folder.as_os_str().is_empty());
    places.extend(named.map(|folder| place(folder, "GMAT_PLUGINS", true)));
    places.extend(given.iter().map(|folder| place(folder.clone(), "--plugin-dir", true)));
    places.extend(data_folder().map(|data| place(data.join(FOLDER), "user's data", false)));
    places
}

/// Finds all plugins and adds them to the registry. What cannot be used is told, and told again to
/// those who ask for it by name.
///
/// # Errors
/// `Io` if a folder that somebody asked for cannot be read.
pub(crate) fn add(
    places: &[Place],
    registry: &mut Registry,
    console: &mut Console,
) -> Result<Vec<Found>> {
    let (found, errors) = find(places, cache().as_ref())?;
    let mut unusable: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let (mut usable, mut twice) = (Vec::new(), Vec::new());
    for (at, one) in found.iter().enumerate() {
        let name = one.plugin.name();
        let others = found.iter().enumerate().filter(|(other, _)| *other != at);
        match others.map(|(_, other)| other).find(|other| other.plugin.name() == name) {
            // Which of them is meant nobody knows, so none is.
            Some(other) => twice.push((name, one.plugin.place(), other.plugin.place())),
            None => usable.push(at),
        }
    }
    let mut named = Vec::new();
    for (name, one, other) in twice {
        if !named.contains(&name) {
            named.push(name);
            unusable.push(format!("two plugins are called `{name}`: `{one}` and `{other}`"));
        }
    }
    let mut kept = Vec::new();
    for (at, found) in found.into_iter().enumerate() {
        if !usable.contains(&at) {
            continue;
        }
        match registry.add_plugin(found.plugin) {
            Ok(()) => kept.push(found),
            Err(error) => unusable.push(error.to_string()),
        }
    }
    for why in unusable {
        console.warn(format!("a plugin cannot be used: {why}"));
        registry.add_unusable(why);
    }
    Ok(kept)
}

/// Where compiled modules are kept.
pub(crate) fn cache() -> Option<Cache> {
    let home = || home().map(|home| home.join(".cache"));
    let base = folder_of("XDG_CACHE_HOME").or_else(home)?;
    Some(Cache::new(base.join("gmat").join(FOLDER)))
}

fn data_folder() -> Option<PathBuf> {
    let home = || home().map(|home| home.join(".local").join("share"));
    Some(folder_of("XDG_DATA_HOME").or_else(home)?.join("gmat"))
}

/// A folder named by the environment; a relative one means nothing, as the XDG specification has it.
fn folder_of(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute())
}

fn home() -> Option<PathBuf> {
    let named = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    folder_of(named)
}
