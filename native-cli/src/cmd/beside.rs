//! The name of a model by where it lies.

use std::path::Path;

/// The name of a model by its folder; in a hub's cache (`models--ORG--NAME/snapshots/COMMIT`) by
/// the repository, since a commit says nothing.
pub(super) fn model_name(folder: &Path) -> Option<String> {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let snapshots = path.parent().filter(|parent| parent.ends_with("snapshots"));
    let repository = snapshots.and_then(Path::parent).and_then(name);
    let cached = repository.as_deref().and_then(|name| name.strip_prefix("models--"));
    match cached.and_then(|name| name.rsplit("--").next()) {
        Some(cached) => Some(cached.to_owned()),
        None => name(&path),
    }
}
