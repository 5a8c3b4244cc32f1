//! Prints the hashes of native code.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let text = gmat_wasm_tests::hashes().map_err(|error| io::Error::other(error.to_string()))?;
    io::stdout().write_all(text.as_bytes())
}
