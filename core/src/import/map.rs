//! Which tensors are imported, and under which ids.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Mapping, tensor_id};
use crate::error::{Error, Result, nearest};
use crate::source::Model;

/// One mapping per tensor of the model, in the model's order.
pub(super) fn full_map(
    model: &Model,
    given: &[Mapping],
    notes: &mut Vec<String>,
) -> Result<Vec<Mapping>> {
    let names: BTreeSet<&str> = model.tensors.iter().map(|t| t.info.name.as_str()).collect();
    for (index, mapping) in given.iter().enumerate() {
        if !names.contains(mapping.source.as_str()) {
            let error = Error::config(format!(
                "`tensor_map[{index}].source` is `{}`, which the model does not have",
                mapping.source
            ));
            return Err(match nearest(&mapping.source, names.iter().copied()) {
                Some(name) => error.with_hint(format!("did you mean `{name}`?")),
                None => error.with_hint("generate the config again for this model"),
            });
        }
    }
    let by_source: BTreeMap<&str, &Mapping> =
        given.iter().map(|mapping| (mapping.source.as_str(), mapping)).collect();
    let unlisted = names.iter().filter(|name| !by_source.contains_key(*name)).count();
    if !given.is_empty() && unlisted > 0 {
        let tensors = match unlisted {
            1 => "1 tensor is not in `tensor_map`, so it is".to_owned(),
            count => format!("{count} tensors are not in `tensor_map`, so they are"),
        };
        notes.push(format!("{tensors} left out"));
    }
    let map = model.tensors.iter().map(|tensor| {
        let name = &tensor.info.name;
        by_source.get(name.as_str()).map_or_else(
            || Mapping { source: name.clone(), target: tensor_id(name), include: given.is_empty() },
            |&mapping| mapping.clone(),
        )
    });
    let map: Vec<Mapping> = map.collect();
    let mut targets = BTreeMap::new();
    for mapping in &map {
        if let Some(other) = targets.insert(mapping.target, &mapping.source) {
            return Err(Error::config(format!(
                "`{other}` and `{}` have the same target `{}`",
                mapping.source, mapping.target
            )));
        }
    }
    Ok(map)
}
