//! Tables of metadata and tensors.

use std::collections::BTreeMap;

use gmat_core::inspect::{Contents, Details, Tensor};

use super::value;
use crate::report::Console;
use crate::size::show_size;

/// From how many tensors on those of different layers share a line.
const MANY: usize = 40;

/// Prints all keys, in the order of the file.
pub(super) fn keys(contents: &Contents, whole: bool, console: &mut Console) {
    let width = contents.keys.iter().map(|(key, _)| chars(key)).max().unwrap_or(0);
    console.result("\nmetadata");
    for (key, value) in &contents.keys {
        console.result(format!("  {key:width$}  {}", value::show(value, whole)));
    }
}

/// Prints all tensors, those that differ only in the numbers in their names in one line, if they
/// are many and not `each` is wanted.
pub(super) fn tensors(contents: &Contents, each: bool, console: &mut Console) {
    let lines = match each || contents.tensors.len() <= MANY {
        true => contents.tensors.iter().map(|tensor| Line::of(tensor, each)).collect(),
        false => grouped(&contents.tensors),
    };
    let width =
        |column: fn(&Line) -> &String| lines.iter().map(|l| chars(column(l))).max().unwrap_or(0);
    let (names, counts) = (width(|l| &l.name), width(|l| &l.count));
    let (shapes, kinds, sizes) = (width(|l| &l.shape), width(|l| &l.kind), width(|l| &l.size));
    console.result("\ntensors");
    for line in &lines {
        let Line { name, count, shape, kind, size, id } = line;
        let count = if counts == 0 { String::new() } else { format!("  {count:>counts$}") };
        let text =
            format!("  {name:names$}{count}  {shape:>shapes$}  {kind:kinds$}  {size:>sizes$}{id}");
        console.result(text.trim_end());
    }
}

struct Line {
    name: String,
    /// `×32`, if it is about several.
    count: String,
    shape: String,
    kind: String,
    size: String,
    id: String,
}

impl Line {
    fn of(tensor: &Tensor, with_id: bool) -> Self {
        let id = match &tensor.details {
            Details::Stored(id, _) if with_id => format!("  {id}"),
            _ => String::new(),
        };
        Self {
            name: tensor.name.clone(),
            count: String::new(),
            shape: shape(&tensor.dims),
            kind: tensor.kind.clone(),
            size: tensor.bytes.map_or_else(|| "?".to_owned(), show_size),
            id,
        }
    }
}

/// One line for tensors whose names are alike but for numbers, of the same shape and type.
fn grouped(tensors: &[Tensor]) -> Vec<Line> {
    struct Group<'a> {
        first: &'a Tensor,
        pattern: String,
        count: usize,
        bytes: u64,
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: BTreeMap<(String, &[u64], &str), usize> = BTreeMap::new();
    for tensor in tensors {
        let pattern = pattern(&tensor.name);
        let place = places
            .entry((pattern.clone(), &tensor.dims, &tensor.kind))
            .or_insert_with(|| groups.len());
        let bytes = tensor.bytes.unwrap_or(0);
        match groups.get_mut(*place) {
            Some(group) => {
                group.count += 1;
                group.bytes = group.bytes.saturating_add(bytes);
            }
            None => groups.push(Group { first: tensor, pattern, count: 1, bytes }),
        }
    }
    // Those of one pattern together, where the first of them is.
    let mut first = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        first.entry(group.pattern.clone()).or_insert(at);
    }
    groups.sort_by_key(|group| first.get(&group.pattern).copied());
    let line = |group: Group<'_>| match group.count {
        1 => Line::of(group.first, false),
        count => Line {
            name: group.pattern,
            count: format!("×{count}"),
            size: show_size(group.bytes),
            ..Line::of(group.first, false)
        },
    };
    groups.into_iter().map(line).collect()
}

/// A name with stars for its numbers.
fn pattern(name: &str) -> String {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.split('.').map(|part| if number(part) { "*" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

pub(super) fn shape(dims: &[u64]) -> String {
    let dims: Vec<String> = dims.iter().map(u64::to_string).collect();
    format!("[{}]", dims.join(","))
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn numbers_between_points_become_stars() {
        assert_eq!(pattern("blk.10.attn_q.weight"), "blk.*.attn_q.weight");
        assert_eq!(pattern("model.layers.0.experts.15.w1"), "model.layers.*.experts.*.w1");
        assert_eq!(pattern("v2.x1..weight"), "v2.x1..weight");
    }
}
