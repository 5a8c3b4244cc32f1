//! A GGUF model: one file, or the files of a split.
//!
//! Definition: files that `llama-gguf-split` writes: `NAME-00001-of-00003.gguf` and so on, of which
//! the first has the keys of the model; `split.no`, `split.count` and `split.tensors.count` are in
//! every one.

use std::collections::BTreeMap;

use super::{Gguf, Meta, Value};
use crate::error::{Error, Result, ResultExt};
use crate::io::{Files, read_exact};
use crate::limits;
use crate::tensor::mem_len;

/// Ending of file names.
pub const SUFFIX: &str = ".gguf";

/// Missing files that are named; of a split there may be thousands.
const NAMED: usize = 8;

/// One file of a model.
#[derive(Debug, Clone)]
pub struct Part {
    /// File name.
    pub name: String,
    /// Bytes of the file.
    pub len: u64,
    /// Its header.
    pub gguf: Gguf,
    /// Bytes of every tensor; none where the type is not known.
    pub lens: Vec<Option<u64>>,
}

/// The headers of all files of a model, checked against each other.
#[derive(Debug, Clone)]
pub struct GgufModel {
    /// Files, in order.
    pub parts: Vec<Part>,
    /// Names of files of the split that are not there (the first few).
    pub missing: Vec<String>,
}

impl GgufModel {
    /// Reads the header of a file, and if it is one of a split, those of the others.
    ///
    /// # Errors
    /// `Io`, `Malformed`, `Unsupported` or `Limit`, naming the file and what is wrong in it.
    pub fn open(files: &dyn Files, file: &str) -> Result<Self> {
        let first = part(files, file.to_owned())?;
        let count = split_key(&first, "split.count")?.unwrap_or(1);
        if count <= 1 {
            return Ok(Self { parts: vec![first], missing: Vec::new() });
        }
        let place = format!("file `{}`", files.place(file));
        let stem = check_name(&first, count).context(|| place)?.to_owned();
        let mut model = Self { parts: Vec::new(), missing: Vec::new() };
        for number in 1..=count {
            let name = format!("{stem}-{number:05}-of-{count:05}{SUFFIX}");
            if name == file {
                model.parts.push(first.clone());
            } else if files.len(&name)?.is_some() {
                let part = part(files, name)?;
                let place = || format!("file `{}`", files.place(&part.name));
                let own = split_key(&part, "split.count")?.unwrap_or(1);
                if own != count {
                    let said = format!("`split.count` is {own}, but {count} in `{file}`");
                    return Err(Error::malformed(said).with_hint(MIXED).context(place()));
                }
                check_name(&part, count).context(place)?;
                model.parts.push(part);
            } else if model.missing.len() < NAMED {
                model.missing.push(files.place(&name));
            }
        }
        model.check_tensors(files)?;
        Ok(model)
    }

    /// The keys of the model: those of the first file.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        self.parts.first().map(|part| &part.gguf.meta)
    }

    /// Refuses a model of which files are missing.
    ///
    /// # Errors
    /// `Malformed`, naming them.
    pub fn complete(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.missing.iter().map(|name| format!("`{name}`")).collect();
        Err(Error::malformed(format!("files of the split are missing: {}", names.join(", ")))
            .with_hint("download the missing files to the same folder"))
    }

    /// No tensor is in two files, and if all are there, so are all tensors.
    fn check_tensors(&self, files: &dyn Files) -> Result<()> {
        let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
        for part in &self.parts {
            for tensor in &part.gguf.tensors {
                if let Some(first) = owner.insert(&tensor.name, &part.name) {
                    let (first, second) = (files.place(first), files.place(&part.name));
                    return Err(Error::malformed(format!(
                        "tensor `{}` is in both `{first}` and `{second}`",
                        tensor.name
                    ))
                    .with_hint(MIXED));
                }
            }
        }
        let stated = match self.parts.first() {
            Some(first) => split_key(first, "split.tensors.count")?,
            None => None,
        };
        match stated {
            Some(stated) if self.missing.is_empty() && stated != owner.len() as u64 => {
                Err(Error::malformed(format!(
                    "the files of the split have {} tensors, `split.tensors.count` says {stated}",
                    owner.len()
                ))
                .with_hint(MIXED))
            }
            _ => Ok(()),
        }
    }
}

impl Gguf {
    /// Reads the header of a file, and no more than `most` bytes of it. The length of a header is not
    /// stated anywhere, so ever more is read until it is whole.
    ///
    /// # Errors
    /// Like [`Self::parse`] and [`Files::read`]; `Io` if there is no such file; `Limit` if the header
    /// is larger than `most` bytes.
    pub fn open(files: &dyn Files, file: &str, most: u64) -> Result<(Self, u64)> {
        let missing = || {
            Error::new(crate::ErrorKind::Io, "no such file")
                .with_hint("check the path; nothing is there")
        };
        let len = files.len(file)?.ok_or_else(missing)?;
        let mut want = len.min(64 << 10);
        loop {
            let bytes = read_exact(files, file, 0, mem_len(want)?)?;
            if let Some(gguf) = Self::parse_start(&bytes, len)? {
                return Ok((gguf, len));
            }
            if want >= most {
                return Err(Error::limit(format!("the header is larger than {most} bytes")));
            }
            want = (want * 4).min(len).min(most);
        }
    }
}

/// What is wrong most of the time if files of a split contradict each other.
const MIXED: &str = "files of different models are mixed: get all of them again";

fn part(files: &dyn Files, name: String) -> Result<Part> {
    let place = || format!("file `{}`", files.place(&name));
    let (gguf, len) = Gguf::open(files, &name, limits::GGUF_HEADER).context(place)?;
    let lens = gguf.lens(len).context(place)?;
    Ok(Part { name, len, gguf, lens })
}

/// A number of the split's own keys.
fn split_key(part: &Part, key: &str) -> Result<Option<u64>> {
    let Some(value) = part.gguf.meta.value(key) else { return Ok(None) };
    let number = Value::as_u64(value).filter(|&number| number <= u64::from(u32::MAX));
    number.map(Some).ok_or_else(|| {
        Error::malformed(format!("`{key}` is not a count")).context(format!("file `{}`", part.name))
    })
}

/// The part of the name before the numbers, which must be those of the keys.
fn check_name(part: &Part, count: u64) -> Result<&str> {
    let number = split_key(part, "split.no")?.unwrap_or(0).saturating_add(1);
    match shard_number(&part.name, SUFFIX) {
        Some((stem, n, c)) if (n, c) == (number, count) => Ok(stem),
        _ => Err(Error::malformed(format!(
            "the file is number {number} of {count} by its keys (`split.no`, `split.count`), but \
             not by its name"
        ))
        .with_hint(format!("its name must end in `-{number:05}-of-{count:05}{SUFFIX}`"))),
    }
}

/// Stem, number and count of `stem-00002-of-00005` with that suffix.
#[must_use]
pub fn shard_number<'a>(name: &'a str, suffix: &str) -> Option<(&'a str, u64, u64)> {
    let (rest, count) = name.strip_suffix(suffix)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) || !digits(count) {
        return None;
    }
    Some((stem, number.parse().ok()?, count.parse().ok()?))
}
