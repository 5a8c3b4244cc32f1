//! Values of metadata, for people and for programs.

use gmat_core::format::gguf::{Array, Value};
use gmat_core::inspect::Key;
use serde_json::{Value as Json, json};

/// Arrays of more elements are described, not printed.
const WHOLE_ARRAY: usize = 64;

/// Characters of a value in a table.
const SHORT: usize = 72;

/// A value for programs.
pub(super) fn as_json(key: &Key) -> Json {
    match key {
        Key::Json(value) => value.clone(),
        Key::Gguf(value) => gguf(value),
    }
}

/// A value in one line; if it need not be `whole`, a short one.
pub(super) fn show(key: &Key, whole: bool) -> String {
    let text = match key {
        Key::Json(Json::String(text)) => text.clone(),
        Key::Json(value) => value.to_string(),
        Key::Gguf(Value::String(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Key::Gguf(Value::Array(array)) => list(array),
        // As few digits as tell it from its neighbours of 32 bits.
        Key::Gguf(Value::F32(value)) => format!("{value:?}"),
        Key::Gguf(value) => gguf(value).to_string(),
    };
    match text.char_indices().nth(SHORT).filter(|_| !whole) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// An array in one line: what it has many of, then the first few.
fn list(array: &Array) -> String {
    const SHOWN: usize = 6;
    let (of, first, len) = elements(array, WHOLE_ARRAY);
    let shown = |first: Vec<Json>| {
        let texts: Vec<String> = first.iter().map(Json::to_string).collect();
        texts.join(", ")
    };
    match len {
        0..=WHOLE_ARRAY => format!("[{}]", shown(first)),
        _ => {
            let (_, first, _) = elements(array, SHOWN);
            format!("{len} × {of} [{}, …]", shown(first))
        }
    }
}

/// Type, the first `most` elements, and how many there are.
fn elements(array: &Array, most: usize) -> (&'static str, Vec<Json>, usize) {
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
