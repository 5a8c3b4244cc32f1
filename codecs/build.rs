//! Finds the codec files: every `src/{block,quant,arch,token,container}/*.rs` becomes a module, and its
//! anchor goes into the list that `link()` counts. Adding a codec is adding one file.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

const FAMILIES: [&str; 5] = ["block", "quant", "arch", "token", "container"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = env::var("CARGO_MANIFEST_DIR")?;
    let out = env::var("OUT_DIR")?;
    let mut modules = String::new();
    let mut anchors = String::new();
    for family in FAMILIES {
        let folder = Path::new(&root).join("src").join(family);
        println!("cargo::rerun-if-changed={}", folder.display());
        writeln!(modules, "pub(crate) mod {family} {{")?;
        for name in codec_files(&folder)? {
            let path = folder.join(format!("{name}.rs"));
            writeln!(modules, "    #[path = {path:?}] pub(crate) mod {name};")?;
            writeln!(anchors, "    &{family}::{name}::ANCHOR,")?;
        }
        writeln!(modules, "}}")?;
    }
    let code = format!("{modules}\npub(crate) static ALL: &[&usize] = &[\n{anchors}];\n");
    fs::write(Path::new(&out).join("codecs.rs"), code)?;
    Ok(())
}

/// Module names in a folder, sorted, so that the generated file is reproducible.
fn codec_files(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let (Some(stem), Some("rs")) = (stem, path.extension().and_then(|e| e.to_str())) {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
