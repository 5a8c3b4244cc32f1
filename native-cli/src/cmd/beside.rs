//! What lies beside the weights of a model: tokenizer, generation config, model card.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use gmat_core::config::ModelConfig;
use gmat_core::format::tokens;
use gmat_core::io::{Files as _, SmallFiles, read_small};
use gmat_core::store::ModelFiles;
use gmat_core::token::{self, FileSet, TokenizerOptions, TokenizerSource};
use gmat_core::{Error, ErrorKind, Registry, Result, ResultExt};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::folder::Folder;
use crate::report::Console;

/// The bytes of `tokens.bin`, if the model has a tokenizer.
pub(super) fn tokenizer(
    forced: Option<&str>,
    folder: &Folder,
    registry: &Registry,
    config: Option<&ModelConfig>,
    console: &mut Console,
) -> Result<Option<Vec<u8>>> {
    let empty = ModelConfig::default();
    let options = TokenizerOptions { pre: forced.map(str::to_owned) };
    let files = SmallFiles(folder);
    let place = || format!("tokenizer in `{}`", folder.path().display());
    let again = |error: Error| match error.kind() {
        ErrorKind::Malformed => {
            error.with_hint("the file is damaged or half downloaded: get it again")
        }
        _ => error,
    };
    match token::detect(registry.tokenizers(), &files).map_err(again).context(place)? {
        Some(source) => {
            let vocab = source
                .read(&files, config.unwrap_or(&empty), &options)
                .map_err(again)
                .context(place)?;
            if let Some(pre) = forced.filter(|_| !vocab.pre.is_empty()) {
                pre_tokenizer(source, &files, config.unwrap_or(&empty), pre, console);
            }
            console.detail(format!("Tokenizer: {}, {} tokens", source.name(), vocab.tokens.len()));
            Ok(Some(tokens::write(&vocab)?))
        }
        None => {
            let known = [
                "tokenizer.json",
                "tokenizer.model",
                "spiece.model",
                "sentencepiece.bpe.model",
                "vocab.txt",
                "vocab.json",
                "tekken.json",
            ];
            let names = folder.names()?;
            let found: Vec<&str> =
                known.into_iter().filter(|name| names.iter().any(|n| n == name)).collect();
            let what = match found.as_slice() {
                [] => "no tokenizer".to_owned(),
                found => format!("no tokenizer of a supported kind (found {})", found.join(", ")),
            };
            console.note(format!(
                "{what} in `{}`: the store can be exported only with --no-tokenizer",
                folder.path().display()
            ));
            Ok(None)
        }
    }
}

/// Tells when `--pre` replaces what is recognised without it.
fn pre_tokenizer(
    source: &dyn TokenizerSource,
    files: &dyn FileSet,
    config: &ModelConfig,
    given: &str,
    console: &mut Console,
) {
    let found = source.read(files, config, &TokenizerOptions::default());
    // One that is not recognised is what the option is for.
    let Ok(found) = found else { return };
    if found.pre != given {
        let found = found.pre;
        console.note(format!(
            "`--pre {given}` replaces `{found}`, which was recognised: token ids change if it is wrong"
        ));
    }
}

/// What comes with the weights and is kept verbatim.
pub(super) fn model_files(folder: &Folder, config: Option<Vec<u8>>) -> Result<ModelFiles> {
    let raw = |name: &str, bytes: Option<Vec<u8>>| -> Result<Option<Box<RawValue>>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let place = || format!("file `{}`", folder.path().join(name).display());
        let text =
            String::from_utf8(bytes).map_err(|_| Error::malformed("not UTF-8").context(place()))?;
        let text = text.trim_start_matches('\u{feff}').trim().to_owned();
        RawValue::from_string(text)
            .map(Some)
            .map_err(|e| Error::malformed("not valid JSON").with_source(e).context(place()))
            .map_err(|e| e.with_hint("the file is damaged or half downloaded: get it again"))
    };
    let card = read_small(folder, "README.md")?;
    let card = card.and_then(|bytes| String::from_utf8(bytes).ok());
    let path = std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().to_owned());
    let mut beside = BTreeMap::new();
    for name in beside_names(folder)? {
        if let Some(content) = raw(&name, read_small(folder, &name)?)? {
            beside.insert(name, content);
        }
    }
    Ok(ModelFiles {
        beside,
        config: raw("config.json", config)?,
        generation_config: raw(
            "generation_config.json",
            read_small(folder, "generation_config.json")?,
        )?,
        model_card: card.as_deref().and_then(card_head).map(str::to_owned),
        name: model_name(&path),
        source_keys: None,
        tokens: None,
    })
}

/// Paths of JSON files that say how the vectors of an embedding model are made one: the list of its
/// modules, and the config of each.
fn beside_names(folder: &Folder) -> Result<Vec<String>> {
    const MODULES: &str = "modules.json";
    const MOST: usize = 64;
    let Some(bytes) = read_small(folder, MODULES)? else { return Ok(Vec::new()) };
    let modules: Vec<Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    let paths = modules.iter().filter_map(|module| module.get("path")?.as_str());
    // Nothing outside the model's folder.
    let inside = |path: &&str| {
        let mut parts = Path::new(path).components();
        matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
    };
    let configs = paths.filter(inside).take(MOST).map(|path| format!("{path}/config.json"));
    Ok([MODULES.to_owned()].into_iter().chain(configs).collect())
}

/// The name of a model by its folder; in a hub's cache (`models--ORG--NAME/snapshots/COMMIT`) by
/// the repository, since a commit says nothing.
fn model_name(folder: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"));
    let repository = snapshots.and_then(Path::parent).and_then(name);
    let cached = repository.as_deref().and_then(|name| name.strip_prefix("models--"));
    match cached.and_then(|name| name.rsplit("--").next()) {
        Some(cached) => Some(cached.to_owned()),
        None => name(folder),
    }
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
