//! Who may import whom (ARCHITECTURE.md): an edge that is not in the table fails.

use std::collections::BTreeSet;
use std::process::Command;

/// Crate → crates of ours that it may depend on.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("gmat-core", &[]),
    ("gmat-plugin-abi", &[]),
    ("gmat-codecs", &["gmat-core"]),
    ("gmat-plugin-host", &["gmat-core", "gmat-plugin-abi"]),
    ("gmat", &["gmat-core", "gmat-codecs", "gmat-plugin-host"]),
    ("gmat-web", &["gmat-core", "gmat-codecs", "gmat-plugin-abi"]),
    ("gmat-wasm-tests", &["gmat-core", "gmat-codecs"]),
    (
        "gmat-tests",
        &["gmat-core", "gmat-codecs", "gmat", "gmat-web", "gmat-plugin-abi", "gmat-plugin-host"],
    ),
];

/// Crates that the platform-neutral ones must not know: files, threads of their own, terminals.
const NOT_IN_NEUTRAL: [&str; 7] =
    ["memmap2", "clap", "ctrlc", "indicatif", "tempfile", "wasmtime", "wasm-bindgen"];

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(found, ours, "a crate is missing from the table, or gone");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = ALLOWED.iter().find(|(other, _)| *other == name).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            assert!(!ours.contains(to) || allowed.contains(&to), "{name} must not import {to}");
            let neutral = ["gmat-core", "gmat-codecs"].contains(&name);
            assert!(!neutral || !NOT_IN_NEUTRAL.contains(&to), "{name} must not import {to}");
        }
    }
}
