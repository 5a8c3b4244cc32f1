//! Layers by roles, as a table whose cells are the darker the larger their error.

use std::fmt::{self, Write};

use crate::export::report::html::groups::{Groups, Pool};
use crate::export::report::html::text::{escape, percent, short};

/// Steps of darkness in the style of the page.
const STEPS: f64 = 10.0;
/// Columns shown: architectures have fewer, a broken model may have any number.
const COLUMNS: usize = 32;
/// Rows shown, likewise.
const ROWS: usize = 512;

/// Writes the table; nothing for a model without layers.
pub(super) fn write(out: &mut String, groups: &Groups<'_>) -> fmt::Result {
    let inexact = groups.roles.keys().filter(|role| !groups.exact.contains(**role));
    let roles: Vec<&str> = inexact.copied().take(COLUMNS).collect();
    if roles.is_empty() {
        return writeln!(out, "<p>No tensor of a layer differs from the store.</p>");
    }
    let most = groups.cells.values().map(Pool::relative).fold(0.0, f64::max);
    out.push_str(
        "<div class=\"scroll map\" role=\"region\" tabindex=\"0\" aria-label=\"Relative error by layer \
         and role\">\n<table class=\"heat\">\n<thead><tr><th scope=\"col\">layer</th>",
    );
    for role in &roles {
        write!(
            out,
            "<th scope=\"col\" title=\"{}\"><span>{}</span></th>",
            escape(role),
            escape(&short(role, 24))
        )?;
    }
    out.push_str("<th scope=\"col\"><span>whole layer</span></th></tr></thead>\n<tbody>\n");
    for (layer, whole) in groups.layers.iter().take(ROWS) {
        write!(out, "<tr><th scope=\"row\">{layer}</th>")?;
        for role in &roles {
            cell(out, groups.cells.get(&(*layer, *role)), most)?;
        }
        cell(out, Some(whole), most)?;
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n<tfoot><tr><th scope=\"row\">all</th>");
    for role in &roles {
        cell(out, groups.roles.get(role), most)?;
    }
    out.push_str("<td></td></tr></tfoot>\n</table>\n</div>\n");
    let (rows, columns) = (groups.layers.len(), groups.roles.len() - groups.exact.len());
    if rows > ROWS || columns > COLUMNS {
        writeln!(
            out,
            "<p>The first {} of {rows} layers and {} of {columns} roles; the others are in the \
             table of all tensors.</p>",
            rows.min(ROWS),
            roles.len(),
        )?;
    }
    if !groups.exact.is_empty() {
        let exact: Vec<String> =
            groups.exact.iter().take(COLUMNS).map(|role| escape(&short(role, 40))).collect();
        let more = if groups.exact.len() > COLUMNS { " …" } else { "" };
        writeln!(out, "<p>Without any error: {}{more}.</p>", exact.join(", "))?;
    }
    Ok(())
}

fn cell(out: &mut String, pool: Option<&Pool>, most: f64) -> fmt::Result {
    let Some(pool) = pool else {
        out.push_str("<td></td>");
        return Ok(());
    };
    let error = pool.relative();
    let step = if most > 0.0 { (STEPS * error / most).round().min(STEPS) } else { 0.0 };
    write!(out, "<td class=\"h{step:.0}\">{}</td>", percent(error))
}
