//! The older form (`.dat`), little-endian and without any mark of its own.
//!
//! `i32` number of entries; per entry `i32` length of the name, the name, `i32` calls, `i32` number
//! of values, the values as `f32`. Optionally `i32` chunks, `i32` length of the name of the text,
//! and that name. Values are sums to be divided by the number of calls. (Layout as written by
//! `llama-imatrix --output-format dat`.)

use std::collections::BTreeMap;

use super::{Divisor, Entry, Imatrix, check_name, floats_end};
use crate::error::{Error, Result, ResultExt};
use crate::io::{Files, read_exact};
use crate::limits;
use crate::tensor::mem_len;

/// Bytes of the smallest entry: three numbers, a name of one byte, one value.
const SMALLEST: u64 = 17;

/// Bytes of the name of the text that are kept; more are never written anywhere.
const DATASET: u64 = 127;

pub(super) fn open(files: &dyn Files, file: &str, len: u64) -> Result<Imatrix> {
    let mut reader = Reader { files, file, len, at: 0 };
    let count = reader.i32()?;
    let fits = u64::try_from(count).is_ok_and(|count| {
        count > 0 && count.checked_mul(SMALLEST).is_some_and(|least| least <= len)
    });
    if !fits {
        return Err(Error::malformed(format!(
            "this is no importance matrix: a file of {len} bytes cannot have `{count}` entries"
        )));
    }
    if u64::try_from(count).is_ok_and(|count| count > limits::IMATRIX_ENTRIES) {
        return Err(Error::limit(format!(
            "`{count}` entries; at most {} are read",
            limits::IMATRIX_ENTRIES
        )));
    }
    let mut entries = BTreeMap::new();
    for number in 1..=count {
        let place = || format!("entry {number} of {count}");
        let (name, entry) = reader.entry().context(place)?;
        if entries.contains_key(&name) {
            return Err(Error::malformed(format!("`{name}` occurs twice")).context(place()));
        }
        entries.insert(name, entry);
    }
    if reader.at == len {
        return Imatrix::of(entries, None, 0);
    }
    let chunks = reader.i32().context(|| "number of chunks")?;
    let mut dataset = None;
    if reader.at < len {
        let bytes = u64::try_from(reader.i32().context(|| "name of the text")?).unwrap_or(0);
        reader.check(bytes).context(|| "name of the text")?;
        let text = reader.take(bytes.min(DATASET))?;
        dataset = Some(String::from_utf8_lossy(&text).into_owned()).filter(|name| !name.is_empty());
    }
    Imatrix::of(entries, dataset, u32::try_from(chunks).unwrap_or(0))
}

struct Reader<'a> {
    files: &'a dyn Files,
    file: &'a str,
    len: u64,
    at: u64,
}

impl Reader<'_> {
    /// Whether `count` more bytes are there.
    fn check(&self, count: u64) -> Result<()> {
        match self.at.checked_add(count).filter(|&end| end <= self.len) {
            Some(_) => Ok(()),
            None => Err(Error::malformed(format!(
                "cut off: {count} bytes wanted at byte {}, but the file has {}",
                self.at, self.len
            ))),
        }
    }

    fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        self.check(count)?;
        let bytes = read_exact(self.files, self.file, self.at, mem_len(count)?)?;
        self.at += count;
        Ok(bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        let bytes = self.take(4)?;
        let bytes = bytes.first_chunk().ok_or_else(|| Error::malformed("cut off"))?;
        Ok(i32::from_le_bytes(*bytes))
    }

    fn entry(&mut self) -> Result<(String, Entry)> {
        let at = self.at;
        let name_len = self.i32()?;
        let name_len = u64::try_from(name_len)
            .ok()
            .filter(|&len| len > 0 && len <= limits::TENSOR_NAME as u64)
            .ok_or_else(|| {
                Error::malformed(format!("a name of `{name_len}` bytes, at byte {at}"))
            })?;
        let name = String::from_utf8(self.take(name_len)?)
            .map_err(|_| Error::malformed(format!("the name at byte {at} is not UTF-8")))?;
        check_name(&name)?;
        let (calls, values) = (self.i32()?, self.i32()?);
        let wrong = |why: &str| Error::malformed(format!("`{name}` has `{values}` values, {why}"));
        let count = u64::try_from(values).ok().filter(|&count| count > 0);
        let count = count.ok_or_else(|| wrong("expected one or more"))?;
        let end = floats_end(self.at, count, self.len).ok_or_else(|| {
            wrong(&format!("but at byte {} the file has {} left", self.at, self.len - self.at))
        })?;
        let entry = Entry { sums: self.at, len: count, by: Divisor::Calls(calls) };
        self.at = end;
        Ok((name, entry))
    }
}
