//! `gmat-bundle build MODULE PAGE REPORT DIST` makes the folder that a host serves;
//! `gmat-bundle serve DIST [PORT] [--plain]` serves it on this machine.

mod build;
mod serve;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["build", module, page, report, dist] => {
            build::build(module.as_ref(), page.as_ref(), report.as_ref(), dist.as_ref())
        }
        ["serve", dist, rest @ ..] => {
            let port = rest.iter().find(|arg| !arg.starts_with('-'));
            let plain = rest.contains(&"--plain");
            serve::serve(dist.as_ref(), port.map_or(Ok(8080), |port| port.parse())?, plain)
        }
        _ => {
            bail!("usage: gmat-bundle build MODULE PAGE REPORT DIST | serve DIST [PORT] [--plain]")
        }
    }
}
