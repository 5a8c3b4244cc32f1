//! Finding the base of a store.

use std::fs;
use std::path::{Component, Path, PathBuf};

use gmat_core::Result;
use gmat_core::io::Files as _;
use gmat_core::store::{FOLDER, METADATA, Metadata, Store};

use super::export::store_path;
use crate::folder::Folder;

/// Stores beside the one that wants its base that are looked at.
const SIBLINGS: usize = 10_000;

/// The folder of a store's base: the one given, where it was, or a store beside this one with the right
/// checksum. None if the store has no base, or if it is nowhere.
pub(super) fn find(store: &Store<'_>, folder: &Path, given: Option<&Path>) -> Option<Folder> {
    if let Some(path) = given {
        return Some(Folder::new(store_path(path)));
    }
    let made = store.metadata.made_against.as_ref()?;
    let is_it = |path: &PathBuf| checksum(path).is_some_and(|found| found == made.checksum);
    let recorded = made.path.as_ref().map(|path| folder.join(path));
    if let Some(path) = recorded.clone().filter(is_it) {
        return Some(Folder::new(path));
    }
    let beside = siblings(folder).into_iter().find(is_it);
    // One that is not what it was is better than none: the message tells what happened to it.
    let altered = || recorded.filter(|path| path.join(METADATA).exists());
    beside.or_else(altered).map(Folder::new)
}

/// The same for a command that cannot do without.
///
/// # Errors
/// `Io` if the store has a base and it is nowhere.
pub(super) fn require(
    store: &Store<'_>,
    folder: &Path,
    given: Option<&Path>,
) -> Result<Option<Folder>> {
    match find(store, folder, given) {
        None if store.metadata.made_against.is_some() => Err(store.base_missing()),
        found => Ok(found),
    }
}

/// Of several bases that were given, that of this store. Where there is none and none is found, the
/// first one, so that whoever opens it says what is wrong with it.
pub(super) fn own<'a>(store: &Store<'_>, folder: &Path, given: &'a [PathBuf]) -> Option<&'a Path> {
    let made = store.metadata.made_against.as_ref()?;
    let is_it =
        |path: &&PathBuf| checksum(&store_path(path)).is_some_and(|found| found == made.checksum);
    let own = given.iter().find(is_it);
    let first = || given.first().filter(|_| find(store, folder, None).is_none());
    own.or_else(first).map(PathBuf::as_path)
}

/// The store together with its base.
///
/// # Errors
/// As [`Store::with_base`].
pub(super) fn attach<'a>(store: Store<'a>, base: Option<&'a Folder>) -> Result<Store<'a>> {
    match base {
        Some(base) => store.with_base(base),
        None => Ok(store),
    }
}

/// What the metadata of a store says is its checksum; only its beginning is read.
fn checksum(path: &Path) -> Option<String> {
    let folder = Folder::new(path);
    let len = folder.len(METADATA).ok()??;
    let start = folder.read(METADATA, 0..len.min(Metadata::CHECKSUM_END)).ok()?;
    Metadata::stated_checksum(start.as_ref().as_ref()).map(str::to_owned)
}

/// Stores in the folder that this one is in, sorted.
fn siblings(store: &Path) -> Vec<PathBuf> {
    let store = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let Some(entries) = store.parent().and_then(|parent| fs::read_dir(parent).ok()) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).take(SIBLINGS).collect();
    paths.sort();
    let both = paths.into_iter().flat_map(|path| [path.clone(), path.join(FOLDER)]);
    both.filter(|path| path.join(METADATA).exists()).collect()
}

/// How to get from one folder, which need not exist yet, to another; none if that has no name in UTF-8.
pub(super) fn way(from: &Path, to: &Path) -> Option<String> {
    let (from, to) = (real(from)?, real(to)?);
    let (mut from, mut to) = (from.components().peekable(), to.components().peekable());
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let up = from.map(|_| Some(".."));
    let down = to.map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let names: Option<Vec<&str>> = up.chain(down).collect();
    names.map(|names| names.join("/"))
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let existing = path.ancestors().find_map(|known| Some((known, known.canonicalize().ok()?)));
    let (known, real) = existing?;
    Some(real.join(path.strip_prefix(known).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_lead_up_and_down() {
        let way = |from: &str, to: &str| way(Path::new(from), Path::new(to));
        assert_eq!(way("/no/such/a", "/no/such/b/c").as_deref(), Some("../b/c"));
        assert_eq!(way("/no/x/y/z", "/no/such").as_deref(), Some("../../../such"));
        assert_eq!(way("/no", "/no").as_deref(), Some(""));
    }
}
