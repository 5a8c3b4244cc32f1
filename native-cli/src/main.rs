//! The `gmat` program.

fn main() {}
