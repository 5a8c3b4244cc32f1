//! Speed (of one core, in millions of `f32` bytes a second), size and error of every block format.
//!
//! `cargo bench -p gmat-tests --bench block [-- NAME…]`

#![expect(clippy::print_stdout, reason = "a bench reports to the terminal")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use gmat_core::block::{BlockFormat, GroupShape};
use gmat_core::{DType, Registry};
use gmat_tests::weights::{Rng, Rows, trained};

/// Repetitions; the fastest counts, since everything else is somebody else's load.
const RUNS: usize = 25;

/// What one format makes of all groups of a data set.
#[derive(Default)]
struct Total {
    bytes: usize,
    encode: f64,
    decode: f64,
    error: f64,
    signal: f64,
    worst: f64,
}

impl Total {
    fn add(&mut self, format: &dyn BlockFormat, rows: &Rows) -> Result<(), Box<dyn Error>> {
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
        self.encode += encode;
        self.decode += decode;
        self.bytes += encoded.len();
        let signal: f64 = rows.values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let relative = rows.relative_rmse(&decoded);
        self.signal += signal;
        self.error += relative * relative * signal;
        self.worst = self.worst.max(relative);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let registry = Registry::builtin(gmat_codecs::link())?;
    let mut rng = Rng::new(1);
    let single = Rows::generate("Gaussian", 256, 4096, || rng.normal() * 0.02);
    // The same cut to BF16: what models come in.
    let bytes = single.bytes.chunks(4).flat_map(|b| b.iter().skip(2).copied()).collect();
    let shape = GroupShape { dtype: DType::Bf16, ..single.shape };
    let short = Rows::from_bytes("Gaussian, BF16", shape, bytes)?;
    let tailed = Rows::generate("Student's t", 256, 4096, || rng.student_t() * 0.02);
    for (name, data) in [
        ("Gaussian F32", vec![single]),
        ("Gaussian BF16", vec![short]),
        ("Student's t (5) F32", vec![tailed]),
        ("trained BF16 (example/tiny_llm)", trained()?),
    ] {
        println!("{name}");
        println!(
            "  {:12} {:>10} {:>12} {:>12} {:>12} {:>12}",
            "format", "bits", "encode MB/s", "decode MB/s", "rel. RMSE %", "worst tensor"
        );
        let values: usize = data.iter().map(|rows| rows.values.len()).sum();
        let megabytes = (values * size_of::<f32>()) as f64 / 1e6;
        for format in registry.blocks() {
            if !wanted.is_empty() && !wanted.iter().any(|name| name == format.name()) {
                continue;
            }
            let mut total = Total::default();
            data.iter().try_for_each(|rows| total.add(*format, rows))?;
            println!(
                "  {:12} {:10.3} {:12.0} {:12.0} {:12.4} {:12.4}",
                format.name(),
                total.bytes as f64 * 8.0 / values as f64,
                megabytes / total.encode,
                megabytes / total.decode,
                100.0 * (total.error / total.signal).sqrt(),
                100.0 * total.worst
            );
        }
    }
    Ok(())
}
