//! The same row code, compiled for several instruction sets.

pub(crate) mod dispatch;
