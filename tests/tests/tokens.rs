//! Tokenizers: what is read from real layouts, `tokens.bin`, and hostile input to both.

mod binary;
mod golden;
mod made;
mod oracle;
mod sources;
mod unigram;
mod wordpiece;

use std::collections::BTreeMap;

use gmat_core::config::ModelConfig;
use gmat_core::token::{FileSet, TokenizerOptions, Vocab, detect};
use gmat_core::{Registry, Result};

/// Files in memory.
#[derive(Clone, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// The tokenizer files of an oracle model.
    fn of_oracle(model: &str) -> Self {
        Self::of(&format!("oracle/{model}"))
    }

    /// The files of a folder of test data, but for tensors.
    fn of(folder: &str) -> Self {
        let folder = format!("{}/data/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut files = Self::default();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_file() && !name.ends_with(".safetensors") {
                files.0.insert(name, std::fs::read(path).unwrap());
            }
        }
        files
    }

    /// The same files and one more, or another in its place.
    fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(name.to_owned(), bytes.into());
        self
    }

    /// The same files but one.
    fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    fn config(&self) -> Result<ModelConfig> {
        self.0
            .get("config.json")
            .map_or(Ok(ModelConfig::default()), |json| ModelConfig::parse(json))
    }

    /// The name of the source that claims the files.
    fn source(&self) -> Result<Option<&'static str>> {
        let registry = Registry::builtin(gmat_codecs::link())?;
        Ok(detect(registry.tokenizers(), self)?.map(|source| source.name()))
    }

    /// The vocabulary, as the source that claims the files reads it.
    fn vocab(&self, options: &TokenizerOptions) -> Result<Vocab> {
        let registry = Registry::builtin(gmat_codecs::link())?;
        let source = detect(registry.tokenizers(), self)?
            .ok_or_else(|| gmat_core::Error::unsupported("nobody claims these files"))?;
        source.read(self, &self.config()?, options)
    }

    /// As before, with no options.
    fn plain_vocab(&self) -> Result<Vocab> {
        self.vocab(&TokenizerOptions::default())
    }
}

impl FileSet for Files {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}
