//! YAML as far as model cards need it: a tree of texts, built from parser events within bounds.
//!
//! Scalars stay as they are written: the language code `no` is not a truth value and the version
//! `1.10` not a number. Aliases stand for scalars only, so that no document can grow by expansion.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::error::{Error, Result};

/// Deepest nesting. Cards with evaluation results need about eight.
const MAX_DEPTH: usize = 64;
/// Longest document in bytes, and most bytes that aliases may add.
const MAX_LEN: usize = 1 << 20;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar, as written.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the document; of equal keys the last counts.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value under a key of a mapping.
    pub(crate) fn value(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().rfind(|(name, _)| name == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// An unfinished collection.
enum Open {
    List(Vec<Node>),
    Map(Vec<(String, Node)>, Option<String>),
}

/// Parses the first document of a text.
///
/// # Errors
/// `Malformed` if it is not YAML; `Limit` if it is too long, too deep or full of aliases;
/// `Unsupported` for aliases of collections and keys that are no scalars.
pub(crate) fn parse(text: &str) -> Result<Node> {
    if text.len() > MAX_LEN {
        return Err(Error::limit(format!(
            "{} bytes of YAML; at most {MAX_LEN} are read",
            text.len()
        )));
    }
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: BTreeMap<usize, Node> = BTreeMap::new();
    let mut expanded = 0;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|e| Error::malformed("not valid YAML").with_source(e))?;
        let node = match event {
            Event::Scalar(text, style, anchor, _) => {
                let node = scalar(&text, style);
                if anchor != 0 {
                    anchors.insert(anchor, node.clone());
                }
                node
            }
            Event::Alias(anchor) => {
                let node = anchors.get(&anchor).ok_or_else(|| {
                    Error::unsupported("YAML aliases of lists and mappings are not supported")
                })?;
                expanded += node.text().map_or(0, str::len);
                if expanded > MAX_LEN {
                    return Err(Error::limit("YAML aliases stand for too much text"));
                }
                node.clone()
            }
            Event::SequenceStart(..) => {
                push(&mut open, Open::List(Vec::new()))?;
                continue;
            }
            Event::MappingStart(..) => {
                push(&mut open, Open::Map(Vec::new(), None))?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(nodes)) => Node::List(nodes),
                Some(Open::Map(entries, _)) => Node::Map(entries),
                None => return Err(Error::malformed("not valid YAML")),
            },
            Event::DocumentEnd | Event::StreamEnd => break,
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(node),
            Some(Open::List(nodes)) => nodes.push(node),
            Some(Open::Map(entries, key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(into_key(node)?),
            },
        }
    }
    Ok(Node::Null)
}

fn push(open: &mut Vec<Open>, collection: Open) -> Result<()> {
    if open.len() >= MAX_DEPTH {
        return Err(Error::limit(format!("YAML nested deeper than {MAX_DEPTH} levels")));
    }
    // A key must be a scalar: say so before its contents are read.
    if let Some(Open::Map(_, None)) = open.last() {
        return Err(complex_key());
    }
    open.push(collection);
    Ok(())
}

fn into_key(node: Node) -> Result<String> {
    match node {
        Node::Text(text) => Ok(text),
        Node::Null => Ok(String::new()),
        Node::List(_) | Node::Map(_) => Err(complex_key()),
    }
}

fn complex_key() -> Error {
    Error::unsupported("YAML keys that are lists or mappings are not supported")
}

fn scalar(text: &str, style: ScalarStyle) -> Node {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        Node::Null
    } else {
        Node::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    #[test]
    fn scalars_stay_as_written() {
        let yaml = "a: no\nb: 1.10\nc: 'null'\nd: null\ne: |\n  x: y\n  z\nf: [1, ~, 2024-01-01]\na: yes\n";
        let Ok(node) = parse(yaml) else { unreachable!() };
        assert_eq!(node.value("a"), Some(&text("yes")));
        assert_eq!(node.value("b"), Some(&text("1.10")));
        assert_eq!(node.value("c"), Some(&text("null")));
        assert_eq!(node.value("d"), Some(&Node::Null));
        assert_eq!(node.value("e"), Some(&text("x: y\nz\n")));
        let list = Node::List(vec![text("1"), Node::Null, text("2024-01-01")]);
        assert_eq!(node.value("f"), Some(&list));
        assert_eq!(parse("").ok(), Some(Node::Null));
    }

    #[test]
    fn only_scalars_have_aliases() {
        let Ok(node) = parse("a: &x one\nb: [*x, *x]\n") else { unreachable!() };
        assert_eq!(node.value("b"), Some(&Node::List(vec![text("one"), text("one")])));
        let kind = |yaml: &str| parse(yaml).err().map(|e| e.kind());
        assert_eq!(kind("a: &x [1]\nb: *x\n"), Some(ErrorKind::Unsupported));
        assert_eq!(kind("a: &x [*x]\n"), Some(ErrorKind::Unsupported));
        assert_eq!(kind("a: *x\n"), Some(ErrorKind::Malformed));
        let bomb = format!("a: &x {}\nb: [{}]\n", "y".repeat(4096), "*x, ".repeat(1000));
        assert_eq!(kind(&bomb), Some(ErrorKind::Limit));
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let kind = |yaml: String| parse(&yaml).err().map(|e| e.kind());
        assert_eq!(kind("[".repeat(100)), Some(ErrorKind::Limit));
        assert_eq!(kind("- ".repeat(MAX_LEN / 2)), Some(ErrorKind::Limit));
        assert_eq!(kind("{a: ".repeat(100)), Some(ErrorKind::Limit));
        assert_eq!(kind("? ".repeat(1000)), Some(ErrorKind::Unsupported));
        assert_eq!(kind("? [a]\n: b\n".to_owned()), Some(ErrorKind::Unsupported));
        assert_eq!(kind(" ".repeat(MAX_LEN + 1)), Some(ErrorKind::Limit));
        assert_eq!(kind("a: [".to_owned()), Some(ErrorKind::Malformed));
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(&deep).is_ok());
    }
}
