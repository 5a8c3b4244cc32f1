//! `gmat plugins`: what plugins there are, and whether one keeps the laws.

use std::path::Path;
use std::time::{Duration, Instant};

use gmat_core::plugin::{Law, Plugin, Verdict, check_block, check_type};
use gmat_core::quant::{Need, QuantCx, QuantType};
use gmat_core::{Error, ErrorKind, GgmlType, Registry, Result};
use gmat_plugin_host::{Found, Load, Place, open};
use serde_json::json;

use crate::args::{CheckPlugin, ListPlugins};
use crate::plugins::cache;
use crate::report::Console;

/// Weights that are quantized to see how long it takes.
const WEIGHTS: usize = 1 << 20;
/// Weights of a row.
const COLS: usize = 4096;

pub(crate) fn list(
    args: &ListPlugins,
    places: &[Place],
    found: &[Found],
    console: &mut Console,
) -> Result<()> {
    if args.json {
        let entries: Vec<_> = found.iter().map(as_json).collect();
        console.result(json!({"plugins": entries}).to_string());
        return Ok(());
    }
    console.line("Looked for in:");
    for place in places {
        console.line(format!("  {} ({})", place.folder.display(), place.why));
    }
    for found in found {
        let plugin = found.plugin;
        console.line(format!(
            "\n{} {} ({}, {})",
            plugin.name(),
            plugin.identity().version,
            plugin.place(),
            found.why
        ));
        describe(plugin, console);
        console.line(match found.guest.load() {
            Ok(load) => format!("  ready after {}", shown(load)),
            Err(error) => format!("  cannot be used: {error}"),
        });
    }
    if found.is_empty() {
        console.line("\nThere are none.");
    }
    Ok(())
}

fn shown(load: Load) -> String {
    let how = if load.cached { "loading it from the cache" } else { "compiling it" };
    format!("{:.1} ms, {how}", millis(load.time))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn describe(plugin: &Plugin, console: &mut Console) {
    let descriptor = plugin.descriptor();
    if !descriptor.summary.is_empty() {
        console.line(format!("  {}", descriptor.summary));
    }
    console.line(format!("  BLAKE3 {}", plugin.identity().blake3));
    for ty in &descriptor.types {
        let what = match ty.layout {
            Some(layout) => format!("blocks of `{}`", layout.name()),
            None => format!("type id {} of its own", ty.ggml_type),
        };
        console.line(format!("  type {:<20} {what}", ty.name));
    }
    for block in &descriptor.blocks {
        console.line(format!("  block format {:<12} {}", block.name, block.summary));
    }
}

fn as_json(found: &Found) -> serde_json::Value {
    let (plugin, descriptor) = (found.plugin, found.plugin.descriptor());
    let load = found.guest.load();
    json!({
        "name": plugin.name(),
        "version": plugin.identity().version,
        "blake3": plugin.identity().blake3,
        "path": plugin.place(),
        "found": found.why,
        "types": descriptor.types.iter().map(|ty| &ty.name).collect::<Vec<_>>(),
        "block_formats": descriptor.blocks.iter().map(|block| &block.name).collect::<Vec<_>>(),
        "load_ms": load.as_ref().ok().map(|load| millis(load.time)),
        "cached": load.as_ref().ok().map(|load| load.cached),
        "error": load.err().map(|error| error.to_string()),
    })
}

/// Tries one plugin, wherever it is; `registry` has what is built in.
pub(crate) fn check(
    args: &CheckPlugin,
    mut registry: Registry,
    console: &mut Console,
) -> Result<()> {
    let (plugin, guest) = open(Path::new(&args.file), cache())?;
    registry.add_plugin(plugin)?;
    console.line(format!("{} {} ({})", plugin.name(), plugin.identity().version, plugin.place()));
    describe(plugin, console);
    let load =
        guest.load().map_err(|error| error.context(format!("plugin `{}`", plugin.place())))?;
    console.line(format!("  ready after {}", shown(load)));
    let mut broken = 0;
    for ty in &plugin.descriptor().types {
        let Some(quant) = registry.quant(&ty.name) else { continue };
        console.line(format!("\n{}", ty.name));
        broken += report(&check_type(quant), console);
        let built_in = ty.layout.and_then(|layout: GgmlType| registry.quant(layout.name()));
        compare(quant, built_in, console)?;
    }
    for block in &plugin.descriptor().blocks {
        console.line(format!("\n{}", block.name));
        let verdict = check_block(registry.block(&block.name)?);
        broken += report(&verdict, console);
        if let Some(error) = verdict.error {
            console.line(format!("  error {:.4} % of normally distributed values", 100.0 * error));
        }
    }
    match broken {
        0 => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Plugin,
            format!("plugin `{}` breaks {broken} of the laws", plugin.name()),
        )),
    }
}

fn report(verdict: &Verdict, console: &mut Console) -> usize {
    let mut broken = 0;
    for Law { text, result } in &verdict.laws {
        match result {
            Ok(()) => console.line(format!("  ok      {text}")),
            Err(error) => {
                broken += 1;
                console.line(format!("  BROKEN  {text}: {error}"));
            }
        }
    }
    broken
}

/// Error and speed, beside those of the built-in type with the same blocks.
fn compare(
    quant: &dyn QuantType,
    built_in: Option<&'static dyn QuantType>,
    console: &mut Console,
) -> Result<()> {
    let cols = COLS.next_multiple_of(quant.block().elems);
    let x: Vec<f32> = noise().take(WEIGHTS / cols * cols).collect();
    let all = [Some(quant), built_in];
    for quant in all.into_iter().flatten() {
        let (error, time) = measure(quant, &x, cols)?;
        let speed = 4.0 * x.len() as f64 / time.as_secs_f64() / 1e9;
        console.line(format!(
            "  {:<20} error {:.4} %, {speed:.3} GB/s of f32 on one thread",
            quant.name(),
            100.0 * error
        ));
    }
    Ok(())
}

/// Relative error on these values, and the time for all of them.
fn measure(quant: &dyn QuantType, x: &[f32], cols: usize) -> Result<(f64, Duration)> {
    let ones = vec![1.0; cols];
    let importance = (quant.importance() == Need::Required).then_some(&ones[..]);
    let cx = QuantCx::standard(cols, importance);
    let block = quant.block();
    let mut out = vec![0; x.len() / block.elems * block.bytes];
    quant.quantize(x, &cx, &mut out)?;
    let start = Instant::now();
    quant.quantize(x, &cx, &mut out)?;
    let time = start.elapsed();
    let mut back = vec![0.0; x.len()];
    quant.dequantize(&out, &mut back)?;
    let square = |v: f64| v * v;
    let error: f64 = x.iter().zip(&back).map(|(x, y)| square(f64::from(x - y))).sum();
    let size: f64 = x.iter().map(|x| square(f64::from(*x))).sum();
    Ok(((error / size).sqrt(), time))
}

/// About normally distributed numbers from a fixed sequence.
fn noise() -> impl Iterator<Item = f32> {
    let mut state = 7u64;
    std::iter::repeat_with(move || {
        let mut sum = -6.0;
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            sum += f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 65536.0;
        }
        sum * 0.02
    })
}
