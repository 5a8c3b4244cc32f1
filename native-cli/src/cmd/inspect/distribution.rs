//! `--histogram`: how the values of tensors are distributed.

use gmat_core::config::name_pattern;
use gmat_core::inspect::{Contents, Histogram, Tensor};
use gmat_core::progress::{Event, Progress as _};
use gmat_core::store::Store;
use gmat_core::{Error, Registry, Result, ResultExt};

use super::{Measured, refuse_none, table};
use crate::folder::Folder;
use crate::report::Console;

/// Characters of the longest bar.
const BAR: usize = 50;

/// Measures the tensor of that name, or all that match.
pub(super) fn measure(
    folder: &Folder,
    store: Option<&Store<'_>>,
    contents: &Contents,
    wanted: &str,
    bins: usize,
    registry: &Registry,
    console: &mut Console,
) -> Result<Vec<Measured>> {
    let named: Vec<&Tensor> = contents.tensors.iter().filter(|t| t.name == wanted).collect();
    let chosen = match named.is_empty() {
        false => named,
        true => {
            let regex = name_pattern(wanted).context(|| "`--histogram`")?;
            contents.tensors.iter().filter(|tensor| regex.is_match(&tensor.name)).collect()
        }
    };
    refuse_none(chosen.is_empty(), "tensor", wanted)?;
    let bytes = chosen.iter().map(|tensor| Histogram::cost(tensor)).fold(0, u64::saturating_add);
    let go_on = |console: &mut Console, event| match console.event(event) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(()) => Err(Error::cancelled()),
    };
    go_on(console, Event::Start { tensors: chosen.len(), bytes })?;
    let mut before = 0u64;
    let mut out = Vec::with_capacity(chosen.len());
    for tensor in chosen {
        let histogram = Histogram::of(folder, store, tensor, bins, registry, &mut |done| {
            go_on(console, Event::Bytes(before.saturating_add(done)))
        })?;
        before = before.saturating_add(Histogram::cost(tensor));
        out.push((tensor.clone(), histogram));
    }
    console.end();
    Ok(out)
}

/// Prints the statistics of a tensor, and a bar for each range of values.
pub(super) fn show(tensor: &Tensor, histogram: &Histogram, console: &mut Console) {
    let shape = table::shape(&tensor.dims);
    console.result(format!("\n{}  {shape}  {}", tensor.name, tensor.kind));
    let Histogram { values, zeros, nan, infinite, min, max, mean, rms, counts } = histogram;
    let share = 100.0 * *zeros as f64 / (*values).max(1) as f64;
    console.result(format!(
        "  {values} values, min {}, max {}, mean {}, rms {}",
        number(*min),
        number(*max),
        number(*mean),
        number(*rms)
    ));
    console.result(format!("  {zeros} zeros ({share:.1} %), {nan} NaN, {infinite} infinite"));
    if *values == nan + infinite {
        return;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let edges: Vec<String> = (0..=counts.len()).map(|at| number(histogram.edge(at))).collect();
    let (width, digits) =
        (edges.iter().map(String::len).max().unwrap_or(0), most.to_string().len());
    for (edge, count) in edges.windows(2).zip(counts) {
        let [from, to] = edge else { continue };
        console.result(
            format!("  {from:>width$} to {to:>width$}  {count:>digits$}  {}", bar(*count, most))
                .trim_end(),
        );
    }
}

/// A bar in eighths of a character; of something there is always something to be seen.
fn bar(count: u64, most: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(count) * (8 * BAR as u128) / u128::from(most);
    let eighths = usize::try_from(eighths).unwrap_or(0).max(usize::from(count > 0));
    format!("{}{}", "█".repeat(eighths / 8), PARTS.get(eighths % 8).unwrap_or(&""))
}

/// Four significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (0.001..100_000.0).contains(&size) => {
            let decimals = match size {
                1000.0.. => 0,
                100.0.. => 1,
                10.0.. => 2,
                1.0.. => 3,
                0.1.. => 4,
                0.01.. => 5,
                _ => 6,
            };
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{BAR, bar, number};

    #[test]
    fn bars_show_shares() {
        assert_eq!(bar(7, 7).chars().count(), BAR);
        assert_eq!(bar(0, 7), "");
        assert_eq!(bar(1, u64::MAX), "▏");
        assert_eq!(bar(u64::MAX, u64::MAX).chars().count(), BAR);
    }

    #[test]
    fn numbers_have_four_digits() {
        let numbers = [0.0, -0.012_345, 3.0, 12.5, -4096.4, 1e-9, 1e30];
        let texts = numbers.map(number);
        assert_eq!(texts, ["0", "-0.01235", "3.000", "12.50", "-4096", "1.000e-9", "1.000e30"]);
    }
}
