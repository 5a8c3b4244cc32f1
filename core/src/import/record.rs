//! What is written about a finished tensor: its index, and its lines in `metadata.json`.

use super::fingerprint::Fingerprint;
use super::{ImportPlan, Item, OpenTensor};
use crate::format::store::Index;
use crate::store::{MadeOf, Record};

impl ImportPlan<'_> {
    /// What `metadata.json` says about a tensor with that index.
    pub(super) fn record(&self, item: &Item<'_>, index: &Index) -> Record {
        let info = &item.source.info;
        let stats = index.stats();
        let shard = self.model.shards.get(item.source.shard);
        let end = index.end();
        Record {
            block_format: index.format.clone(),
            dtype: info.dtype.name().to_owned(),
            from_base: item.takes(),
            made_of: item.source.derived.as_ref().map(|derived| MadeOf {
                encoding: derived.encoding.to_owned(),
                parts: derived.parts().iter().map(|part| part.info.name.clone()).collect(),
            }),
            file: shard.map(|shard| shard.name.clone()).unwrap_or_default(),
            importance: index.importance,
            max_abs: stats.max_abs,
            name: info.name.clone(),
            nonzero: stats.nonzero,
            rms: rms(stats.sum_sq, info.shape.elems()),
            shape: info.shape.dims().to_vec(),
            source_blake3: blake3::Hash::from(index.source_hash).to_hex().to_string(),
            stored_bytes: end + index.to_bytes(end).len() as u64,
        }
    }
}

/// The index of a finished tensor.
pub(super) fn index(item: &Item<'_>, tensor: OpenTensor, hash: [u8; 32]) -> Index {
    let info = &item.source.info;
    Index {
        dtype: info.dtype,
        format: item.format.name().to_owned(),
        shape: info.shape.clone(),
        id: item.id,
        source_hash: hash,
        fingerprint: fingerprint(item, hash),
        importance: tensor.tops.importance(),
        group_rows: item.group_rows,
        groups: tensor.groups,
    }
}

/// Everything that decides the bytes of a tensor file.
pub(super) fn fingerprint(item: &Item<'_>, hash: [u8; 32]) -> [u8; 32] {
    let info = &item.source.info;
    let fingerprint = Fingerprint {
        id: item.id,
        name: &info.name,
        dtype: info.dtype,
        encoding: item.source.derived.as_ref().map_or("", |derived| derived.encoding),
        shape: &info.shape,
        format: item.format.name(),
        group_rows: item.group_rows,
        source: hash,
        base: item.base_hash(),
    };
    fingerprint.hash()
}

fn rms(sum_sq: f64, elems: u64) -> f64 {
    if elems == 0 { 0.0 } else { (sum_sq / elems as f64).sqrt() }
}
