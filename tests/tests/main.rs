//! All integration tests in one binary, one module per subject: linking is what takes the time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is the report"
)]

mod advice;
mod arch;
mod based;
mod based_verify;
mod block_lanes;
mod block_laws;
mod compare;
mod convert;
mod convert_resume;
mod converted;
mod draft;
mod edges;
mod fit;
mod flow;
mod generic;
mod gguf_source;
mod guards;
mod hostile;
mod importance;
mod inspect;
mod lossless;
mod models;
mod names;
mod oracle;
mod plugins;
mod quant_golden;
mod quant_laws;
mod quantized_store;
mod recipes;
mod reference;
mod report;
mod resume;
mod rules;
mod safetensors_law;
mod sources;
mod sources_refused;
mod support;
mod tokens;
mod trellis;
mod verify;
mod views;
