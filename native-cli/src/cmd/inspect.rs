//! `gmat inspect`: what a SafeTensors model, a store or a GGUF file contains, from headers only.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use gmat_core::format::gguf::{Array, Gguf, Value};
use gmat_core::io::Files as _;
use gmat_core::source::Model;
use gmat_core::store::{FOLDER, METADATA, Store, tensor_file};
use gmat_core::{Error, Registry, Result, ResultExt};
use serde_json::{Value as Json, json};

use super::import::Input;
use crate::args::Inspect;
use crate::folder::Folder;
use crate::report::Console;
use crate::size::show_size;

/// Arrays of more elements are described, not printed.
const WHOLE_ARRAY: usize = 64;

/// One tensor: a line of the table, and everything that is known.
struct Row {
    name: String,
    shape: String,
    kind: String,
    bytes: u64,
    json: Json,
}

/// What is shown of any of the three.
struct Contents {
    format: &'static str,
    /// Key, short text, value.
    keys: Vec<(String, String, Json)>,
    rows: Vec<Row>,
    /// What is wrong with it.
    warnings: Vec<String>,
}

pub(crate) fn run(args: &Inspect, registry: &Registry, console: &mut Console) -> Result<()> {
    let contents = contents(&args.path, registry)?;
    let total: u64 = contents.rows.iter().map(|row| row.bytes).fold(0, u64::saturating_add);
    for warning in &contents.warnings {
        console.warn(warning);
    }
    if args.json {
        let tensors: Vec<_> = contents.rows.into_iter().map(|row| row.json).collect();
        let keys: serde_json::Map<_, _> =
            contents.keys.into_iter().map(|(key, _, value)| (key, value)).collect();
        let all = json!({
            "format": contents.format,
            "metadata": keys,
            "tensors": tensors,
            "bytes": total,
            "warnings": contents.warnings,
        });
        console.result(all.to_string());
        return Ok(());
    }
    console.result(format!("{} ({})", args.path.display(), contents.format));
    for (key, value, _) in &contents.keys {
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
    let tensors = super::tensors(contents.rows.len());
    console.result(format!("{tensors}, {total} bytes ({})", show_size(total)));
    Ok(())
}

fn contents(path: &Path, registry: &Registry) -> Result<Contents> {
    let inner = path.join(FOLDER);
    for folder in [path, &inner] {
        // A metadata file that cannot be read still says what the folder is.
        if folder.join(METADATA).symlink_metadata().is_ok() {
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
    let mut warnings = Vec::new();
    let mut rows = Vec::new();
    for (id, record) in &store.metadata.tensors {
        let file = tensor_file(*id);
        match folder.len(&file) {
            Ok(Some(len)) if len == record.stored_bytes => {}
            Ok(Some(len)) => warnings.push(format!(
                "{} has {len} bytes, metadata.json says {}",
                folder.place(&file),
                record.stored_bytes
            )),
            Ok(None) => warnings.push(format!("missing tensor: {}", folder.place(&file))),
            Err(error) => warnings.push(error.to_string()),
        }
        rows.push(Row {
            name: format!("{id}  {}", record.name),
            shape: record.info()?.shape.to_string(),
            kind: format!("{} as {}", record.dtype, record.block_format),
            bytes: record.stored_bytes,
            json: json!({
                "id": id,
                "name": record.name,
                "file": record.file,
                "dtype": record.dtype,
                "block_format": record.block_format,
                "shape": record.shape,
                "bytes": record.stored_bytes,
                "importance": record.importance,
                "rms": record.rms,
                "max_abs": record.max_abs,
                "nonzero": record.nonzero,
                "source_blake3": record.source_blake3,
            }),
        });
    }
    let given = &store.metadata.config.metadata;
    let keys = given.iter().map(|(key, value)| (key.clone(), value.to_string(), value.clone()));
    Ok(Contents { format: "GMAT store", keys: keys.collect(), rows, warnings })
}

fn safetensors(path: &Path) -> Result<Contents> {
    let input = Input::find(path)?;
    let folder = Folder::new(&input.folder);
    let model = Model::open(&folder, input.pick())?;
    let rows = model.tensors.iter().map(|tensor| {
        let (info, bytes) = (&tensor.info, tensor.info.byte_len()?);
        let file = model.shards.get(tensor.shard).map(|shard| shard.name.as_str());
        Ok(Row {
            name: info.name.clone(),
            shape: info.shape.to_string(),
            kind: info.dtype.to_string(),
            bytes,
            json: json!({
                "name": info.name,
                "file": file,
                "dtype": info.dtype.name(),
                "shape": info.shape.dims(),
                "bytes": bytes,
            }),
        })
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let keys = model.metadata.into_iter().map(|(key, text)| (key, text.clone(), Json::from(text)));
    Ok(Contents { format: "SafeTensors", keys: keys.collect(), rows, warnings: model.notes })
}

fn gguf(path: &Path, registry: &Registry) -> Result<Contents> {
    let (gguf, len) = read_gguf(path)?;
    let entries = gguf.meta.entries().iter();
    let keys = entries.map(|(key, value)| (key.clone(), show(value), as_json(value))).collect();
    let mut rows = Vec::new();
    for tensor in &gguf.tensors {
        let quant = registry.quant_by_id(tensor.ggml_type);
        let bytes = quant.and_then(|quant| quant.block().len_of(tensor.elems()?));
        check_end(&gguf, tensor.offset, bytes, len)
            .context(|| format!("tensor `{}`", tensor.name))?;
        let kind =
            quant.map_or_else(|| format!("type {}", tensor.ggml_type), |q| q.name().to_owned());
        rows.push(Row {
            json: json!({
                "name": tensor.name,
                "type": kind,
                "type_id": tensor.ggml_type,
                "shape": tensor.dims,
                "bytes": bytes,
            }),
            name: tensor.name.clone(),
            shape: format!("{:?}", tensor.dims).replace(' ', ""),
            kind,
            bytes: bytes.unwrap_or(0),
        });
    }
    Ok(Contents { format: "GGUF", keys, rows, warnings: Vec::new() })
}

/// Refuses a file that ends before one of its tensors does. Types that we do not know count as
/// empty, and an alignment other than the usual one can only move data further back.
fn check_end(gguf: &Gguf, offset: u64, bytes: Option<u64>, len: u64) -> Result<()> {
    let usual = gguf.meta.value("general.alignment").and_then(Value::as_u64);
    if usual.is_some_and(|alignment| alignment < 32) {
        return Ok(());
    }
    let end = gguf.data_start.checked_add(offset).and_then(|at| at.checked_add(bytes.unwrap_or(0)));
    match end {
        Some(end) if end <= len => Ok(()),
        _ => Err(Error::malformed(format!(
            "file is truncated: the tensor ends at byte {}, the file has {len} bytes",
            end.map_or_else(|| "2^64 or beyond".to_owned(), |end| end.to_string())
        ))
        .with_hint("export, download or copy the file again")),
    }
}

/// The header of a GGUF file, and the length of the file. That of the header is not stated anywhere,
/// so ever more is read until it is whole.
fn read_gguf(path: &Path) -> Result<(Gguf, u64)> {
    let failed = |error| Error::io("cannot read", error);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::new();
    let mut want = 1 << 20;
    loop {
        (&file).take(want - bytes.len() as u64).read_to_end(&mut bytes).map_err(failed)?;
        match Gguf::parse_start(&bytes, len)? {
            Some(gguf) => return Ok((gguf, len)),
            None => want = (want * 4).min(len),
        }
    }
}

/// Type and elements of an array.
fn elements(array: &Array) -> (&'static str, Vec<Json>) {
    fn all<T: Copy + Into<Json>>(values: &[T]) -> Vec<Json> {
        values.iter().map(|&value| value.into()).collect()
    }
    match array {
        Array::U8(v) => ("u8", all(v)),
        Array::I8(v) => ("i8", all(v)),
        Array::U16(v) => ("u16", all(v)),
        Array::I16(v) => ("i16", all(v)),
        Array::U32(v) => ("u32", all(v)),
        Array::I32(v) => ("i32", all(v)),
        Array::F32(v) => ("f32", all(v)),
        Array::U64(v) => ("u64", all(v)),
        Array::I64(v) => ("i64", all(v)),
        Array::F64(v) => ("f64", all(v)),
        Array::Bool(v) => ("bool", all(v)),
        Array::String(texts) => {
            let text = |bytes: &Vec<u8>| Json::from(String::from_utf8_lossy(bytes).into_owned());
            ("string", texts.iter().map(text).collect())
        }
    }
}

/// A value for programs.
fn as_json(value: &Value) -> Json {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(bytes) => json!(String::from_utf8_lossy(bytes)),
        Value::Array(array) => {
            let (of, elements) = elements(array);
            match elements.len() {
                0..=WHOLE_ARRAY => Json::Array(elements),
                len => json!({"type": "array", "of": of, "len": len}),
            }
        }
    }
}

/// A value as one short line.
fn show(value: &Value) -> String {
    let text = match value {
        Value::Array(Array::String(texts)) => format!("[{} strings]", texts.len()),
        Value::Array(array) => Json::Array(elements(array).1).to_string(),
        other => as_json(other).to_string(),
    };
    match text.char_indices().nth(72) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
