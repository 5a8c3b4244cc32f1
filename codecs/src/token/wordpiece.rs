//! WordPiece from `tokenizer.json` or `vocab.txt`: BERT and its kin.
//!
//! Reads: `tokenizer.json`, else `vocab.txt` (one token per line, its id is the number of the line);
//! `tokenizer_config.json` (or `special_tokens_map.json`), `added_tokens.json`, `config.json`.
//! Gives: model `bert`; tokens in the form that its runtime looks them up in: U+2581 in front of
//! what starts a word, nothing in front of what continues one (`##ing` becomes `ing`), control
//! tokens as they are; `token_type_count`, the keys of the normalizer.
//! Definition: the serialization of HuggingFace's `tokenizers` library, `vocab.txt` of BERT, and what
//! the reference converter makes of them.

use std::collections::{BTreeMap, HashMap};

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::token::{
    FileSet, Special, Token, TokenKind, TokenizerOptions, TokenizerSource, Vocab,
};
use gmat_core::{Error, Result, ResultExt, register_tokenizer};

use crate::hf::complete::{Files, complete};
use crate::hf::config::TokenizerConfig;
use crate::hf::json::{self, Outline, Tokenizer, VocabList, kind, parts};
use crate::hf::normalizer::Normalization;
use crate::hf::rows::{self, Rows};
use crate::hf::{added, files as read_file, quirks};
use crate::pre;

/// Name of the file with one token per line.
const FILE: &str = "vocab.txt";

/// The mark of tokens that continue a word.
const CONTINUING: &str = "##";

/// Names of the special tokens where no file has them.
const ROLES: [(Special, &str); 5] = [
    (Special::Unk, "[UNK]"),
    (Special::Sep, "[SEP]"),
    (Special::Pad, "[PAD]"),
    (Special::Cls, "[CLS]"),
    (Special::Mask, "[MASK]"),
];

/// The reader.
pub(crate) struct WordPiece;

register_tokenizer!(WordPiece);

impl TokenizerSource for WordPiece {
    fn name(&self) -> &'static str {
        "wordpiece"
    }

    fn summary(&self) -> &'static str {
        "WordPiece, from tokenizer.json or vocab.txt"
    }

    fn pre_tokenizers(&self) -> &'static [&'static str] {
        &pre::WORDPIECE
    }

    fn score(&self, files: &dyn FileSet) -> Result<Score> {
        Ok(match Outline::read(files)? {
            Some(outline) if outline.is_wordpiece() => Score::Likely,
            None if files.read(FILE)?.is_some() => Score::Fallback,
            _ => Score::No,
        })
    }

    fn read(
        &self,
        files: &dyn FileSet,
        config: &ModelConfig,
        options: &TokenizerOptions,
    ) -> Result<Vocab> {
        let names = TokenizerConfig::read(files)?;
        let tokenizer = Tokenizer::read(files)?;
        let size = config.u64(&["vocab_size"])?;
        let mut vocab = Vocab::new("bert");
        vocab.pre = pre::wordpiece(options)?.to_owned();
        let tokens = match &tokenizer {
            Some(tokenizer) => {
                let forced = options.pre.is_some();
                of_json(tokenizer, forced).context(|| format!("file `{}`", json::FILE))?
            }
            None => of_text(files).context(|| format!("file `{FILE}`"))?,
        };
        let ids: HashMap<&str, u32> =
            tokens.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        let mut table = Rows::from_vocab(&tokens)?;
        let mut by_role = BTreeMap::new();
        match &tokenizer {
            Some(tokenizer) => {
                if names.is_empty() {
                    by_role = named(&ids, roles(&names)?);
                }
                let list = added::collect(tokenizer, &ids, &table, &names, files, size)?;
                added::put(&mut table, &list, false)?;
            }
            None => {
                by_role = named(&ids, roles(&names)?);
                for id in by_role.values() {
                    if let Some(mut token) = table.get(*id).cloned() {
                        token.kind = TokenKind::Control;
                        token.added = true;
                        table.put(*id, token);
                    }
                }
            }
        }
        vocab.tokens = table.finish(0.0)?;
        rows::pad(&mut vocab.tokens, size, 0.0)?;
        vocab.tokens.iter_mut().for_each(mark);
        vocab.sorted_ids()?;

        let rows = Some(vocab.tokens.len() as u64);
        let from = Files { files, tokenizer: tokenizer.as_ref(), names: &names, model: config };
        complete(&mut vocab, &from, rows)?;
        for (role, id) in by_role {
            // A runtime puts these around every text and finds them by id.
            let around = match role {
                Special::Cls => Special::Bos,
                Special::Sep => Special::Eos,
                other => other,
            };
            vocab.special.entry(around).or_insert(id);
            if role != Special::Cls {
                vocab.special.entry(role).or_insert(id);
            }
        }
        if tokenizer.is_none() {
            vocab.extra.extend(of_config(&names).keys());
        }
        quirks::token_types(&mut vocab, config, true)?;
        Ok(vocab)
    }
}

/// The ids of special tokens that the vocabulary has.
fn named(ids: &HashMap<&str, u32>, roles: Vec<(Special, String)>) -> BTreeMap<Special, u32> {
    roles.into_iter().filter_map(|(role, name)| Some((role, *ids.get(name.as_str())?))).collect()
}

/// Texts and ids of a `tokenizer.json`. Unless `forced`, it must do what runtimes do.
fn of_json(tokenizer: &Tokenizer, forced: bool) -> Result<Vec<(String, u32)>> {
    let prefix = tokenizer.model.continuing_subword_prefix.as_deref().unwrap_or(CONTINUING);
    if prefix != CONTINUING {
        return Err(Error::unsupported(format!(
            "WordPiece with `continuing_subword_prefix` `{prefix}`, expected `{CONTINUING}`"
        )));
    }
    let steps = parts(&tokenizer.pre_tokenizer, "pretokenizers");
    let bert = matches!(steps.as_slice(), [step] if kind(step) == "BertPreTokenizer");
    if !bert && !forced {
        let shown: Vec<&str> = steps.iter().map(|step| kind(step)).collect();
        return Err(Error::unsupported(format!(
            "WordPiece that splits text with `{}`, which no runtime does; the closest is `{}`",
            shown.join("`, `"),
            pre::BERT
        ))
        .with_hint(format!(
            "if its rules are right nevertheless, force them with `--pre {}`",
            pre::BERT
        )));
    }
    match &tokenizer.model.vocab {
        VocabList::Ids(entries) if !entries.is_empty() => Ok(entries.clone()),
        _ => Err(Error::malformed("`model.vocab` has no tokens")),
    }
}

/// Texts and ids of a `vocab.txt`. Of lines that are the same the last one counts.
fn of_text(files: &dyn FileSet) -> Result<Vec<(String, u32)>> {
    let text = read_file::text(files, FILE)?.unwrap_or_default();
    let mut ids: HashMap<&str, u32> = HashMap::new();
    for (id, line) in (0..).zip(text.strip_suffix('\n').unwrap_or(&text).split('\n')) {
        ids.insert(line, id);
    }
    if text.is_empty() {
        return Err(Error::malformed("no tokens"));
    }
    let mut entries: Vec<(String, u32)> =
        ids.into_iter().map(|(text, id)| (text.to_owned(), id)).collect();
    entries.sort_unstable_by_key(|(_, id)| *id);
    Ok(entries)
}

/// The names of the special tokens.
fn roles(names: &TokenizerConfig) -> Result<Vec<(Special, String)>> {
    let configured = |(role, usual): (Special, &str)| {
        let name = names.token(role.name())?;
        Ok((role, name.unwrap_or_else(|| usual.to_owned())))
    };
    ROLES.into_iter().map(configured).collect()
}

/// What the config says of a normalizer that no `tokenizer.json` describes. BERT's lowercases unless
/// told otherwise.
fn of_config(names: &TokenizerConfig) -> Normalization {
    Normalization {
        lowercase: names.flag("do_lower_case").or(Some(true)),
        strip_accents: names.flag("strip_accents"),
    }
}

/// Brings a token into the form that the runtime looks for.
fn mark(token: &mut Token) {
    if token.kind == TokenKind::Control {
        return;
    }
    match token.text.strip_prefix(CONTINUING.as_bytes()) {
        Some(rest) => token.text = rest.to_vec(),
        None => token.text.splice(0..0, "▁".bytes()).for_each(drop),
    }
}
