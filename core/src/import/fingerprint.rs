//! What decides the bytes of a tensor file, in one hash.

use uuid::Uuid;

use crate::format::store::VERSION;
use crate::tensor::{DType, Shape};

/// Everything that decides the bytes of a tensor file.
pub(crate) struct Fingerprint<'a> {
    pub(crate) id: Uuid,
    /// Name in the source.
    pub(crate) name: &'a str,
    pub(crate) dtype: DType,
    /// How the source has it, if in parts.
    pub(crate) encoding: &'a str,
    pub(crate) shape: &'a Shape,
    /// Block format.
    pub(crate) format: &'a str,
    pub(crate) group_rows: u64,
    /// Hash of the source bytes.
    pub(crate) source: [u8; 32],
    /// The same of the tensor that it differs from.
    pub(crate) base: Option<[u8; 32]>,
}

impl Fingerprint<'_> {
    pub(crate) fn hash(&self) -> [u8; 32] {
        let Self { id, name, dtype, encoding, shape, format, group_rows, source, base } = self;
        let text =
            format!("gmat {VERSION} {id} {name} {dtype}{encoding} {shape} {format} {group_rows}");
        let mut hasher = blake3::Hasher::new();
        hasher.update(source).update(text.as_bytes());
        if let Some(base) = base {
            hasher.update(b" against ").update(base);
        }
        *hasher.finalize().as_bytes()
    }
}
