//! Speed of the quantization types on one thread, in megabytes of `f32` per second: in standard mode
//! without and with importance, the same in trellis mode (which includes standard mode), and back.
//!
//! `cargo bench -p gmat-tests --bench quant [-- NAME...]`; NAMEs select types by prefix.

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use gmat_core::Registry;
use gmat_core::quant::{Goal, Need, QuantCx, QuantType, Search};
use gmat_tests::golden_input::{Big, big_importance};

const ROWS: u64 = 64;
const COLS: u64 = 4096;
/// Runs whose median counts, and how long each takes at least.
const RUNS: usize = 7;
const RUN: Duration = Duration::from_millis(60);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let registry = Registry::builtin(gmat_codecs::link())?;
    let x = Big::Gauss.rows(ROWS, COLS);
    let importance = big_importance(COLS);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<9} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "MB/s", "none", "importance", "trellis", "importance", "dequantize"
    )?;
    for q in registry.quants() {
        if !wanted.is_empty() && !wanted.iter().any(|w| q.name().starts_with(w.as_str())) {
            continue;
        }
        write!(out, "{:<9}", q.name())?;
        for search in [Search::Standard, Search::Trellis(Goal::USUAL)] {
            let none = (q.importance() != Need::Required).then(|| quantize(*q, &x, None, search));
            let with = (q.importance() != Need::Ignored)
                .then(|| quantize(*q, &x, Some(&importance), search));
            write!(out, " {} {}", figure(none), figure(with))?;
        }
        writeln!(out, " {:>10.0}", dequantize(*q, &x, &importance))?;
    }
    Ok(())
}

fn figure(speed: Option<f64>) -> String {
    speed.map_or_else(|| format!("{:>10}", "-"), |speed| format!("{speed:>10.1}"))
}

fn quantize(q: &dyn QuantType, x: &[f32], importance: Option<&[f32]>, search: Search) -> f64 {
    let cols = x.len() / usize::try_from(ROWS).unwrap_or(1);
    let mut out = vec![0; quantized_len(q, x)];
    let cx = QuantCx { search, ..QuantCx::standard(cols, importance) };
    speed(x.len(), || black_box(q.quantize(black_box(x), &cx, &mut out)).is_ok())
}

fn dequantize(q: &dyn QuantType, x: &[f32], importance: &[f32]) -> f64 {
    let mut bytes = vec![0; quantized_len(q, x)];
    let cx = QuantCx::standard(importance.len(), Some(importance));
    let mut out = vec![0.0; x.len()];
    let ready = q.quantize(x, &cx, &mut bytes).is_ok();
    speed(x.len(), || ready && black_box(q.dequantize(black_box(&bytes), &mut out)).is_ok())
}

fn quantized_len(q: &dyn QuantType, x: &[f32]) -> usize {
    let len = q.block().len_of(x.len() as u64);
    len.and_then(|len| usize::try_from(len).ok()).unwrap_or(0)
}

/// Median of several runs; not a number if the work fails.
#[expect(clippy::cast_precision_loss, reason = "sizes are small")]
fn speed(elems: usize, mut work: impl FnMut() -> bool) -> f64 {
    let mut runs = [0.0; RUNS];
    for run in &mut runs {
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed() < RUN {
            if !work() {
                return f64::NAN;
            }
            rounds += 1;
        }
        let bytes = 4.0 * elems as f64 * f64::from(rounds);
        *run = bytes / start.elapsed().as_secs_f64() / 1e6;
    }
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}
