//! Shared parts of the tests: generators, laws and independent readers.

pub mod golden_input;
pub mod memory;
pub mod synth;
pub mod weights;
