//! The JSON form, documented in `docs/inspect.md`. Keys are added, never changed.

use serde_json::{Map, Value as Json, json};

use super::{Contents, Details, Facts, Histogram, Key, Tensor, TokenizerFacts, Totals};
use crate::format::gguf::{Array, Value};

/// Arrays of more elements are described, not listed.
pub const WHOLE_ARRAY: usize = 64;

/// All that is known, with the distributions of some tensors. `totals` may be of more tensors than
/// `contents` has left.
#[must_use]
pub fn object(contents: &Contents, totals: &Totals, histograms: &[(Tensor, Histogram)]) -> Json {
    let files = contents.files.iter().map(|file| json!({"name": file.name, "bytes": file.bytes}));
    let keys = contents.keys.iter().map(|(key, value)| (key.clone(), value.to_json()));
    let types = totals.kinds.iter().map(|kind| {
        json!({
            "type": kind.name,
            "tensors": kind.tensors,
            "parameters": kind.elems,
            "bytes": kind.bytes,
        })
    });
    let mut out = json!({
        "format": contents.format,
        "files": files.collect::<Vec<_>>(),
        "file_bytes": totals.file_bytes,
        "parameters": totals.elems,
        "bytes": totals.bytes,
        "types": types.collect::<Vec<_>>(),
        "model": model(&contents.facts),
        "tokenizer": contents.facts.tokenizer.as_ref().map(tokenizer),
        "metadata": keys.collect::<Map<_, _>>(),
        "tensors": contents.tensors.iter().map(tensor).collect::<Vec<_>>(),
        "warnings": contents.warnings,
    });
    if let (false, Some(out)) = (histograms.is_empty(), out.as_object_mut()) {
        let list = histograms.iter().map(|(tensor, histogram)| distribution(tensor, histogram));
        out.insert("histograms".to_owned(), list.collect());
    }
    out
}

fn model(facts: &Facts) -> Json {
    json!({
        "name": facts.name,
        "architecture": facts.architecture,
        "file_type": facts.file_type,
        "layers": facts.layers,
        "embedding_length": facts.width,
        "feed_forward_length": facts.inner,
        "heads": facts.heads,
        "kv_heads": facts.kv_heads,
        "experts": facts.experts,
        "experts_used": facts.experts_used,
        "context_length": facts.context,
        "vocab_size": facts.vocabulary,
    })
}

fn tokenizer(tokenizer: &TokenizerFacts) -> Json {
    let special = tokenizer.special.iter().map(|&(name, id)| (name.to_owned(), Json::from(id)));
    json!({
        "model": tokenizer.model,
        "pre": tokenizer.pre,
        "tokens": tokenizer.tokens,
        "merges": tokenizer.merges,
        "special": special.collect::<Map<_, _>>(),
        "chat_templates": tokenizer.templates,
    })
}

fn tensor(tensor: &Tensor) -> Json {
    let Tensor { name, kind, dims, bytes, file, .. } = tensor;
    match &tensor.details {
        Details::Source => {
            json!({"name": name, "file": file, "dtype": kind, "shape": dims, "bytes": bytes})
        }
        Details::Gguf(id) => json!({
            "name": name, "file": file, "type": kind, "type_id": id, "shape": dims, "bytes": bytes,
        }),
        Details::Stored(id, record) => json!({
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
    }
}

fn distribution(tensor: &Tensor, histogram: &Histogram) -> Json {
    let edges: Vec<f64> = (0..=histogram.counts.len()).map(|at| histogram.edge(at)).collect();
    json!({
        "name": tensor.name,
        "values": histogram.values,
        "zeros": histogram.zeros,
        "nan": histogram.nan,
        "infinite": histogram.infinite,
        "min": histogram.min,
        "max": histogram.max,
        "mean": histogram.mean,
        "rms": histogram.rms,
        "edges": edges,
        "counts": histogram.counts,
    })
}

impl Key {
    /// The value for programs.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Json(value) => value.clone(),
            Self::Gguf(value) => gguf(value),
        }
    }
}

/// Type, the first `most` elements, and how many there are.
#[must_use]
pub fn elements(array: &Array, most: usize) -> (&'static str, Vec<Json>, usize) {
    fn all<T: Copy + Into<Json>>(values: &[T], most: usize) -> (Vec<Json>, usize) {
        (values.iter().take(most).map(|&value| value.into()).collect(), values.len())
    }
    let (of, (first, len)) = match array {
        Array::U8(v) => ("u8", all(v, most)),
        Array::I8(v) => ("i8", all(v, most)),
        Array::U16(v) => ("u16", all(v, most)),
        Array::I16(v) => ("i16", all(v, most)),
        Array::U32(v) => ("u32", all(v, most)),
        Array::I32(v) => ("i32", all(v, most)),
        Array::F32(v) => ("f32", all(v, most)),
        Array::U64(v) => ("u64", all(v, most)),
        Array::I64(v) => ("i64", all(v, most)),
        Array::F64(v) => ("f64", all(v, most)),
        Array::Bool(v) => ("bool", all(v, most)),
        Array::String(texts) => {
            let text = |bytes: &Vec<u8>| Json::from(String::from_utf8_lossy(bytes).into_owned());
            ("string", (texts.iter().take(most).map(text).collect(), texts.len()))
        }
    };
    (of, first, len)
}

fn gguf(value: &Value) -> Json {
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
        Value::Array(array) => match elements(array, WHOLE_ARRAY) {
            (_, elements, 0..=WHOLE_ARRAY) => Json::Array(elements),
            (of, _, len) => json!({"type": "array", "of": of, "len": len}),
        },
    }
}
