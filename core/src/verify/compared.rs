//! A sink that compares what it is given with what is there.

use super::Verified;
use crate::error::{Error, Result};
use crate::io::{Files, Sink};
use crate::tensor::mem_len;

/// Writes nothing: every file that is begun is compared with the one of that name.
pub struct Comparison<'a> {
    files: &'a dyn Files,
    open: Option<Open>,
    differing: Vec<Differing>,
}

/// A file that is being compared.
struct Open {
    name: String,
    at: u64,
    /// Bytes of the file that is there; none if there is none.
    len: Option<u64>,
}

/// A byte, the first one of a piece, that is not what it would be.
struct Differing {
    file: String,
    what: What,
}

enum What {
    Missing,
    /// The first byte that differs in a piece.
    Byte(u64),
    /// Bytes that the file has, and those that it would have.
    Length(u64, u64),
}

impl<'a> Comparison<'a> {
    /// Compares with the files of a folder.
    #[must_use]
    pub fn new(files: &'a dyn Files) -> Self {
        Self { files, open: None, differing: Vec::new() }
    }

    /// Adds the differences to what a verification of the same files found; `tensor` tells which
    /// tensor a byte of a file is of. Only the first difference in a tensor counts.
    pub fn report(self, tensor: impl Fn(&str, u64) -> Option<String>, found: &mut Verified) {
        let mut last = None;
        for Differing { file, what } in self.differing {
            let (name, what) = match what {
                What::Missing => (None, "the file is missing".to_owned()),
                What::Byte(at) => {
                    (tensor(&file, at), format!("byte {at} is not the one that the source makes"))
                }
                What::Length(is, would) => {
                    (None, format!("the file has {is} bytes, the source makes {would}"))
                }
            };
            let place = Some((file.clone(), name.clone()));
            if place != last {
                found.differs(&file, name.as_deref(), what);
            }
            last = place;
        }
    }

    fn differs(&mut self, file: &str, what: What) {
        self.differing.push(Differing { file: file.to_owned(), what });
    }
}

impl Sink for Comparison<'_> {
    fn begin(&mut self, name: &str, _: Option<u64>) -> Result<()> {
        let len = self.files.len(name)?;
        if len.is_none() {
            self.differs(name, What::Missing);
        }
        self.open = Some(Open { name: name.to_owned(), at: 0, len });
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(|| Error::shape("no file is open"))?;
        let start = open.at;
        open.at += bytes.len() as u64;
        let Some(len) = open.len else { return Ok(()) };
        let (end, name) = (open.at.min(len), open.name.clone());
        if start >= end {
            return Ok(());
        }
        let there = self.files.read(&name, start..end)?;
        let there = there.as_ref().as_ref();
        let ours = bytes.get(..mem_len(end - start)?).unwrap_or_default();
        if there != ours {
            let same = there.iter().zip(ours).take_while(|(a, b)| a == b).count();
            self.differs(&name, What::Byte(start + same as u64));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let open = self.open.take().ok_or_else(|| Error::shape("no file is open"))?;
        match open.len {
            Some(len) if len != open.at => self.differs(&open.name, What::Length(len, open.at)),
            _ => {}
        }
        Ok(())
    }
}
