//! From the compiled module and the files of the page to static files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

/// The folder of generated files.
const PKG: &str = "pkg";
/// Files in which placeholders are replaced.
const INDEX: &str = "index.html";
const WORKER: &str = "sw.js";

/// Makes `dist` anew. `report` is the script of the error report, which the page shows and its
/// content security policy has to allow.
pub(crate) fn build(module: &Path, page: &Path, report: &Path, dist: &Path) -> Result<()> {
    if dist.exists() {
        fs::remove_dir_all(dist)?;
    }
    fs::create_dir_all(dist)?;
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(module)
        .out_name("gmat")
        .web(true)?
        .typescript(true)
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true);
    bindgen.generate(dist.join(PKG)).context("wasm-bindgen failed")?;
    copy(page, dist)?;

    let index = dist.join(INDEX);
    let html = fs::read_to_string(&index)?;
    let html = replace(&html, "REPORT_SCRIPT", &hash(report)?)?;
    fs::write(&index, html)?;

    let mut files = Vec::new();
    list(dist, dist, &mut files)?;
    files.retain(|name| name != WORKER && !name.ends_with(".d.ts"));
    files.sort();
    let mut version = Sha256::new();
    for name in &files {
        version.update(name);
        version.update(fs::read(dist.join(name))?);
    }
    let quoted: Vec<String> = files.iter().map(|name| format!("\"./{name}\"")).collect();
    let worker = dist.join(WORKER);
    let script = fs::read_to_string(&worker)?;
    let script = replace(&script, "FILES", &quoted.join(", "))?;
    let version = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(version.finalize());
    let script = replace(&script, "VERSION", version.get(..16).unwrap_or_default())?;
    fs::write(&worker, script)?;
    Ok(())
}

/// Replaces the placeholder `{{NAME}}`, which must be there.
fn replace(text: &str, name: &str, with: &str) -> Result<String> {
    let placeholder = format!("{{{{{name}}}}}");
    ensure!(text.contains(&placeholder), "`{placeholder}` is missing");
    Ok(text.replace(&placeholder, with))
}

/// What a content security policy calls the text, as it is in the report: after a line break.
fn hash(file: &Path) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hasher = Sha256::new();
    hasher.update(b"\n");
    hasher.update(text);
    let hash = base64::engine::general_purpose::STANDARD.encode(hasher.finalize());
    Ok(format!("'sha256-{hash}'"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target: PathBuf = to.join(path.file_name().context("a file without name")?);
        if path.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&path, &target)?;
        } else if path.extension().is_none_or(|extension| extension != "ts" && extension != "json")
        {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Paths of all files, with `/`.
fn list(folder: &Path, root: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, root, files)?;
        } else {
            let name = path.strip_prefix(root)?.to_str().context("a name that is not UTF-8")?;
            files.push(name.replace('\\', "/"));
        }
    }
    Ok(())
}
