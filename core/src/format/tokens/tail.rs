//! The last part of `tokens.bin`: names, flags, templates, further keys.

use std::collections::BTreeMap;

use super::write::length;
use crate::error::{Error, Result};
use crate::format::gguf::{Array, Value};
use crate::token::{Special, Template, Vocab};

/// What the tail holds.
pub(super) struct Tail {
    pub(super) model: String,
    pub(super) pre: String,
    pub(super) scored: bool,
    pub(super) flags: [Option<bool>; 4],
    pub(super) special: BTreeMap<Special, u32>,
    pub(super) templates: Vec<Template>,
    pub(super) extra: Vec<(String, Value)>,
}

/// Appends the tail of `vocab`.
pub(super) fn put_tail(vocab: &Vocab, out: &mut Vec<u8>) -> Result<()> {
    put_bytes(out, vocab.model.as_bytes())?;
    put_bytes(out, vocab.pre.as_bytes())?;
    out.push(u8::from(vocab.scored));
    for flag in [vocab.add_bos, vocab.add_eos, vocab.add_sep, vocab.add_space_prefix] {
        out.push(flag.map_or(0, |on| 1 + u8::from(on)));
    }
    // Roles of tokens are in the tree; here are those of rows without a token.
    let outside: Vec<_> =
        vocab.special.iter().filter(|(_, id)| **id as usize >= vocab.tokens.len()).collect();
    out.extend_from_slice(&length(outside.len(), "special ids")?.to_le_bytes());
    for (special, id) in outside {
        out.push(*special as u8);
        out.extend_from_slice(&id.to_le_bytes());
    }
    out.extend_from_slice(&length(vocab.templates.len(), "templates")?.to_le_bytes());
    for template in &vocab.templates {
        put_bytes(out, template.name.as_bytes())?;
        put_bytes(out, template.text.as_bytes())?;
    }
    out.extend_from_slice(&length(vocab.extra.len(), "keys")?.to_le_bytes());
    for (key, value) in &vocab.extra {
        put_bytes(out, key.as_bytes())?;
        put_value(out, key, value)?;
    }
    Ok(())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    out.extend_from_slice(&length(bytes.len(), "texts")?.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// A value: its GGUF type number, then its bytes.
fn put_value(out: &mut Vec<u8>, key: &str, value: &Value) -> Result<()> {
    match value {
        Value::U32(v) => {
            out.push(4);
            out.extend_from_slice(&v.to_le_bytes());
        }
        Value::I32(v) => {
            out.push(5);
            out.extend_from_slice(&v.to_le_bytes());
        }
        Value::F32(v) if v.is_finite() => {
            out.push(6);
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        Value::Bool(v) => out.extend_from_slice(&[7, u8::from(*v)]),
        Value::String(v) => {
            out.push(8);
            put_bytes(out, v)?;
        }
        Value::Array(Array::U8(v)) => {
            out.extend_from_slice(&[9, 0]);
            put_bytes(out, v)?;
        }
        Value::Array(Array::String(v)) => {
            out.extend_from_slice(&[9, 8]);
            out.extend_from_slice(&length(v.len(), "texts")?.to_le_bytes());
            v.iter().try_for_each(|text| put_bytes(out, text))?;
        }
        _ => {
            return Err(Error::unsupported(format!(
                "`tokens.bin` has no code for the value of `{key}`"
            )));
        }
    }
    Ok(())
}

/// Parses a tail, which must end where the bytes end.
pub(super) fn parse_tail(bytes: &[u8], tokens: usize) -> Result<Tail> {
    let mut cursor = Cursor(bytes);
    let model = cursor.text()?;
    let pre = cursor.text()?;
    let scored = match cursor.u8()? {
        0 => false,
        1 => true,
        other => return Err(bad(format!("score flag {other}"))),
    };
    let mut flags = [None; 4];
    for flag in &mut flags {
        *flag = match cursor.u8()? {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            other => return Err(bad(format!("flag {other}"))),
        };
    }
    let mut special = BTreeMap::new();
    for _ in 0..cursor.count(5)? {
        let number = cursor.u8()?;
        let role =
            Special::ALL.get(usize::from(number)).ok_or_else(|| bad(format!("role {number}")))?;
        let id = cursor.u32()?;
        if (id as usize) < tokens || special.last_key_value().is_some_and(|(last, _)| last >= role)
        {
            return Err(bad(format!("entry `{}` = {id} among ids without a token", role.name())));
        }
        special.insert(*role, id);
    }
    let mut templates: Vec<Template> = Vec::new();
    for _ in 0..cursor.count(8)? {
        templates.push(Template { name: cursor.text()?, text: cursor.text()? });
    }
    let mut extra: Vec<(String, Value)> = Vec::new();
    for _ in 0..cursor.count(6)? {
        let key = cursor.text()?;
        extra.push((key, cursor.value()?));
    }
    if !cursor.0.is_empty() {
        return Err(bad(format!("{} bytes too many in the last part", cursor.0.len())));
    }
    Ok(Tail { model, pre, scored, flags, special, templates, extra })
}

fn bad(what: String) -> Error {
    Error::malformed(format!("`tokens.bin` has {what}"))
}

/// Reads forward; every length is checked against what is left before anything is allocated.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| bad(format!("{} bytes where {len} are announced", self.0.len())))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes.first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default())
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count > self.0.len() / least {
            return Err(bad(format!("a count of {count} with {} bytes left", self.0.len())));
        }
        Ok(count)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|error| {
            bad("a name or template that is not UTF-8".to_owned()).with_source(error)
        })
    }

    fn value(&mut self) -> Result<Value> {
        Ok(match self.u8()? {
            4 => Value::U32(self.u32()?),
            5 => Value::I32(self.u32()?.cast_signed()),
            6 => {
                let value = f32::from_bits(self.u32()?);
                if !value.is_finite() {
                    return Err(bad(format!("the number {value}")));
                }
                Value::F32(value)
            }
            7 => match self.u8()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(bad(format!("truth value {other}"))),
            },
            8 => Value::String(self.bytes()?.to_vec()),
            9 => Value::Array(match self.u8()? {
                0 => Array::U8(self.bytes()?.to_vec()),
                8 => {
                    let count = self.count(4)?;
                    Array::String(
                        (0..count).map(|_| Ok(self.bytes()?.to_vec())).collect::<Result<_>>()?,
                    )
                }
                other => return Err(bad(format!("an array of type {other}"))),
            }),
            other => return Err(bad(format!("a value of type {other}"))),
        })
    }
}
