//! A file set with one file of any bytes, and what must hold of whatever is read from it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use gmat_core::config::ModelConfig;
use gmat_core::format::gguf::Meta;
use gmat_core::format::tokens;
use gmat_core::token::{FileSet, TokenizerOptions};
use gmat_core::{Registry, Result};

/// One file, and a config that names special tokens.
pub struct Files<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

impl<'a> Files<'a> {
    pub fn of(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes }
    }
}

const CONFIG: &str = r#"{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}"#;

impl FileSet for Files<'_> {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(match name {
            "tokenizer_config.json" => Some(CONFIG.as_bytes().to_vec()),
            name if name == self.name => Some(self.bytes.to_vec()),
            _ => None,
        })
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.to_owned(), "tokenizer_config.json".to_owned()]
    }
}

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::builtin(gmat_codecs::link()).expect("the codecs are sound"));

/// Every reader reads or refuses the files, whether it claims them or not; what is read can be kept
/// and written. An error is as good as a result; a panic is not.
pub fn check(files: &Files<'_>) {
    let config = ModelConfig::parse(br#"{"vocab_size": 600}"#).expect("valid");
    for source in REGISTRY.tokenizers() {
        let _ = source.score(files);
        for pre in source.pre_tokenizers().first().map(|name| (*name).to_owned()).into_iter() {
            let options = TokenizerOptions { pre: Some(pre) };
            let _ = source.read(files, &ModelConfig::default(), &options);
        }
        let Ok(vocab) = source.read(files, &config, &TokenizerOptions::default()) else { continue };
        let bytes = tokens::write(&vocab).expect("what was read can be kept");
        assert_eq!(tokens::read(&bytes).expect("what was kept can be read"), vocab);
        let _ = vocab.to_meta(Some(600), &BTreeMap::new(), &mut Meta::new());
    }
}
