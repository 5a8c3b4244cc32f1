//! All integration tests, in one binary: a module per subject.

mod block_lanes;
mod block_laws;
