//! Any bytes are read or refused, by every reader of a file's structure.

#![no_main]

use gmat_core::Error;
use gmat_core::config::{ExportConfig, ImportConfig, ModelConfig};
use gmat_core::export::Manifest;
use gmat_core::format::{gguf, safetensors, store, tokens};
use gmat_core::store::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let len = data.len() as u64;
    // An error is as good as a result; a panic is not.
    if let Ok(gguf) = gguf::Gguf::parse(data) {
        let _ = gguf.lens(len);
        // What is kept of a file is its keys.
        let kept = gguf::Header { meta: gguf.meta.clone(), tensors: Vec::new() };
        let kept = kept.to_bytes().expect("keys that were read can be written");
        let again = gguf::Gguf::parse(&kept).expect("what is written is read");
        assert_eq!(format!("{:?}", again.meta), format!("{:?}", gguf.meta));
    }
    let _ = gguf::Gguf::parse_start(data, len + 1000);
    let _ = tokens::read(data);
    let _ = ImportConfig::parse(data);
    let _ = ExportConfig::parse(data);
    let _ = ModelConfig::parse(data);
    let _ = Metadata::parse(data);
    let _ = Manifest::parse(data).map(|manifest| manifest.config());
    if let Some((prefix, rest)) = data.split_first_chunk() {
        let _ = safetensors::header_len(*prefix, len);
        let _ = safetensors::parse(rest, len);
    }
    let _ = store::Index::read(len, |offset, count| {
        let start = usize::try_from(offset).map_err(|_| Error::malformed("beyond the end"))?;
        let bytes = start.checked_add(count).and_then(|end| data.get(start..end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| Error::malformed("beyond the end"))
    });
});
