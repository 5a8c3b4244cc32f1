//! What trellis mode gains, for each quantization type: `gmat-quant-error [NAME...]`, NAMEs select
//! types by prefix. On normal and on trained weights, without and with importance: relative root of
//! the mean square error in standard mode, and by how much trellis mode changes it and the root of
//! the weighted square error, which is what it minimizes; then by how much it changes the first if it is
//! told to minimize that.

use std::error::Error;
use std::io::{self, Write as _};

use gmat_core::Registry;
use gmat_core::quant::{Goal, Metric, Need, QuantCx, QuantType, Search};
use gmat_tests::golden_input::{Big, big_importance};
use gmat_tests::weights::{Rows, trained};

const SQUARES: Goal = Goal { lambda: 0.3, metric: Metric::Squares };

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let registry = Registry::builtin(gmat_codecs::link())?;
    let normal = vec![Rows::f32("normal", 4096, Big::Gauss.rows(32, 4096))];
    let trained = trained()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<9} {:<8} {:<10} {:>9} {:>9} {:>9} {:>9}",
        "type", "weights", "importance", "standard", "trellis", "weighted", "squares"
    )?;
    for q in registry.quants() {
        if !wanted.is_empty() && !wanted.iter().any(|w| q.name().starts_with(w.as_str())) {
            continue;
        }
        for (name, tensors) in [("normal", &normal), ("trained", &trained)] {
            for given in [false, true] {
                let unfit = if given { Need::Ignored } else { Need::Required };
                if q.importance() == unfit {
                    continue;
                }
                let mut sums = [Sums::default(); 3];
                let goals = [Search::Trellis(Goal::USUAL), Search::Trellis(SQUARES)];
                let searches = [Search::Standard].into_iter().chain(goals);
                for (sums, search) in sums.iter_mut().zip(searches) {
                    for rows in tensors {
                        sums.add(*q, rows, given, search)?;
                    }
                }
                let [before, after, squares] = sums;
                writeln!(
                    out,
                    "{:<9} {name:<8} {:<10} {:>9.5} {:>+8.2}% {:>+8.2}% {:>+8.2}%",
                    q.name(),
                    if given { "yes" } else { "no" },
                    (before.error / before.size).sqrt(),
                    change(before.error, after.error),
                    change(before.weighted, after.weighted),
                    change(before.error, squares.error),
                )?;
            }
        }
    }
    Ok(())
}

/// Percent by which the root changes.
fn change(before: f64, after: f64) -> f64 {
    if before == after { 0.0 } else { 100.0 * ((after / before).sqrt() - 1.0) }
}

/// Sums of squares.
#[derive(Clone, Copy, Default)]
struct Sums {
    size: f64,
    error: f64,
    weighted: f64,
}

impl Sums {
    /// Adds a tensor, unless it is a vector or its rows are not whole blocks.
    fn add(
        &mut self,
        q: &dyn QuantType,
        rows: &Rows,
        given: bool,
        search: Search,
    ) -> Result<(), gmat_core::Error> {
        let (x, cols) = (&rows.values, rows.shape.cols);
        let len = q.block().len_of(x.len() as u64).and_then(|len| usize::try_from(len).ok());
        let (Some(len), true) = (len, cols.is_multiple_of(q.block().elems) && rows.shape.rows > 1)
        else {
            return Ok(());
        };
        let importance = big_importance(cols as u64);
        let cx = QuantCx { cols, importance: given.then_some(&importance), search };
        let (mut bytes, mut back) = (vec![0; len], vec![0.0; x.len()]);
        let mut weights = vec![0.0; x.len()];
        q.quantize(x, &cx, &mut bytes)?;
        q.dequantize(&bytes, &mut back)?;
        q.weights(x, &cx, &mut weights)?;
        for ((x, y), weight) in x.iter().zip(&back).zip(&weights) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            let square = (x - y) * (x - y);
            self.size += x * x;
            self.error += square;
            self.weighted += f64::from(*weight) * square;
        }
        Ok(())
    }
}
