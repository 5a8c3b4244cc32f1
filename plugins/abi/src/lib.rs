//! SDK for plugins of gmat: quantization types and block formats, compiled to wasm.
//!
//! Implement [`Quantizer`] or [`BlockFormat`], list what there is in [`plugin!`], and build a `cdylib` for
//! `wasm32-unknown-unknown`. plugins/README.md of gmat goes through it step by step.
//!
//! ```
//! use gmat_plugin_abi::{Failure, Quantizer, Rows};
//!
//! /// 32 weights as one byte each, in units of 1/64.
//! struct Fixed;
//!
//! impl Quantizer for Fixed {
//!     fn new(_params: &str) -> Result<Self, Failure> {
//!         Ok(Self)
//!     }
//!
//!     fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, out: &mut [u8]) -> Result<(), Failure> {
//!         for (x, byte) in rows.values.iter().zip(out) {
//!             *byte = (x * 64.0).round().clamp(-128.0, 127.0) as i8 as u8;
//!         }
//!         Ok(())
//!     }
//!
//!     fn dequantize(&self, blocks: &[u8], out: &mut [f32]) -> Result<(), Failure> {
//!         for (byte, x) in blocks.iter().zip(out) {
//!             *x = f32::from(*byte as i8) / 64.0;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! gmat_plugin_abi::plugin! {
//!     name: "example", version: "0.1.0", summary: "Weights in units of 1/64.",
//!     types: [
//!         { name: "fixed8", ggml_type: 4242, block: [32, 32], importance: ignored, by: Fixed },
//!     ],
//!     blocks: [],
//! }
//! ```
//!
//! Version 1 of the interface does not change any more; docs/plugin-abi.md describes it. Plugins have
//! no files, no clock, and no memory of earlier calls: for every row group there is a new instance.

#![no_std]

extern crate alloc;

pub mod v1;

pub use self::v1::{BlockFormat, Failure, Quantizer, Rows};
