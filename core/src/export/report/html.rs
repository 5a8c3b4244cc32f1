//! The report as a page that needs nothing but itself: no network, no fonts, no other file.

use std::fmt::{self, Write};

use crate::error::{Error, Result};
use crate::export::report::Report;
use crate::export::report::html::charts::{BARS, COLOURS};
use crate::export::report::html::groups::{Groups, Pool};
use crate::export::report::html::text::escape;

mod charts;
mod groups;
mod heat;
mod table;
#[cfg(test)]
mod tests;
mod text;

const STYLE: &str = include_str!("html/page.css");
/// Sorts and filters the table; without it, all the rest is there.
const SCRIPT: &str = include_str!("html/page.js");
/// Nothing may be loaded, whatever a name in the page tries.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

pub(super) fn page(report: &Report) -> Result<String> {
    let groups = Groups::of(report);
    let roles = groups.worst_roles();
    let mut tensors: Vec<(String, f64)> = (report.tensors.iter())
        .filter(|tensor| tensor.error.relative_rmse > 0.0)
        .map(|tensor| {
            let name = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
            (name.to_owned(), tensor.error.relative_rmse)
        })
        .collect();
    tensors.sort_by(|a, b| b.1.total_cmp(&a.1));
    let by_role: Vec<(String, f64)> =
        roles.iter().map(|(role, pool)| ((*role).to_owned(), pool.relative())).collect();
    let coloured: Vec<&str> = roles.iter().map(|(role, _)| *role).take(COLOURS - 1).collect();
    let plots = Plots {
        tensors: charts::bars("p1", "Relative error in percent of the worst tensors", &tensors)?,
        roles: charts::bars("p2", "Relative error in percent by role", &by_role)?,
        layers: charts::layers("p3", &groups)?,
        scatter: charts::scatter("p4", report, &coloured)?,
        worst: tensors.len(),
    };
    let mut out = String::new();
    write(&mut out, report, &groups, &roles, &plots)
        .map_err(|_| Error::shape("the report is no text"))?;
    Ok(out)
}

/// Plots as SVG, empty where there is nothing to plot.
struct Plots {
    tensors: String,
    roles: String,
    layers: String,
    scatter: String,
    /// Number of tensors that differ from the store.
    worst: usize,
}

fn write(
    out: &mut String,
    report: &Report,
    groups: &Groups<'_>,
    roles: &[(&str, Pool)],
    plots: &Plots,
) -> fmt::Result {
    let name = report.files.first().map_or("export", |file| &file.name);
    let name = escape(name);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{name} – report</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{name}</h1>\n\
         <p>How far the quantized weights are from the stored ones · {}</p>\n",
        escape(&report.generator),
    )?;
    table::totals(out, report)?;
    out.push_str("</header>\n<main>\n");

    section(out, "Size by type", "");
    let mut parts: Vec<u64> = groups.types.iter().map(|(_, pool)| pool.bytes).collect();
    let rest = parts.split_off(parts.len().min(COLOURS - 1));
    if !rest.is_empty() {
        parts.push(rest.iter().fold(0, |sum, part| sum.saturating_add(*part)));
    }
    out.push_str("<div class=\"beside\">\n");
    out.push_str(&charts::ring("p0", "Share of each type in the size", &parts));
    table::types(out, groups)?;
    out.push_str("</div>\n</section>\n");

    if !groups.layers.is_empty() {
        section(out, "Error by layer", "relative RMSE in %, upwards; layer, to the right");
        out.push_str(&plots.layers);
        out.push_str("</section>\n");
    }
    section(
        out,
        "Error against bits",
        "relative RMSE in %, upwards; bits per weight, to the right",
    );
    out.push_str(&plots.scatter);
    out.push_str("<ul class=\"legend\">\n");
    for (colour, (role, _)) in roles.iter().take(COLOURS - 1).enumerate() {
        writeln!(out, "<li><i class=\"c{colour}\"></i>{}</li>", escape(&text::short(role, 40)))?;
    }
    writeln!(out, "<li><i class=\"c{}\"></i>all others</li>\n</ul>\n</section>", COLOURS - 1)?;
    if !plots.roles.is_empty() {
        section(out, "Error by role", "relative RMSE in %, all layers together");
        out.push_str(&plots.roles);
        out.push_str("</section>\n");
    }
    if !plots.tensors.is_empty() {
        let shown = plots.worst.min(BARS);
        section(
            out,
            "Largest errors",
            &format!("relative RMSE in %, {shown} of {} tensors", plots.worst),
        );
        out.push_str(&plots.tensors);
        out.push_str("</section>\n");
    }
    if !groups.layers.is_empty() {
        out.push_str("<section>\n<h2>Error by layer and role</h2>\n<p>relative RMSE in %</p>\n");
        heat::write(out, groups)?;
        out.push_str("</section>\n");
    }
    out.push_str(
        "<section class=\"wide\">\n<h2>All tensors</h2>\n<p class=\"filter\"><label>Filter \
         <input type=\"search\" id=\"filter\" placeholder=\"ffn_down q4_k\"></label> \
         <output id=\"shown\" for=\"filter\"></output></p>\n<div class=\"scroll all\" role=\"region\" \
         tabindex=\"0\" aria-label=\"All tensors\">\n<table id=\"tensors\">\n",
    );
    table::tensors(out, report)?;
    write!(
        out,
        "</table>\n</div>\n</section>\n</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

fn section(out: &mut String, heading: &str, axes: &str) {
    out.push_str("<section>\n<h2>");
    out.push_str(heading);
    out.push_str("</h2>\n");
    if !axes.is_empty() {
        out.push_str("<p>");
        out.push_str(axes);
        out.push_str("</p>\n");
    }
}
