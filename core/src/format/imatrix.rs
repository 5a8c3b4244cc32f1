//! Importance matrices of llama.cpp: for every column of a weight matrix, the mean square of what
//! it was multiplied with while the model read a text.
//!
//! Two forms, told apart by the first bytes. The newer one is a GGUF file, the older one a plain
//! list; both are described where they are read. Opening a file reads names and places only, the
//! numbers of a tensor are read when they are wanted, in the pieces that are wanted.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, Result, ResultExt};
use crate::io::{Files, read_exact};
use crate::limits;
use crate::tensor::mem_len;

mod gguf;
mod legacy;

/// Where the numbers of an importance matrix are.
#[derive(Debug, Clone)]
pub struct Imatrix {
    /// Name of the (first) text it was collected with, if stated.
    pub dataset: Option<String>,
    /// Chunks of text it was collected with; 0 if not stated.
    pub chunks: u32,
    entries: BTreeMap<String, Entry>,
}

/// The numbers of one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Offset of the sums of squares in the file, 32-bit floats.
    sums: u64,
    /// How many they are.
    len: u64,
    /// What they are divided by.
    by: Divisor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Divisor {
    /// A number of calls, or nothing if it is not positive.
    Calls(i32),
    /// One count per matrix of the tensor (one expert each), 32-bit floats at that offset. What
    /// belongs to a count that is not positive was never used, and every column counts as 1.
    Counts { offset: u64, matrices: u64 },
}

impl Imatrix {
    /// Reads names and places.
    ///
    /// # Errors
    /// `Io` if the file cannot be read; `Malformed` if it is no importance matrix, is cut off or
    /// contradicts itself; `Limit` if it has more entries or longer names than any model.
    pub fn open(files: &dyn Files, file: &str) -> Result<Self> {
        let place = || format!("importance matrix `{}`", files.place(file));
        let len = files.len(file)?.ok_or_else(|| {
            Error::new(crate::ErrorKind::Io, "there is no such file").context(place())
        })?;
        let magic = read_exact(files, file, 0, mem_len(len.min(4))?)?;
        let read = if magic == b"GGUF" { gguf::open } else { legacy::open };
        read(files, file, len).context(place)
    }

    /// How many tensors it covers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it covers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many numbers there are for the tensor of that GGUF name, if any: the length of a row,
    /// times the number of experts in a stack of them.
    #[must_use]
    pub fn values(&self, tensor: &str) -> Option<u64> {
        self.entries.get(tensor).map(|entry| entry.len)
    }

    /// The importance of the columns of a tensor: those of the first expert, then those of the
    /// second, and so on; `range` of them. It is what the reference tool computes, to the bit.
    ///
    /// # Errors
    /// `Shape` if there is no such entry or no such range in it; `Io` if the file cannot be read;
    /// `Malformed` if it has become shorter or a number is negative or not finite.
    pub fn read(
        &self,
        files: &dyn Files,
        file: &str,
        tensor: &str,
        range: Range<u64>,
    ) -> Result<Vec<f32>> {
        let place = || format!("importance matrix `{}`", files.place(file));
        self.read_range(files, file, tensor, range)
            .context(|| format!("importance of `{tensor}`"))
            .context(place)
    }

    fn read_range(
        &self,
        files: &dyn Files,
        file: &str,
        tensor: &str,
        range: Range<u64>,
    ) -> Result<Vec<f32>> {
        let entry = self.entries.get(tensor).ok_or_else(|| Error::shape("no such entry"))?;
        if range.start > range.end || range.end > entry.len {
            return Err(Error::shape(format!("{range:?} of {} values", entry.len)));
        }
        let mut values = floats(files, file, entry.sums, range.clone())?;
        match entry.by {
            #[expect(clippy::cast_precision_loss, reason = "the reference converts like that")]
            Divisor::Calls(calls) if calls > 0 => {
                values.iter_mut().for_each(|value| *value /= calls as f32);
            }
            Divisor::Calls(_) => {}
            Divisor::Counts { offset, matrices } => {
                let row = (entry.len / matrices.max(1)).max(1);
                let wanted = range.start / row..range.end.div_ceil(row);
                let counts = floats(files, file, offset, wanted.clone())?;
                for (matrix, count) in wanted.zip(counts) {
                    if !count.is_finite() {
                        return Err(Error::malformed(format!("count {matrix} is `{count}`")));
                    }
                    let within = |at: u64| at.clamp(range.start, range.end) - range.start;
                    let own = mem_len(within(matrix * row))?..mem_len(within(matrix * row + row))?;
                    for value in values.get_mut(own).unwrap_or_default() {
                        *value = if count > 0.0 { *value / count } else { 1.0 };
                    }
                }
            }
        }
        match (range.start..).zip(&values).find(|(_, value)| !value.is_finite() || **value < 0.0) {
            Some((at, value)) => Err(Error::malformed(format!(
                "value {at} is `{value}`, expected a number that is not negative"
            ))),
            None => Ok(values),
        }
    }

    /// An index with these entries; a file without any is of no use.
    fn of(entries: BTreeMap<String, Entry>, dataset: Option<String>, chunks: u32) -> Result<Self> {
        match entries.is_empty() {
            true => Err(Error::malformed("it has no entries")),
            false => Ok(Self { dataset, chunks, entries }),
        }
    }
}

/// Some of the 32-bit floats that begin at `offset`.
fn floats(files: &dyn Files, file: &str, offset: u64, range: Range<u64>) -> Result<Vec<f32>> {
    // Places were compared with the length of the file when it was opened.
    let start = offset.saturating_add(range.start.saturating_mul(4));
    let len = mem_len((range.end - range.start).saturating_mul(4))?;
    let bytes = read_exact(files, file, start, len)?;
    let (chunks, _) = bytes.as_chunks::<4>();
    Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

/// The end of `count` 32-bit floats at `offset`, if it is within a file of `len` bytes.
fn floats_end(offset: u64, count: u64, len: u64) -> Option<u64> {
    offset.checked_add(count.checked_mul(4)?).filter(|&end| end <= len)
}

/// Checks the name of a tensor that an entry is for.
fn check_name(name: &str) -> Result<()> {
    match name.len() {
        0 => Err(Error::malformed("an entry has no name")),
        len if len > limits::TENSOR_NAME => {
            Err(Error::limit(format!("an entry has a name of {len} bytes")))
        }
        _ => Ok(()),
    }
}
