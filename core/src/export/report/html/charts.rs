//! Plots, drawn by `poloto` as SVG that takes its colours and fonts from the style of the page.

use std::fmt::Display;

use poloto::build::{markers, plot};
use poloto::plotnum::HasDefaultTicks;
use poloto::prelude::PlotIterator;

use crate::error::{Error, Result};
use crate::export::report::Report;
use crate::export::report::html::groups::{Groups, role};
use crate::export::report::html::text::{escape, short};

/// Colours that the style has, and one more for the rest.
pub(super) const COLOURS: usize = 8;
/// Bars in one plot: more are in the table.
pub(super) const BARS: usize = 24;
/// Characters of a label that have room.
const LABEL: usize = 22;
/// Width of a plot, with the margins that `poloto` leaves.
const WIDTH: f64 = 760.0;
/// Its margins, of which our labels need less, except at the left.
const MARGIN: (f64, f64) = (150.0, 100.0);
/// The largest percentage drawn, against nonsense in a broken model.
const MOST: f64 = 1e6;

/// A share as a percentage that can be drawn.
fn drawn(x: f64) -> Option<f64> {
    x.is_finite().then(|| (100.0 * x).clamp(0.0, MOST))
}

/// The end of an axis that holds these: never 0, so that there is an axis.
fn end(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(0.0, f64::max);
    if most < 1e-9 { 1.0 } else { most }
}

/// Puts the elements of a plot into an image of their own.
fn image(class: &str, id: &str, title: &str, height: f64, left: f64, elements: &str) -> String {
    // `poloto` numbers its plots from 0 in every image, but a page has each id once.
    // Its tabs are of no use here.
    let elements = elements.replace("id=\"poloto_plot", "data-plot=\"").replace('\t', "");
    let (x, y) = (MARGIN.0 - left, MARGIN.1 - 16.0);
    let (width, height) = (WIDTH - MARGIN.0 + 24.0 - x, height - 2.0 * y + 26.0);
    format!(
        "<svg class=\"poloto {class}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
         aria-labelledby=\"{id}\" viewBox=\"{x} {y} {width} {height}\"><title id=\"{id}\">{}\
         </title>\n{elements}</svg>\n",
        escape(title),
    )
}

fn failed(error: impl Display) -> Error {
    Error::shape(format!("a plot cannot be drawn: {error}"))
}

/// Horizontal bars of shares in percent, the first at the top; nothing without bars.
pub(super) fn bars(id: &str, title: &str, shares: &[(String, f64)]) -> Result<String> {
    let drawable = shares.iter().filter_map(|(name, share)| Some((name, drawn(*share)?)));
    let mut bars: Vec<(f64, String)> = drawable
        .take(BARS)
        .map(|(name, share)| (share, escape_controls(&short(name, LABEL))))
        .collect();
    if bars.is_empty() {
        return Ok(String::new());
    }
    if bars.len() < 2 {
        // An axis needs two ticks.
        bars.push((0.0, String::new()));
    }
    bars.reverse();
    let height = 2.0 * MARGIN.1 + 22.0 * (bars.len() as f64 + 1.0);
    let end = end(bars.iter().map(|bar| bar.0));
    let mut frame = poloto::frame();
    frame.with_viewbox([WIDTH, height]).with_tick_lines([true, false]).bar_width(14.0);
    let (plots, ticks) = poloto::build::bar::gen_bar("", bars, [0.0, end]);
    let stage =
        poloto::render::Stage1::from_parts(plots, f64::default_ticks(), ticks, frame.build());
    let elements =
        stage.build_and_label(("", "", "")).headless().render_string().map_err(failed)?;
    Ok(image("bars", id, title, height, 200.0, &elements))
}

/// Error of each layer.
pub(super) fn layers(id: &str, groups: &Groups<'_>) -> Result<String> {
    let points: Vec<(i128, f64)> = (groups.layers.iter())
        .filter_map(|(layer, pool)| Some((i128::from(*layer), drawn(pool.relative())?)))
        .collect();
    let last = points.iter().map(|point| point.0).max().unwrap_or(0).max(1);
    let end = end(points.iter().map(|point| point.1));
    let height = 440.0;
    let mut frame = poloto::frame();
    frame.with_viewbox([WIDTH, height]).with_tick_lines([false, true]);
    let line = plot("").line(points.clone());
    let dots = plot("").scatter(points);
    let plots = line.chain(dots).chain(markers([0, last], [0.0, end]));
    let stage = frame.build().data(plots).build_and_label(("", "", ""));
    let elements = stage.headless().render_string().map_err(failed)?;
    Ok(image(
        "points",
        id,
        "Relative error in percent (upwards) of each layer (to the right)",
        height,
        60.0,
        &elements,
    ))
}

/// Error of each tensor that has one against its bits per weight, in a colour for its role; the roles are in
/// the order of the colours, the last colour is for all others.
pub(super) fn scatter(id: &str, report: &Report, roles: &[&str]) -> Result<String> {
    let series = |colour: usize| -> Vec<(f64, f64)> {
        let of = report.tensors.iter().filter(|tensor| {
            let role = role(tensor);
            roles.iter().take(COLOURS - 1).position(|known| *known == role).unwrap_or(COLOURS - 1)
                == colour
        });
        of.filter_map(|tensor| Some((tensor.bits_per_weight, drawn(tensor.error.relative_rmse)?)))
            .filter(|point| point.0.is_finite() && point.1 > 0.0)
            .collect()
    };
    let all: [Vec<(f64, f64)>; COLOURS] = std::array::from_fn(series);
    let bits = end(all.iter().flatten().map(|point| point.0));
    let error = end(all.iter().flatten().map(|point| point.1));
    let [a, b, c, d, e, f, g, h] = all.map(|points| plot("").scatter(points));
    let plots = poloto::plots!(a, b, c, d, e, f, g, h, markers([0.0, bits], [0.0, error]));
    let height = 440.0;
    let mut frame = poloto::frame();
    frame.with_viewbox([WIDTH, height]).with_tick_lines([true, true]);
    let stage = frame.build().data(plots).build_and_label(("", "", ""));
    let elements = stage.headless().render_string().map_err(failed)?;
    let title =
        "Relative error in percent (upwards) of each tensor against bits per weight (to the right)";
    Ok(image("points", id, title, height, 60.0, &elements))
}

/// Shares of a whole as a ring, in the order of the colours. `poloto` has no such plot; a ring is
/// one dashed circle per part, whose dash is as long as the part.
pub(super) fn ring(id: &str, title: &str, parts: &[u64]) -> String {
    let whole = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part)).max(1) as f64;
    let mut out = format!(
        "<svg class=\"ring\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
         aria-labelledby=\"{id}\" viewBox=\"0 0 42 42\"><title id=\"{id}\">{}</title>\n",
        escape(title)
    );
    let mut before = 0.0;
    for (colour, part) in parts.iter().enumerate() {
        let share = 100.0 * *part as f64 / whole;
        out.push_str(&format!(
            "<circle class=\"c{}\" cx=\"21\" cy=\"21\" r=\"16\" pathLength=\"100\" \
             stroke-dasharray=\"{share:.3} {:.3}\" stroke-dashoffset=\"{:.3}\"/>\n",
            colour.min(COLOURS - 1),
            100.0 - share,
            25.0 - before,
        ));
        before += share;
    }
    out.push_str("</svg>\n");
    out
}

/// `poloto` escapes markup itself, but lets control characters pass.
fn escape_controls(label: &str) -> String {
    label
        .chars()
        .map(|c| if escape(&c.to_string()).starts_with("\\u") { '\u{fffd}' } else { c })
        .collect()
}
