//! The newer form: a GGUF file with two tensors of 32-bit floats per weight, `NAME.in_sum2` (sums of
//! squares, `[columns, matrices]`) and `NAME.counts` (`[1, matrices]`: how many tokens each matrix
//! saw). Dimensions of one are left out at the end. (Layout as written by `llama-imatrix`.)

use std::collections::BTreeMap;

use super::{Divisor, Entry, Imatrix, check_name, floats_end};
use crate::error::{Error, Result};
use crate::format::gguf::{ALIGNMENT, Array, Gguf, GgufTensor, Meta, Value};
use crate::io::Files;
use crate::limits;

/// Keys that the reference tool wants to see.
const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// GGUF type id of 32-bit floats.
const F32: u32 = 0;

pub(super) fn open(files: &dyn Files, file: &str, len: u64) -> Result<Imatrix> {
    let (gguf, _) = Gguf::open(files, file, limits::IMATRIX_HEADER)?;
    check_keys(&gguf.meta)?;
    if gguf.tensors.len() as u64 > 3 * limits::IMATRIX_ENTRIES {
        return Err(Error::limit(format!("{} tensors", gguf.tensors.len())));
    }
    let named = |suffix| {
        let of = |tensor| move |name: &str| (name.to_owned(), tensor);
        let pairs = gguf.tensors.iter().map(move |t| t.name.strip_suffix(suffix).map(of(t)));
        pairs.flatten().collect::<BTreeMap<String, &GgufTensor>>()
    };
    let (sums, mut counts) = (named(SUMS), named(COUNTS));
    let mut entries = BTreeMap::new();
    for (name, sums) in sums {
        let counts = counts.remove(&name).ok_or_else(|| unpaired(&name, SUMS, COUNTS))?;
        let entry = entry(&name, sums, counts, gguf.data_start, len)?;
        entries.insert(name, entry);
    }
    if let Some(name) = counts.keys().next() {
        return Err(unpaired(name, COUNTS, SUMS));
    }
    let dataset = match gguf.meta.value(DATASETS) {
        Some(Value::Array(Array::String(names))) => names.first(),
        _ => None,
    };
    let dataset = dataset.map(|name| String::from_utf8_lossy(name).into_owned());
    let chunks = gguf.meta.value(CHUNK_COUNT).and_then(Value::as_u64).unwrap_or(0);
    let chunks = u32::try_from(chunks)
        .map_err(|_| Error::malformed(format!("`{CHUNK_COUNT}` is `{chunks}`")))?;
    Imatrix::of(entries, dataset.filter(|name| !name.is_empty()), chunks)
}

fn check_keys(meta: &Meta) -> Result<()> {
    let kind = meta.value("general.type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "imatrix") || meta.value("general.architecture").is_some() {
        return Err(Error::malformed("this GGUF file is no importance matrix")
            .with_hint("--imatrix takes what `llama-imatrix` writes, not a model"));
    }
    let wanted = [DATASETS, CHUNK_COUNT, CHUNK_SIZE];
    if let Some(key) = wanted.into_iter().find(|key| meta.value(key).is_none()) {
        return Err(Error::malformed(format!(
            "this GGUF file is no importance matrix: it has no `{key}`"
        )));
    }
    match meta.value("general.alignment").map(Value::as_u64) {
        Some(alignment) if alignment != Some(ALIGNMENT) => Err(Error::unsupported(format!(
            "`general.alignment` is {}; importance matrices are written with {ALIGNMENT}",
            alignment.map_or_else(|| "not a number".to_owned(), |a| a.to_string())
        ))),
        _ => Ok(()),
    }
}

fn unpaired(name: &str, have: &str, lack: &str) -> Error {
    Error::malformed(format!("there is `{name}{have}`, but no `{name}{lack}`"))
}

fn entry(
    name: &str,
    sums: &GgufTensor,
    counts: &GgufTensor,
    data_start: u64,
    file_len: u64,
) -> Result<Entry> {
    check_name(name)?;
    let place = |tensor: &GgufTensor| -> Result<(u64, u64)> {
        let wrong = |what: String| Error::malformed(format!("tensor `{}` {what}", tensor.name));
        if tensor.ggml_type != F32 {
            return Err(wrong(format!("is of type {}, expected F32", tensor.ggml_type)));
        }
        let elems = tensor.elems().filter(|&elems| elems > 0);
        let elems = elems.ok_or_else(|| wrong(format!("has dimensions {:?}", tensor.dims)))?;
        let start = data_start.checked_add(tensor.offset);
        let start = start.filter(|&at| floats_end(at, elems, file_len).is_some());
        let start = start.ok_or_else(|| {
            wrong(format!(
                "has {elems} values at byte {} of the data, beyond the end of the file",
                tensor.offset
            ))
        })?;
        Ok((start, elems))
    };
    let ((sums_at, len), (offset, matrices)) = (place(sums)?, place(counts)?);
    // One count per row of sums, or one for everything.
    let rows = sums.dims.iter().skip(1).product::<u64>();
    if matrices != rows && matrices != 1 {
        return Err(Error::malformed(format!(
            "`{name}` has sums for {rows} matrices, but {matrices} counts"
        )));
    }
    Ok(Entry { sums: sums_at, len, by: Divisor::Counts { offset, matrices } })
}
