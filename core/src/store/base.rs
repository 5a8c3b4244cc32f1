//! A store that takes tensors from another one, its base: those that are the same, and those of which
//! only what differs is stored.
//!
//! A base has no base of its own: what a store needs is two folders at most, and there are no circles.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CHECKSUM_START, Metadata, Record, Store, tensor_file};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::format::store::Index;
use crate::io::{Chunk, Files};

/// The base of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeAgainst {
    /// The `checksum` of its `metadata.json`.
    pub checksum: String,
    /// Where it was, seen from the store's folder, with `/` between names: a hint, no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What a tensor takes from the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromBase {
    /// Its file says what differs from the tensor of that id.
    Difference(Uuid),
    /// It is the tensor of that id, and has no file of its own.
    Same(Uuid),
}

/// Where a file with a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    Own(Uuid),
    Base(Uuid),
}

impl Location {
    pub(crate) fn id(self) -> Uuid {
        match self {
            Self::Own(id) | Self::Base(id) => id,
        }
    }
}

/// Where the rows of a tensor are, and where those are that they differ from.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) location: Location,
    pub(crate) index: Index,
    pub(crate) base: Option<(Location, Index)>,
}

impl Metadata {
    /// Bytes of a metadata file within which its checksum is.
    pub const CHECKSUM_END: u64 = 96;

    /// The checksum that a metadata file states, by its first bytes.
    #[must_use]
    pub fn stated_checksum(start: &[u8]) -> Option<&str> {
        let text = start.strip_prefix(CHECKSUM_START.as_bytes())?.get(..64)?;
        std::str::from_utf8(text).ok()
    }

    /// What tells this store from others: a hash of all that its metadata says.
    #[must_use]
    pub fn checksum(&self) -> &str {
        &self.checksum
    }
}

impl<'a> Store<'a> {
    /// The same store together with its base, which is in that folder.
    ///
    /// # Errors
    /// `Config` if it has no base, or this is not it; `Unsupported` if the base has a base; otherwise
    /// like [`Self::open`].
    pub fn with_base(self, files: &'a dyn Files) -> Result<Self> {
        let place = self.files.place("");
        let wanted = self.metadata.made_against.as_ref().ok_or_else(|| {
            Error::config(format!("`{place}` was not made against a base"))
                .with_hint("leave --base out")
        })?;
        let base = Store::open(files).context(|| format!("base of `{place}`"))?;
        if base.metadata.checksum != wanted.checksum {
            return Err(Error::config(format!(
                "`{}` is not the base of `{place}`, or has changed: its checksum is {}, that of the \
                 base was {}",
                files.place(""),
                base.metadata.checksum,
                wanted.checksum
            ))
            .with_hint("the base is needed as it was; --base tells where it is now"));
        }
        base.refuse_base()?;
        for record in self.metadata.tensors.values() {
            let Some(from) = record.from_base else { continue };
            let (FromBase::Difference(id) | FromBase::Same(id)) = from;
            let fits = base.metadata.tensors.get(&id).is_some_and(|other| {
                let same = other.source_blake3 == record.source_blake3
                    && other.block_format == record.block_format
                    && other.stored_bytes == record.stored_bytes;
                let alike = other.dtype == record.dtype && other.shape == record.shape;
                alike && (same || matches!(from, FromBase::Difference(_)))
            });
            if !fits {
                return Err(Error::malformed("its record does not fit the base")
                    .context(format!("tensor `{}` of `{place}`", record.name)));
            }
        }
        Ok(Self { base: Some(Box::new(base)), ..self })
    }

    /// Refuses a store that has a base itself.
    pub(crate) fn refuse_base(&self) -> Result<()> {
        match self.metadata.made_against {
            Some(_) => Err(Error::unsupported(format!(
                "`{}` cannot be a base: it was made against a base itself",
                self.files.place("")
            ))
            .with_hint("`gmat store flatten` makes a store that stands by itself")),
            None => Ok(()),
        }
    }

    /// Where a tensor's own rows are.
    pub(crate) fn location(&self, id: Uuid, record: &Record) -> Result<Location> {
        match record.from_base {
            Some(FromBase::Same(_)) if self.base.is_none() => Err(self.base_missing()),
            Some(FromBase::Same(base)) => Ok(Location::Base(base)),
            Some(FromBase::Difference(_)) | None => Ok(Location::Own(id)),
        }
    }

    /// The error for a base that was not found.
    #[must_use]
    pub fn base_missing(&self) -> Error {
        let made = self.metadata.made_against.as_ref();
        let path = made.and_then(|made| made.path.as_deref()).unwrap_or("(unknown)");
        let checksum = made.map_or("", |made| made.checksum.as_str());
        Error::new(
            ErrorKind::Io,
            format!(
                "the base of `{}` is missing: it was at `{path}`, with checksum {checksum}",
                self.files.place("")
            ),
        )
        .with_hint("give the folder of the base with --base")
    }

    /// Folder and name of a file.
    pub(crate) fn file(&self, location: Location) -> Result<(&'a dyn Files, String)> {
        let files = match (location, &self.base) {
            (Location::Own(_), _) => self.files,
            (Location::Base(_), Some(base)) => base.files,
            (Location::Base(_), None) => return Err(self.base_missing()),
        };
        Ok((files, tensor_file(location.id())))
    }

    /// What messages call a file.
    pub(crate) fn place(&self, location: Location) -> String {
        self.file(location).map(|(files, name)| files.place(&name)).unwrap_or_default()
    }

    /// Bytes of a file.
    pub(crate) fn read(&self, location: Location, range: Range<u64>) -> Result<Chunk<'a>> {
        let (files, name) = self.file(location)?;
        files.read(&name, range)
    }

    /// A tensor's index, and that of the one it differs from.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub(crate) fn rows(&self, id: Uuid, record: &Record) -> Result<Rows> {
        let location = self.location(id, record)?;
        let index = self.index(id, record)?;
        let base = self.base_of(record, &index)?;
        Ok(Rows { location, index, base })
    }

    /// The tensor of the base that one with that index differs from, if it is stored as a difference.
    ///
    /// # Errors
    /// As [`Self::index`]; `Io` if the base was not given.
    pub(crate) fn base_of(
        &self,
        record: &Record,
        index: &Index,
    ) -> Result<Option<(Location, Index)>> {
        let Some(FromBase::Difference(other)) = record.from_base else { return Ok(None) };
        let store = self.base.as_ref().ok_or_else(|| self.base_missing())?;
        let other_record = store.metadata.tensors.get(&other).ok_or_else(|| self.base_missing())?;
        let base = store.index(other, other_record).context(|| "base")?;
        if base.group_rows != index.group_rows || base.dtype != index.dtype {
            let place = format!("tensor `{}` of `{}`", record.name, self.files.place(""));
            return Err(
                Error::malformed("it is cut into other row groups than its base").context(place)
            );
        }
        Ok(Some((Location::Base(other), base)))
    }

    /// The base, if it was given.
    pub(crate) fn base(&self) -> Option<&Self> {
        self.base.as_deref()
    }
}
