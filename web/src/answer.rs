//! Answers to the worker: JSON texts, and errors as JSON texts that are thrown.

use gmat_core::{Error, ErrorKind, Result};
use serde_json::{Value as Json, json};
use wasm_bindgen::JsValue;

/// The text of an answer.
pub(crate) fn answer(result: Result<Json>) -> Result<String, JsValue> {
    result.map(|json| json.to_string()).map_err(|error| refusal(&error))
}

/// An error as the page shows it: what happened, inwards where, and what can be done.
pub(crate) fn refusal(error: &Error) -> JsValue {
    let kind = match error.kind() {
        ErrorKind::Io => "io",
        ErrorKind::Malformed => "malformed",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Limit => "limit",
        ErrorKind::Config => "config",
        ErrorKind::Shape => "shape",
        ErrorKind::Plugin => "plugin",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Mismatch => "mismatch",
        _ => "other",
    };
    let (message, chain, hint) = (error.message(), error.chain(), error.hint());
    let json = json!({"kind": kind, "message": message, "chain": chain, "hint": hint});
    JsValue::from_str(&json.to_string())
}
