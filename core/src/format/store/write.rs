//! The index of a tensor file as bytes.

use super::{END_MAGIC, Index, VERSION, head};

impl Index {
    /// Index and trailer, to be appended after the last row group, which ends at `offset`.
    #[must_use]
    pub fn to_bytes(&self, offset: u64) -> Vec<u8> {
        let mut out = vec![self.dtype.code()];
        put_text(&mut out, &self.format);
        put(&mut out, &(self.shape.rank() as u64).to_le_bytes()[..2]);
        for dim in self.shape.dims() {
            put(&mut out, &dim.to_le_bytes());
        }
        put_text(&mut out, &self.id.to_string());
        put(&mut out, &self.source_hash);
        put(&mut out, &self.fingerprint);
        put(&mut out, &self.importance.to_le_bytes());
        put(&mut out, &self.group_rows.to_le_bytes());
        put(&mut out, &(self.groups.len() as u64).to_le_bytes());
        for group in &self.groups {
            put(&mut out, &group.offset.to_le_bytes());
            put(&mut out, &group.len.to_le_bytes());
            put(&mut out, &group.sum);
            put(&mut out, &group.stats.nonzero.to_le_bytes());
            put(&mut out, &group.stats.non_finite.to_le_bytes());
            put(&mut out, &group.stats.max_abs.to_le_bytes());
            put(&mut out, &group.stats.sum_sq.to_le_bytes());
        }
        let index_len = out.len() as u64;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head()).update(&out);
        put(&mut out, &offset.to_le_bytes());
        put(&mut out, &index_len.to_le_bytes());
        hasher.update(&offset.to_le_bytes()).update(&index_len.to_le_bytes());
        put(&mut out, hasher.finalize().as_bytes());
        put(&mut out, &VERSION.to_le_bytes());
        put(&mut out, &[0; 8]);
        put(&mut out, END_MAGIC);
        out
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Texts here are names of formats and ids, which are short by construction.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.len().min(255)).unwrap_or_default();
    out.extend_from_slice(&(text.len() as u64).to_le_bytes()[..1]);
    out.extend_from_slice(text.as_bytes());
}
