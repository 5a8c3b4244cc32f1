//! The table of all tensors, and those of files and types.

use std::fmt::{self, Write};

use crate::export::report::Report;
use crate::export::report::html::charts::COLOURS;
use crate::export::report::html::groups::Groups;
use crate::export::report::html::text::{cosine, count, escape, figure, percent, shape, size};

/// Columns of the table of tensors: how they sort (`t`ext or `n`umber), heading, meaning.
const COLUMNS: [(char, &str, &str); 11] = [
    ('t', "name", "name in the GGUF file"),
    ('t', "source", "name in the model it comes from"),
    ('n', "shape", "dimensions, slowest first; sorts by the number of weights"),
    ('t', "type", "tensor type"),
    ('n', "bits", "bits per weight of the type"),
    ('n', "bytes", "bytes in the file, without padding"),
    ('n', "rel. RMSE", "root mean square error over the root mean square of the weights"),
    ('n', "weighted", "the same, with each weight counting as much as for the quantizer"),
    ('n', "cosine", "cosine of the angle between original and quantized weights"),
    ('n', "max. error", "largest difference of a weight"),
    ('t', "why", "what decided on the type"),
];

pub(super) fn tensors(out: &mut String, report: &Report) -> fmt::Result {
    out.push_str("<thead><tr>");
    for (sort, heading, meaning) in COLUMNS {
        write!(
            out,
            "<th scope=\"col\" data-sort=\"{sort}\" title=\"{meaning}\"><button type=\"button\">\
             {heading}</button></th>"
        )?;
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for tensor in &report.tensors {
        let error = &tensor.error;
        let source = tensor.source.as_deref().unwrap_or("");
        let matrix = if tensor.importance { "; importance matrix" } else { "" };
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}: {}{matrix}</td></tr>",
            escape(&tensor.name),
            escape(source),
            shape(&tensor.shape),
            escape(&tensor.ty),
            figure(tensor.bits_per_weight),
            tensor.bytes,
            figure(error.relative_rmse),
            figure(error.weighted_rmse),
            cosine(error.cosine),
            figure(f64::from(error.max_error)),
            escape(&tensor.by),
            escape(&tensor.why),
        )?;
    }
    out.push_str("</tbody>\n");
    Ok(())
}

/// Size and error of each type, with the colours of the ring.
pub(super) fn types(out: &mut String, groups: &Groups<'_>) -> fmt::Result {
    let whole = groups.types.iter().map(|(_, pool)| pool.bytes).fold(0, u64::saturating_add);
    out.push_str(
        "<table class=\"plain\"><thead><tr><th scope=\"col\">type</th><th scope=\"col\">tensors</th>\
         <th scope=\"col\">size</th><th scope=\"col\">share, %</th><th scope=\"col\">rel. RMSE, %\
         </th></tr></thead>\n<tbody>\n",
    );
    for (colour, (ty, pool)) in groups.types.iter().enumerate() {
        writeln!(
            out,
            "<tr><th scope=\"row\"><i class=\"c{}\"></i>{}</th><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            colour.min(COLOURS - 1),
            escape(ty),
            pool.tensors,
            size(pool.bytes),
            percent(pool.bytes as f64 / whole.max(1) as f64),
            percent(pool.relative()),
        )?;
    }
    out.push_str("</tbody></table>\n");
    Ok(())
}

/// The figures of the whole export.
pub(super) fn totals(out: &mut String, report: &Report) -> fmt::Result {
    let figures = [
        ("size", size(report.bytes)),
        ("weights", count(report.weights)),
        ("tensors", count(report.tensors.len() as u64)),
        ("bits per weight", figure(report.bits_per_weight)),
        ("relative RMSE", format!("{} %", percent(report.total.relative_rmse))),
        ("weighted RMSE", format!("{} %", percent(report.total.weighted_rmse))),
        ("cosine", cosine(report.total.cosine)),
        ("largest error", figure(f64::from(report.total.max_error))),
    ];
    out.push_str("<dl class=\"totals\">\n");
    for (what, value) in figures {
        writeln!(out, "<div><dt>{what}</dt><dd>{value}</dd></div>")?;
    }
    out.push_str("</dl>\n");
    if report.files.len() > 1 {
        writeln!(out, "<details><summary>{} files</summary><ul>", report.files.len())?;
        for file in &report.files {
            writeln!(out, "<li>{}, {}</li>", escape(&file.name), size(file.bytes))?;
        }
        out.push_str("</ul></details>\n");
    }
    Ok(())
}
