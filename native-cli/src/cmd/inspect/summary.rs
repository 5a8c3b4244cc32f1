//! What a model is, at a glance.

use gmat_core::inspect::{Contents, Facts, TokenizerFacts, Totals};

use crate::report::Console;
use crate::size::{show_count, show_size};

/// Format and size of the whole.
pub(super) fn title(totals: &Totals, contents: &Contents) -> String {
    let files = match contents.files.len() {
        0 | 1 => String::new(),
        count => format!(" in {count} files"),
    };
    format!("{}, {}{files}", contents.format, show_size(totals.file_bytes))
}

/// The line below a table of tensors.
pub(super) fn line(totals: &Totals, contents: &Contents) -> String {
    let shown = contents.tensors.len();
    let bytes: u64 = contents.tensors.iter().filter_map(|t| t.bytes).fold(0, u64::saturating_add);
    let of = if shown < totals.tensors { format!(" of {}", totals.tensors) } else { String::new() };
    let tensors = if shown == 1 && of.is_empty() { "tensor" } else { "tensors" };
    format!("{shown}{of} {tensors}, {bytes} bytes ({})", show_size(bytes))
}

/// Prints one line for each thing that is known.
pub(super) fn show(contents: &Contents, totals: &Totals, console: &mut Console) {
    let facts = &contents.facts;
    let bits = 8.0 * totals.bytes as f64 / totals.elems.max(1) as f64;
    let parameters = match show_count(totals.elems) {
        Some(short) => format!("{short} ({})", totals.elems),
        None => totals.elems.to_string(),
    };
    let lines = [
        ("name", facts.name.clone()),
        ("architecture", architecture(facts)),
        ("parameters", Some(format!("{parameters}, {bits:.2} bits each"))),
        ("types", Some(types(totals)).filter(|types| !types.is_empty())),
        ("file type", facts.file_type.clone()),
        ("context", facts.context.map(|tokens| format!("{tokens} tokens"))),
        ("vocabulary", facts.vocabulary.map(|tokens| format!("{tokens} tokens"))),
        ("tokenizer", Some(facts.tokenizer.as_ref().map_or_else(|| "none".to_owned(), tokenizer))),
    ];
    for (title, text) in lines {
        if let Some(text) = text {
            console.result(format!("  {title:<12}  {text}"));
        }
    }
}

fn architecture(facts: &Facts) -> Option<String> {
    let mut parts = Vec::new();
    let mut add = |count: Option<u64>, text: &dyn Fn(u64) -> String| parts.extend(count.map(text));
    add(facts.layers, &|layers| format!("{layers} layers"));
    add(facts.width, &|width| format!("width {width}"));
    add(facts.inner, &|inner| format!("feed-forward {inner}"));
    add(facts.heads, &|heads| match facts.kv_heads.filter(|&kv| kv != heads) {
        Some(kv) => format!("{heads} heads ({kv} for keys and values)"),
        None => format!("{heads} heads"),
    });
    add(facts.experts, &|experts| match facts.experts_used {
        Some(used) => format!("{experts} experts ({used} per token)"),
        None => format!("{experts} experts"),
    });
    let name = facts.architecture.clone().unwrap_or_else(|| "unknown".to_owned());
    match parts.is_empty() {
        true => facts.architecture.clone(),
        false => Some(format!("{name}, {}", parts.join(", "))),
    }
}

/// Shares of all parameters, and tensors, by type.
fn types(totals: &Totals) -> String {
    let kinds = totals.kinds.iter().map(|kind| {
        let share = 100.0 * kind.elems as f64 / totals.elems.max(1) as f64;
        let share = match share {
            share if share > 0.0 && share < 0.05 => "<0.1".to_owned(),
            share => format!("{share:.1}"),
        };
        format!("{} {share} % ({})", kind.name, super::super::tensors(kind.tensors))
    });
    kinds.collect::<Vec<_>>().join(", ")
}

fn tokenizer(tokenizer: &TokenizerFacts) -> String {
    let mut out = tokenizer.model.clone();
    if !tokenizer.pre.is_empty() {
        out.push_str(&format!(" ({})", tokenizer.pre));
    }
    out.push_str(&format!(", {} tokens", tokenizer.tokens));
    if tokenizer.merges > 0 {
        out.push_str(&format!(", {} merges", tokenizer.merges));
    }
    for (name, id) in &tokenizer.special {
        out.push_str(&format!(", {name} {id}"));
    }
    match tokenizer.templates.as_slice() {
        [] => {}
        [name] if name == "default" => out.push_str(", chat template"),
        names => out.push_str(&format!(", chat templates {}", names.join(" "))),
    }
    out
}
