//! The JSON form, documented in `docs/inspect.md`. Keys are added, never changed.

use gmat_core::inspect::{Contents, Details, Facts, Histogram, Tensor, TokenizerFacts};
use serde_json::{Map, Value as Json, json};

use super::summary::Totals;
use super::{Measured, value};

pub(super) fn object(contents: &Contents, totals: &Totals, histograms: &[Measured]) -> Json {
    let files = contents.files.iter().map(|file| json!({"name": file.name, "bytes": file.bytes}));
    let keys = contents.keys.iter().map(|(key, value)| (key.clone(), value::as_json(value)));
    let types = totals.kinds.iter().map(|kind| {
        json!({
            "type": kind.name,
            "tensors": kind.tensors,
            "parameters": kind.elems,
            "bytes": kind.bytes,
        })
    });
    let mut out = json!({
        "format": contents.format,
        "files": files.collect::<Vec<_>>(),
        "file_bytes": totals.file_bytes,
        "parameters": totals.elems,
        "bytes": totals.bytes,
        "types": types.collect::<Vec<_>>(),
        "model": model(&contents.facts),
        "tokenizer": contents.facts.tokenizer.as_ref().map(tokenizer),
        "metadata": keys.collect::<Map<_, _>>(),
        "tensors": contents.tensors.iter().map(tensor).collect::<Vec<_>>(),
        "warnings": contents.warnings,
    });
    if let (false, Some(out)) = (histograms.is_empty(), out.as_object_mut()) {
        let list = histograms.iter().map(|(tensor, histogram)| distribution(tensor, histogram));
        out.insert("histograms".to_owned(), list.collect());
    }
    out
}

fn model(facts: &Facts) -> Json {
    json!({
        "name": facts.name,
        "architecture": facts.architecture,
        "file_type": facts.file_type,
        "layers": facts.layers,
        "embedding_length": facts.width,
        "feed_forward_length": facts.inner,
        "heads": facts.heads,
        "kv_heads": facts.kv_heads,
        "experts": facts.experts,
        "experts_used": facts.experts_used,
        "context_length": facts.context,
        "vocab_size": facts.vocabulary,
    })
}

fn tokenizer(tokenizer: &TokenizerFacts) -> Json {
    let special = tokenizer.special.iter().map(|&(name, id)| (name.to_owned(), Json::from(id)));
    json!({
        "model": tokenizer.model,
        "pre": tokenizer.pre,
        "tokens": tokenizer.tokens,
        "merges": tokenizer.merges,
        "special": special.collect::<Map<_, _>>(),
        "chat_templates": tokenizer.templates,
    })
}

fn tensor(tensor: &Tensor) -> Json {
    let Tensor { name, kind, dims, bytes, file, .. } = tensor;
    match &tensor.details {
        Details::Source => {
            json!({"name": name, "file": file, "dtype": kind, "shape": dims, "bytes": bytes})
        }
        Details::Gguf(id) => json!({
            "name": name, "file": file, "type": kind, "type_id": id, "shape": dims, "bytes": bytes,
        }),
        Details::Stored(id, record) => json!({
            "id": id,
            "name": record.name,
            "file": record.file,
            "dtype": record.dtype,
            "block_format": record.block_format,
            "shape": record.shape,
            "bytes": record.stored_bytes,
            "importance": record.importance,
            "rms": record.rms,
            "max_abs": record.max_abs,
            "nonzero": record.nonzero,
            "source_blake3": record.source_blake3,
        }),
    }
}

fn distribution(tensor: &Tensor, histogram: &Histogram) -> Json {
    let edges: Vec<f64> = (0..=histogram.counts.len()).map(|at| histogram.edge(at)).collect();
    json!({
        "name": tensor.name,
        "values": histogram.values,
        "zeros": histogram.zeros,
        "nan": histogram.nan,
        "infinite": histogram.infinite,
        "min": histogram.min,
        "max": histogram.max,
        "mean": histogram.mean,
        "rms": histogram.rms,
        "edges": edges,
        "counts": histogram.counts,
    })
}
