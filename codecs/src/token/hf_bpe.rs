//! Byte-level BPE from `tokenizer.json`: GPT-2, Llama 3, Qwen, DeepSeek, …
//!
//! Reads: `tokenizer.json`, `tokenizer_config.json` (or `special_tokens_map.json`),
//! `added_tokens.json`, `chat_template.jinja` and the like, `config.json`.
//! Gives: model `gpt2`; tokens in the byte-level alphabet, without scores; merges.
//! Definition: the serialization of HuggingFace's `tokenizers` library, and what the reference
//! converter makes of it.

use std::collections::{HashMap, HashSet};

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::token::{FileSet, TokenizerOptions, TokenizerSource, Vocab};
use gmat_core::{Error, Result, ResultExt, register_tokenizer};

use crate::hf::complete::{Files, complete};
use crate::hf::config::TokenizerConfig;
use crate::hf::json::{self, Merges, Model, Outline, Tokenizer, VocabList};
use crate::hf::rows::Rows;
use crate::hf::{added, quirks};
use crate::pre;

/// The reader.
pub(crate) struct HfBpe;

register_tokenizer!(HfBpe);

impl TokenizerSource for HfBpe {
    fn name(&self) -> &'static str {
        "hf-bpe"
    }

    fn summary(&self) -> &'static str {
        "byte-level BPE, from tokenizer.json"
    }

    fn pre_tokenizers(&self) -> &'static [&'static str] {
        &pre::NAMES
    }

    fn score(&self, files: &dyn FileSet) -> Result<Score> {
        Ok(match Outline::read(files)? {
            Some(outline) if outline.is_bpe() && outline.is_byte_level() => Score::Likely,
            _ => Score::No,
        })
    }

    fn read(
        &self,
        files: &dyn FileSet,
        config: &ModelConfig,
        options: &TokenizerOptions,
    ) -> Result<Vocab> {
        let tokenizer = Tokenizer::read(files)?
            .ok_or_else(|| Error::malformed(format!("there is no `{}`", json::FILE)))?;
        let names = TokenizerConfig::read(files)?;
        let rows = config.u64(&["padded_vocab_size", "vocab_size"])?;
        let place = || format!("file `{}`", json::FILE);

        let entries = check_model(&tokenizer).context(place)?;
        let ids: HashMap<&str, u32> =
            entries.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        let mut tokens = Rows::from_vocab(entries).context(place)?;
        let added = added::collect(&tokenizer, &ids, &tokens, &names, files, rows)?;
        added::put(&mut tokens, &added, true).context(place)?;

        let mut vocab = Vocab::new("gpt2");
        vocab.tokens = tokens.finish(0.0).context(place)?;
        vocab.sorted_ids().context(place)?;
        vocab.merges = merges(&tokenizer.model.merges, &ids).context(place)?;
        let texts: HashSet<&str> = added.iter().map(|token| token.content.as_str()).collect();
        vocab.pre = match &options.pre {
            Some(name) => {
                pre::check(name)?;
                name.clone()
            }
            None => {
                let has = |text: &str| texts.contains(text) || ids.contains_key(text);
                pre::recognise(&tokenizer, names.class(), &has)?.to_owned()
            }
        };
        let from = Files { files, tokenizer: Some(&tokenizer), names: &names, model: config };
        complete(&mut vocab, &from, None)?;
        // RoBERTa and its kin are encoders with this kind of tokenizer.
        quirks::token_types(&mut vocab, config, false)?;
        Ok(vocab)
    }
}

/// Texts and ids, if the model is one that runtimes can follow.
fn check_model(tokenizer: &Tokenizer) -> Result<&[(String, u32)]> {
    let Model { kind, vocab, continuing_subword_prefix, end_of_word_suffix, .. } = &tokenizer.model;
    let kind = kind.as_deref().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(Error::unsupported(format!("a `{kind}` tokenizer, not BPE")));
    }
    if !tokenizer.is_byte_level() {
        return Err(Error::unsupported("BPE that is not byte-level"));
    }
    for (name, affix) in [
        ("continuing_subword_prefix", continuing_subword_prefix),
        ("end_of_word_suffix", end_of_word_suffix),
    ] {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return Err(Error::unsupported(format!("BPE with `{name}` `{affix}`")));
        }
    }
    match vocab {
        VocabList::Ids(entries) if !entries.is_empty() => Ok(entries),
        _ => Err(Error::malformed("`model.vocab` has no tokens")),
    }
}

/// Merges as `left right`. A space inside a side becomes its character in the byte-level alphabet,
/// since GGUF separates the sides with one.
fn merges(list: &Merges, ids: &HashMap<&str, u32>) -> Result<Vec<Vec<u8>>> {
    let mut whole = String::new();
    let mut merges = Vec::with_capacity(list.0.len());
    for (left, right) in &list.0 {
        whole.clear();
        whole.extend([left.as_str(), right.as_str()]);
        for text in [left, right, &whole] {
            if !ids.contains_key(text.as_str()) {
                return Err(Error::malformed(format!(
                    "merge `{left}` + `{right}` needs `{text}`, which is not in the vocabulary"
                )));
            }
        }
        let side = |text: &str| text.replace(' ', "Ġ");
        merges.push(format!("{} {}", side(left), side(right)).into_bytes());
    }
    Ok(merges)
}
