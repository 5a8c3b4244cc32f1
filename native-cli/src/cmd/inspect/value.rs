//! Values of metadata, for people.

use gmat_core::format::gguf::{Array, Value};
use gmat_core::inspect::Key;
use gmat_core::inspect::json::{WHOLE_ARRAY, elements};
use serde_json::Value as Json;

/// Characters of a value in a table.
const SHORT: usize = 72;

/// A value in one line; if it need not be `whole`, a short one.
pub(super) fn show(key: &Key, whole: bool) -> String {
    let text = match key {
        Key::Json(Json::String(text)) => text.clone(),
        Key::Json(value) => value.to_string(),
        Key::Gguf(Value::String(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Key::Gguf(Value::Array(array)) => list(array),
        // As few digits as tell it from its neighbours of 32 bits.
        Key::Gguf(Value::F32(value)) => format!("{value:?}"),
        Key::Gguf(_) => key.to_json().to_string(),
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
