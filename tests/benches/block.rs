//! Speed of every block format on one core, in millions of `f32` bytes a second.
//!
//! `cargo bench -p gmat-tests --bench block [-- NAME…]`

#![expect(clippy::print_stdout, reason = "a bench reports to the terminal")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use gmat_core::{DType, Registry};
use gmat_tests::weights::{Rng, Rows};

/// Repetitions; the fastest counts, since everything else is somebody else's load.
const RUNS: usize = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let registry = Registry::builtin(gmat_codecs::link())?;
    let mut rng = Rng::new(1);
    let single = Rows::generate("Gaussian F32", 256, 4096, || rng.normal() * 0.02);
    // The same cut to BF16: what models come in.
    let bytes = single.bytes.chunks(4).flat_map(|b| b.iter().skip(2).copied()).collect();
    let shape = gmat_core::block::GroupShape { dtype: DType::Bf16, ..single.shape };
    let half = Rows::from_bytes("Gaussian BF16", shape, bytes)?;
    for rows in [single, half] {
        println!("{} {}x{}", rows.name, rows.shape.rows, rows.shape.cols);
        println!("  {:12} {:>10} {:>12} {:>12}", "format", "bits", "encode MB/s", "decode MB/s");
        let megabytes = (rows.values.len() * size_of::<f32>()) as f64 / 1e6;
        for format in registry.blocks() {
            if !wanted.is_empty() && !wanted.iter().any(|name| name == format.name()) {
                continue;
            }
            let mut encoded = Vec::new();
            let mut decoded = vec![0.0; rows.values.len()];
            let (mut encode, mut decode) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..RUNS {
                encoded.clear();
                let start = Instant::now();
                format.encode(black_box(rows.input()), &mut encoded)?;
                encode = encode.min(start.elapsed().as_secs_f64());
                let start = Instant::now();
                format.decode(black_box(&encoded), rows.shape, &mut decoded)?;
                decode = decode.min(start.elapsed().as_secs_f64());
                black_box(&decoded);
            }
            println!(
                "  {:12} {:10.3} {:12.0} {:12.0}",
                format.name(),
                encoded.len() as f64 * 8.0 / rows.values.len() as f64,
                megabytes / encode,
                megabytes / decode
            );
        }
    }
    Ok(())
}
