//! What plugins cost: `cargo bench -p gmat-tests --bench plugin`.
//!
//! Shows, on one thread and as ratios of one run: a plugin that copies beside copying, the same search
//! as a plugin and built in, a new instance, and compiling beside the cache. `RUSTFLAGS` must not be set.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program of its own, which prints what it is for"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use gmat_core::Registry;
use gmat_core::quant::{QuantCx, QuantType};
use gmat_plugin_host::{Cache, open};

/// The code of the example, compiled into this program.
#[path = "../../plugins/examples/q4k-search/src/search.rs"]
#[allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "it is the code of the plugin, in which these are right"
)]
mod search;

const COLS: usize = 4096;
/// A row group: a million values.
const VALUES: usize = 1 << 20;

/// Seconds for one run, the best of several.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let once = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    std::iter::repeat_with(once).take(9).fold(f64::INFINITY, f64::min)
}

fn gigabytes(seconds: f64) -> f64 {
    4.0 * VALUES as f64 / seconds / 1e9
}

fn quantize(quant: &dyn QuantType, x: &[f32], out: &mut [u8]) {
    quant.quantize(x, &QuantCx::standard(COLS, None), out).unwrap();
}

/// The module of the example.
fn example() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::temp_dir().join("gmat-plugin-bench");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(here.join("../plugins/examples"))
        .env_remove("CARGO_TARGET_DIR")
        .status();
    assert!(built.unwrap().success());
    target.join("wasm32-unknown-unknown/release/q4k_search.wasm")
}

fn main() {
    let folder = tempfile::TempDir::new().unwrap();
    let copying = include_str!("copy.wat");
    let path = folder.path().join("copy.wasm");
    std::fs::write(&path, wat::parse_str(copying).unwrap()).unwrap();
    let mut registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let (copy, _) = open(&path, None).unwrap();
    registry.add_plugin(copy).unwrap();
    let example = example();
    let (plugin, guest) = open(&example, None).unwrap();
    registry.add_plugin(plugin).unwrap();
    let x: Vec<f32> = gmat_tests::golden_input::Big::Gauss.rows(VALUES as u64 / 4096, 4096);

    let mut out = vec![0u8; VALUES * 4];
    let copy = registry.quant("f32@copy").unwrap();
    let by_plugin = seconds(|| quantize(copy, black_box(&x), &mut out));
    let built_in = registry.quant("f32").unwrap();
    let by_us = seconds(|| quantize(built_in, black_box(&x), &mut out));
    println!("pass-through kernel   {:.2} GB/s of f32", gigabytes(by_plugin));
    println!("built-in `f32`        {:.2} GB/s", gigabytes(by_us));

    let q4k = registry.quant("q4_k@search").unwrap();
    let mut out = vec![0u8; VALUES / 256 * 144];
    let by_plugin = seconds(|| quantize(q4k, black_box(&x), &mut out));
    let mut native = vec![0u8; out.len()];
    let by_us = seconds(|| {
        for (x, out) in black_box(&x).chunks(COLS).zip(native.chunks_mut(COLS / 256 * 144)) {
            search::quantize(x, None, 2, out);
        }
    });
    assert!(out == native, "the plugin and the same code built in differ");
    println!("q4_k@search           {:.4} GB/s", gigabytes(by_plugin));
    println!("the same code, native {:.4} GB/s", gigabytes(by_us));
    println!("ratio                 {:.2}", by_plugin / by_us);

    let (one, mut bytes) = (&x[..256], vec![0u8; 1024]);
    let cx = QuantCx::standard(256, None);
    let instance = seconds(|| copy.quantize(one, &cx, &mut bytes).unwrap());
    println!("a new instance        {:.1} us", instance * 1e6);

    let cache = Cache::new(folder.path().join("cache"));
    let compiled = guest.load().unwrap();
    let (_, first) = open(&example, Some(cache.clone())).unwrap();
    first.load().unwrap();
    let (_, second) = open(&example, Some(cache)).unwrap();
    let cached = second.load().unwrap();
    assert!(cached.cached && !compiled.cached);
    println!("compiling             {:.1} ms", compiled.time.as_secs_f64() * 1e3);
    println!("from the cache        {:.2} ms", cached.time.as_secs_f64() * 1e3);
}
