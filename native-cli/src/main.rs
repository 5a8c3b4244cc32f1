//! The `gmat` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    gmat::run(std::env::args_os())
}
