//! The program itself, as the flow tests run it: `main` of the CLI and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    gmat::run(std::env::args_os())
}
