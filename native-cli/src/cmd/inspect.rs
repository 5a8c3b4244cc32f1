//! `gmat inspect`: what a SafeTensors model, a store or a GGUF file contains, from headers only.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use gmat_core::format::gguf::{Array, Gguf, Value};
use gmat_core::source::Model;
use gmat_core::store::{FOLDER, METADATA, Store};
use gmat_core::{Error, Registry, Result, ResultExt};
use serde_json::json;

use super::import::Input;
use crate::args::Inspect;
use crate::folder::Folder;
use crate::report::Console;
use crate::size::show_size;

/// One line of the table.
struct Row {
    name: String,
    shape: String,
    kind: String,
    bytes: u64,
}

/// What is shown of any of the three.
struct Contents {
    format: &'static str,
    keys: Vec<(String, String)>,
    rows: Vec<Row>,
}

pub(crate) fn run(args: &Inspect, registry: &Registry, console: &mut Console) -> Result<()> {
    let contents = contents(&args.path, registry)?;
    let total: u64 = contents.rows.iter().map(|row| row.bytes).sum();
    if args.json {
        let tensors: Vec<_> = contents
            .rows
            .iter()
            .map(|row| json!({"name": row.name, "shape": row.shape, "type": row.kind, "bytes": row.bytes}))
            .collect();
        let keys: serde_json::Map<_, _> =
            contents.keys.into_iter().map(|(key, value)| (key, json!(value))).collect();
        console.result(
            json!({"format": contents.format, "metadata": keys, "tensors": tensors, "bytes": total}).to_string(),
        );
        return Ok(());
    }
    console.result(format!("{} ({})", args.path.display(), contents.format));
    for (key, value) in &contents.keys {
        console.result(format!("  {key} = {value}"));
    }
    let width =
        |column: fn(&Row) -> &str| contents.rows.iter().map(|r| column(r).len()).max().unwrap_or(0);
    let (names, shapes, kinds) = (width(|r| &r.name), width(|r| &r.shape), width(|r| &r.kind));
    for row in &contents.rows {
        console.result(format!(
            "  {:names$}  {:>shapes$}  {:kinds$}  {:>12}",
            row.name, row.shape, row.kind, row.bytes
        ));
    }
    console.result(format!(
        "{} tensors, {total} bytes ({})",
        contents.rows.len(),
        show_size(total)
    ));
    Ok(())
}

fn contents(path: &Path, registry: &Registry) -> Result<Contents> {
    let inner = path.join(FOLDER);
    for folder in [path, &inner] {
        if folder.join(METADATA).is_file() {
            return store(folder);
        }
    }
    if is_gguf(path) {
        return gguf(path, registry).context(|| format!("file `{}`", path.display()));
    }
    safetensors(path)
}

/// Whether a file is a GGUF file, by its first bytes or at least by its name.
fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let begins = File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok());
    (begins && &magic == b"GGUF") || path.extension().is_some_and(|extension| extension == "gguf")
}

fn store(path: &Path) -> Result<Contents> {
    let folder = Folder::new(path);
    let store = Store::open(&folder)?;
    let rows = store.metadata.tensors.iter().map(|(id, record)| {
        Ok(Row {
            name: format!("{id}  {}", record.name),
            shape: record.info()?.shape.to_string(),
            kind: format!("{} as {}", record.dtype, record.block_format),
            bytes: record.stored_bytes,
        })
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let keys =
        store.metadata.config.metadata.iter().map(|(key, value)| (key.clone(), value.to_string()));
    Ok(Contents { format: "GMAT store", keys: keys.collect(), rows })
}

fn safetensors(path: &Path) -> Result<Contents> {
    let input = Input::find(path)?;
    let folder = Folder::new(&input.folder);
    let model = Model::open(&folder, input.pick())?;
    let rows = model.tensors.iter().map(|tensor| {
        Ok(Row {
            name: tensor.info.name.clone(),
            shape: tensor.info.shape.to_string(),
            kind: tensor.info.dtype.to_string(),
            bytes: tensor.info.byte_len()?,
        })
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let keys = model.metadata.into_iter().collect();
    Ok(Contents { format: "SafeTensors", keys, rows })
}

fn gguf(path: &Path, registry: &Registry) -> Result<Contents> {
    let gguf = read_gguf(path)?;
    let keys = gguf.meta.entries().iter().map(|(key, value)| (key.clone(), show(value))).collect();
    let rows = gguf.tensors.iter().map(|tensor| {
        let quant = registry.quant_by_id(tensor.ggml_type);
        let bytes = quant.and_then(|quant| quant.block().len_of(tensor.elems()?));
        Row {
            name: tensor.name.clone(),
            shape: format!("{:?}", tensor.dims).replace(' ', ""),
            kind: quant
                .map_or_else(|| format!("type {}", tensor.ggml_type), |q| q.name().to_owned()),
            bytes: bytes.unwrap_or(0),
        }
    });
    Ok(Contents { format: "GGUF", keys, rows: rows.collect() })
}

/// The header of a GGUF file. Its length is not stated anywhere, so ever more is read until it is
/// whole.
fn read_gguf(path: &Path) -> Result<Gguf> {
    let failed = |error| Error::io("cannot read", error);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::new();
    let mut want = 1 << 20;
    loop {
        (&file).take(want - bytes.len() as u64).read_to_end(&mut bytes).map_err(failed)?;
        match Gguf::parse_start(&bytes, len)? {
            Some(gguf) => return Ok(gguf),
            None => want = (want * 4).min(len),
        }
    }
}

/// A value as one short line.
fn show(value: &Value) -> String {
    let text = match value {
        Value::String(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Value::Array(Array::String(texts)) => format!("[{} strings]", texts.len()),
        Value::Array(array) => {
            let text = format!("{array:?}");
            text.split_once('(')
                .map_or(text.clone(), |(_, inner)| inner.trim_end_matches(')').to_owned())
        }
        other => {
            let text = format!("{other:?}");
            text.split_once('(')
                .map_or(text.clone(), |(_, inner)| inner.trim_end_matches(')').to_owned())
        }
    };
    match text.char_indices().nth(72) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
