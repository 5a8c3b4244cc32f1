//! What lies beside the weights of a SafeTensors model: tokenizer, generation config, model card.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::ModelConfig;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::format::tokens;
use crate::io::{Files, SmallFiles, is_file_name, read_small};
use crate::registry::Registry;
use crate::store::ModelFiles;
use crate::token::{self, FileSet, TokenizerOptions, TokenizerSource};

/// A tokenizer as the store has it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// The reader that knew its files.
    pub source: &'static str,
    /// Number of tokens.
    pub tokens: usize,
    /// The bytes of `tokens.bin`.
    pub bytes: Vec<u8>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model's folder; none if there is none of a supported kind, which a
    /// note says. `pre` is the pre-tokenizer that the user gives, see [`TokenizerOptions::pre`].
    ///
    /// # Errors
    /// `Malformed`, `Unsupported` or `Config` like [`TokenizerSource::read`], `Io` if a file cannot be
    /// read.
    pub fn read(
        files: &dyn Files,
        registry: &Registry,
        config: Option<&ModelConfig>,
        pre: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let empty = ModelConfig::default();
        let config = config.unwrap_or(&empty);
        let options = TokenizerOptions { pre: pre.map(str::to_owned) };
        let small = SmallFiles(files);
        let place = || format!("tokenizer in `{}`", files.place(""));
        let again = |error: Error| match error.kind() {
            ErrorKind::Malformed => {
                error.with_hint("the file is damaged or half downloaded: get it again")
            }
            _ => error,
        };
        let found = token::detect(registry.tokenizers(), &small).map_err(again).context(place)?;
        let Some(source) = found else {
            notes.push(format!(
                "{} in `{}`: the store can be exported only with --no-tokenizer",
                missing(files)?,
                files.place("")
            ));
            return Ok(None);
        };
        let vocab = source.read(&small, config, &options).map_err(again).context(place)?;
        if let Some(pre) = pre.filter(|_| !vocab.pre.is_empty()) {
            notes.extend(replaced(source, &small, config, pre));
        }
        let (source, count) = (source.name(), vocab.tokens.len());
        Ok(Some(Self { source, tokens: count, bytes: tokens::write(&vocab)? }))
    }
}

/// What there is instead of a tokenizer.
fn missing(files: &dyn Files) -> Result<String> {
    let known = [
        "tokenizer.json",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "vocab.txt",
        "vocab.json",
        "tekken.json",
    ];
    let names = files.names()?;
    let found: Vec<&str> =
        known.into_iter().filter(|name| names.iter().any(|n| n == name)).collect();
    Ok(match found.as_slice() {
        [] => "no tokenizer".to_owned(),
        found => format!("no tokenizer of a supported kind (found {})", found.join(", ")),
    })
}

/// Tells when `--pre` replaces what is recognised without it.
fn replaced(
    source: &dyn TokenizerSource,
    files: &dyn FileSet,
    config: &ModelConfig,
    given: &str,
) -> Option<String> {
    let found = source.read(files, config, &TokenizerOptions::default());
    // One that is not recognised is what the option is for.
    let found = found.ok()?.pre;
    (found != given).then(|| {
        format!(
            "`--pre {given}` replaces `{found}`, which was recognised: token ids change if it is wrong"
        )
    })
}

/// What comes with the weights and is kept verbatim. `config` is the content of `config.json`, `name`
/// what the model is called where it lies.
///
/// # Errors
/// `Malformed` if a file is not JSON; `Io` if one cannot be read.
pub fn model_files(
    files: &dyn Files,
    config: Option<Vec<u8>>,
    name: Option<String>,
) -> Result<ModelFiles> {
    let raw = |name: &str, bytes: Option<Vec<u8>>| -> Result<Option<Box<RawValue>>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let place = || format!("file `{}`", files.place(name));
        let text =
            String::from_utf8(bytes).map_err(|_| Error::malformed("not UTF-8").context(place()))?;
        let text = text.trim_start_matches('\u{feff}').trim().to_owned();
        RawValue::from_string(text)
            .map(Some)
            .map_err(|e| Error::malformed("not valid JSON").with_source(e).context(place()))
            .map_err(|e| e.with_hint("the file is damaged or half downloaded: get it again"))
    };
    let card = read_small(files, "README.md")?;
    let card = card.and_then(|bytes| String::from_utf8(bytes).ok());
    let mut beside = BTreeMap::new();
    for name in beside_names(files)? {
        if let Some(content) = raw(&name, read_small(files, &name)?)? {
            beside.insert(name, content);
        }
    }
    Ok(ModelFiles {
        beside,
        config: raw("config.json", config)?,
        generation_config: raw(
            "generation_config.json",
            read_small(files, "generation_config.json")?,
        )?,
        model_card: card.as_deref().and_then(card_head).map(str::to_owned),
        name,
        source_keys: None,
        tokens: None,
    })
}

/// Paths of JSON files that say how the vectors of an embedding model are made one: the list of its
/// modules, and the config of each.
fn beside_names(files: &dyn Files) -> Result<Vec<String>> {
    const MODULES: &str = "modules.json";
    const MOST: usize = 64;
    let Some(bytes) = read_small(files, MODULES)? else { return Ok(Vec::new()) };
    let modules: Vec<Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    let paths = modules.iter().filter_map(|module| module.get("path")?.as_str());
    let configs =
        paths.filter_map(folder_inside).take(MOST).map(|path| format!("{path}/config.json"));
    Ok([MODULES.to_owned()].into_iter().chain(configs).collect())
}

/// The path if it is a folder in the model's own, and nothing outside.
fn folder_inside(path: &str) -> Option<&str> {
    is_file_name(path.trim_end_matches('/')).then_some(path)
}

/// The metadata block at the start of a model card, with its two `---` lines.
fn card_head(readme: &str) -> Option<&str> {
    let body = readme.strip_prefix("---")?;
    let mut end = "---".len();
    for (number, line) in body.split_inclusive('\n').enumerate() {
        end += line.len();
        if number > 0 && line.trim_end() == "---" {
            return readme.get(..end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_stay_in_the_folder() {
        assert_eq!(folder_inside("1_Pooling"), Some("1_Pooling"));
        assert_eq!(folder_inside("1_Pooling/"), Some("1_Pooling/"));
        for path in ["", ".", "..", "/", "/etc", "a/b", "../x", "C:"] {
            assert_eq!(folder_inside(path), None, "{path}");
        }
    }

    #[test]
    fn head_of_a_card() {
        assert_eq!(card_head("---\na: b\n---\ntext"), Some("---\na: b\n---\n"));
        assert_eq!(card_head("---\na: b\n"), None);
        assert_eq!(card_head("# Title"), None);
    }
}
