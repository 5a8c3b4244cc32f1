//! Where reports go, checked before an export that may take hours.

use std::path::{Path, PathBuf};

use gmat_core::export::Report;
use gmat_core::{Error, Result};

use super::write_whole;

#[derive(Debug, Clone, Copy)]
enum Form {
    Html,
    Json,
}

/// A report to be written.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    form: Form,
}

impl Target {
    /// The files after `--report`. `taken` are files that must not be overwritten, with what they
    /// are; `made` is a folder that the export makes if it is missing.
    ///
    /// # Errors
    /// `Config` for another extension, a taken file or a missing folder.
    pub(crate) fn all(
        paths: &[PathBuf],
        taken: &[(&str, &Path)],
        made: Option<&Path>,
    ) -> Result<Vec<Self>> {
        let mut targets: Vec<Self> = Vec::new();
        for path in paths {
            let shown = path.display();
            let form = form(path)?;
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if !folder.is_dir() && made != Some(folder) {
                return Err(Error::config(format!(
                    "report `{shown}` is in a folder that does not exist"
                )));
            }
            if path.is_dir() {
                return Err(Error::config(format!("report `{shown}` is a folder")));
            }
            if let Some((what, _)) = taken.iter().find(|(_, other)| same_file(path, other)) {
                return Err(Error::config(format!("report `{shown}` is the {what}"))
                    .with_hint("give the report another name"));
            }
            if targets.iter().any(|target| same_file(path, &target.path)) {
                return Err(Error::config(format!("report `{shown}` is given twice")));
            }
            targets.push(Self { path: path.clone(), form });
        }
        Ok(targets)
    }

    /// Writes it.
    pub(crate) fn write(&self, report: &Report) -> Result<()> {
        let text = match self.form {
            Form::Html => report.to_html()?,
            Form::Json => report.to_json()?,
        };
        write_whole(&self.path, &text)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn form(path: &Path) -> Result<Form> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("html") => Ok(Form::Html),
        Some("json") => Ok(Form::Json),
        _ => Err(Error::config(format!(
            "report `{}` ends neither in `.html` nor in `.json`",
            path.display()
        ))),
    }
}

/// Whether both name one file, which need not exist.
fn same_file(a: &Path, b: &Path) -> bool {
    a == b || real(a).is_some_and(|a| Some(a) == real(b))
}

/// The path without links and detours, as far as it exists.
fn real(path: &Path) -> Option<PathBuf> {
    if let Ok(path) = path.canonicalize() {
        return Some(path);
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}
