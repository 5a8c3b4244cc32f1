//! `gmat export --explain`: what every tensor would become, and why.

use gmat_core::export::{Decision, ExportPlan};
use serde_json::json;

use crate::report::Console;
use crate::size::show_size;

/// Prints the plan as a table or as one JSON object.
pub(crate) fn show(plan: &ExportPlan<'_>, as_json: bool, console: &mut Console) {
    let elems: u64 = plan.decisions.iter().map(Decision::elems).fold(0, u64::saturating_add);
    let data: u64 = plan.decisions.iter().map(|decision| decision.bytes).sum();
    let files: u64 = plan.files().map(|(_, len)| len).sum();
    let bits = 8.0 * data as f64 / elems.max(1) as f64;
    if as_json {
        let tensors: Vec<_> = plan.decisions.iter().map(tensor).collect();
        let parts: Vec<_> =
            plan.files().map(|(name, len)| json!({"name": name, "bytes": len})).collect();
        let all = json!({
            "tensors": tensors,
            "files": parts,
            "bytes": files,
            "tensor_bytes": data,
            "weights": elems,
            "bits_per_weight": bits,
            "notes": plan.notes,
            "warnings": plan.warnings,
        });
        console.result(all.to_string());
        return;
    }
    for note in &plan.notes {
        console.note(note);
    }
    for warning in &plan.warnings {
        console.warn(warning);
    }
    let rows: Vec<[String; 6]> = plan.decisions.iter().map(row).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    let (sources, names, shapes, types) = (width(0), width(1), width(2), width(3));
    for [source, name, shape, ty, bits, why] in &rows {
        console.result(format!(
            "{source:sources$}  {name:names$}  {shape:>shapes$}  {ty:types$}  {bits:>7}  {why}"
        ));
    }
    console.result(format!(
        "{} tensors, {elems} weights, {bits:.3} bits per weight, {files} bytes ({}) in {} file(s)",
        rows.len(),
        show_size(files),
        plan.files().len()
    ));
}

/// One line: source name, GGUF name, shape, type, bits, reason.
fn row(decision: &Decision) -> [String; 6] {
    let weighted = if decision.weighted { ", with importance" } else { "" };
    [
        decision.source.clone().unwrap_or_else(|| "-".to_owned()),
        decision.name.clone(),
        format!("{:?}", decision.shape).replace(' ', ""),
        decision.ty.to_owned(),
        format!("{:.4}", decision.bits),
        format!("{}: {}{weighted}", decision.by, decision.why),
    ]
}

fn tensor(decision: &Decision) -> serde_json::Value {
    json!({
        "source": decision.source,
        "name": decision.name,
        "shape": decision.shape,
        "type": decision.ty,
        "bits_per_weight": decision.bits,
        "bytes": decision.bytes,
        "importance": decision.weighted,
        "by": decision.by,
        "why": decision.why,
    })
}
