//! Whether the tensors of a model are those that its config implies.

use std::collections::BTreeMap;

use crate::arch::{Dim, Expected, ModelArch, Placement};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::export::model::{Placed, some};
use crate::store::Metadata;
use crate::tensor::Shape;

/// The tensor without which runtimes use the embedding a second time.
const OUTPUT: &str = "output.weight";

/// Compares what an architecture expects with the tensors that are exported; returns warnings.
///
/// Missing tensors are warned of only, since they may be left out on purpose.
///
/// # Errors
/// `Malformed` if a tensor has another shape than the config implies, or if the config has more
/// layers than the model.
pub(crate) fn check(
    metadata: &Metadata,
    arch: &dyn ModelArch,
    config: &ModelConfig,
    placed: &[Placed<'_>],
) -> Result<Vec<String>> {
    let expected = arch.expected(config)?;
    let present: BTreeMap<&str, &Placed<'_>> =
        placed.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut missing = Vec::new();
    for tensor in &expected {
        match present.get(tensor.name.as_str()) {
            Some(found) => {
                let source = found.sources().next().unwrap_or(&tensor.name);
                check_shape(source, &found.shape, &tensor.dims, config.place())?;
            }
            None if tensor.optional => {}
            None => missing.push(tensor.name.as_str()),
        }
    }
    if !missing.is_empty() {
        check_layers(metadata, arch, config, placed, &expected)?;
    }
    let mut warnings = Vec::new();
    match missing.len() {
        0 => {}
        1 => warnings.push(format!("1 tensor that llama.cpp needs is missing: {}", some(&missing))),
        count => warnings
            .push(format!("{count} tensors that llama.cpp needs are missing: {}", some(&missing))),
    }
    let untied = config.bool(&["tie_word_embeddings"])? == Some(false);
    let has_output = expected.iter().any(|tensor| tensor.name == OUTPUT && tensor.optional);
    if untied && has_output && !present.contains_key(OUTPUT) {
        warnings.push(format!(
            "`{OUTPUT}` is missing although `tie_word_embeddings` in {} is false: llama.cpp \
             will use the embedding instead",
            config.place()
        ));
    }
    Ok(warnings)
}

fn check_shape(name: &str, shape: &Shape, expected: &[Dim], place: &str) -> Result<()> {
    let fits = |(dim, size): (&Dim, &u64)| dim.size.is_none_or(|wanted| wanted == *size);
    let dims = shape.dims();
    let same_rank = dims.len() == expected.len();
    let wrong: Vec<&Dim> = expected
        .iter()
        .zip(dims)
        .filter(|&(dim, size)| !same_rank || !fits((dim, size)))
        .map(|(dim, _)| dim)
        .collect();
    if same_rank && wrong.is_empty() {
        return Ok(());
    }
    let implied: Vec<String> = expected
        .iter()
        .map(|dim| dim.size.map_or_else(|| "?".to_owned(), |size| size.to_string()))
        .collect();
    let mut keys: Vec<String> = Vec::new();
    for key in wrong.iter().flat_map(|dim| dim.keys) {
        let key = format!("`{key}`");
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let error = Error::malformed(format!(
        "tensor `{name}` has shape {shape}, but {place} implies [{}]",
        implied.join(",")
    ));
    Err(match keys.is_empty() {
        true => error,
        false => error.with_hint(format!(
            "correct {} in `config.json` (or in `metadata` of the import config) and import again",
            keys.join(" or ")
        )),
    })
}

/// Refuses a config with more layers than the model: tensors of a layer may be left out, but then
/// the store knows of them.
fn check_layers(
    metadata: &Metadata,
    arch: &dyn ModelArch,
    config: &ModelConfig,
    placed: &[Placed<'_>],
    expected: &[Expected],
) -> Result<()> {
    let Some(wanted) = expected.iter().filter_map(|tensor| layer(&tensor.name)).max() else {
        return Ok(());
    };
    let left_out =
        metadata.config.tensor_map.iter().filter(|m| !m.include).map(|m| m.source.as_str());
    let stored = metadata.tensors.values().map(|record| record.name.as_str());
    let known = stored.chain(left_out).filter_map(|name| match arch.place(name, config) {
        Ok(Some(Placement::Parts(parts))) => {
            parts.iter().filter_map(|part| layer(&part.name)).max()
        }
        _ => None,
    });
    let last = known.chain(placed.iter().filter_map(|tensor| layer(&tensor.name))).max();
    match last {
        Some(last) if last < wanted => Err(Error::malformed(format!(
            "{} implies {} layers, but the model has tensors of the first {} only",
            config.place(),
            wanted.saturating_add(1),
            last.saturating_add(1)
        ))
        .with_hint(
            "correct `num_hidden_layers` in `config.json` (or `num_layers` in `metadata` of the \
             import config), or import all shards of the model",
        )),
        _ => Ok(()),
    }
}

/// The number of the layer that a tensor of that GGUF name is in.
fn layer(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMS: [Dim; 2] = [
        Dim { size: None, keys: &["vocab_size"] },
        Dim { size: Some(8), keys: &["heads", "width"] },
    ];

    fn error(dims: &[u64]) -> Option<Error> {
        Shape::try_new(dims.to_vec())
            .and_then(|shape| check_shape("t", &shape, &DIMS, "`config.json`"))
            .err()
    }

    #[test]
    fn shapes_are_compared_where_the_config_says_something() {
        assert!(error(&[1, 8]).is_none() && error(&[9, 8]).is_none());
        let wrong = error(&[9, 7]);
        assert_eq!(
            wrong.as_ref().map(Error::message),
            Some("tensor `t` has shape [9,7], but `config.json` implies [?,8]")
        );
        let hint = wrong.as_ref().and_then(Error::hint).unwrap_or_default();
        assert!(hint.contains("`heads` or `width`") && !hint.contains("vocab_size"), "{hint}");
        for rank in [&[8][..], &[9, 8, 1], &[]] {
            assert!(error(rank).is_some(), "{rank:?}");
        }
    }

    #[test]
    fn layers_are_numbered_by_name() {
        assert_eq!(layer("blk.12.attn_q.weight"), Some(12));
        assert_eq!(layer("blk.x.attn_q.weight"), None);
        assert_eq!(layer("output.weight"), None);
    }
}
