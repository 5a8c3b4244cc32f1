//! BPE on characters with bytes as fallback from `tokenizer.json`: Llama 2 and its kin where
//! `tokenizer.model` is missing.
//!
//! Reads: as [`super::hf_bpe`].
//! Gives: model `llama`; tokens with U+2581 for spaces, byte tokens; scores from the merges.
//!
//! A runtime merges the pair whose result has the highest score, a `tokenizer.json` lists merges in
//! the order of priority. Files made from SentencePiece models list all merges of a piece together,
//! best pieces first, so the scores −0, −1, −2, … in the order of first mention tokenize the same.
//! (The reference converter gives all tokens the same score, which does not.)

use std::collections::HashMap;

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::token::{FileSet, Token, TokenKind, TokenizerOptions, TokenizerSource, Vocab};
use gmat_core::{Error, Result, ResultExt, register_tokenizer};
use serde_json::Value;

use crate::hf::added;
use crate::hf::complete::{Files, complete};
use crate::hf::config::TokenizerConfig;
use crate::hf::json::{self, Merges, Outline, Tokenizer, VocabList, kind, parts};
use crate::hf::rows::Rows;
use crate::hf::spaces::prepends;
use crate::pre;

/// Score of added tokens, as for SentencePiece models.
const ADDED_SCORE: f32 = -1_000.0;

/// Score of rows without a token.
const PADDING_SCORE: f32 = -10_000.0;

/// The reader.
pub(crate) struct HfSpm;

register_tokenizer!(HfSpm);

impl TokenizerSource for HfSpm {
    fn name(&self) -> &'static str {
        "hf-spm"
    }

    fn summary(&self) -> &'static str {
        "BPE on characters with bytes as fallback, from tokenizer.json"
    }

    fn score(&self, files: &dyn FileSet) -> Result<Score> {
        Ok(match Outline::read(files)? {
            Some(outline)
                if outline.is_bpe() && outline.model.byte_fallback && !outline.is_byte_level() =>
            {
                Score::Likely
            }
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
        pre::none(options)?;
        let names = TokenizerConfig::read(files)?;
        let rows = config.u64(&["vocab_size"])?;
        let place = || format!("file `{}`", json::FILE);

        let VocabList::Ids(entries) = &tokenizer.model.vocab else {
            return Err(Error::malformed("`model.vocab` has no tokens")).context(place);
        };
        let prefix = space_prefix(&tokenizer).context(place)?;
        let ids: HashMap<&str, u32> =
            entries.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        let mut tokens = Rows::from_vocab(entries).context(place)?;
        score(&mut tokens, entries, &ids, &tokenizer).context(place)?;
        let added = added::collect(&tokenizer, &ids, &tokens, &names, files, rows)?;
        added::put(&mut tokens, &added, false).context(place)?;

        let mut vocab = Vocab::new("llama");
        vocab.scored = true;
        vocab.tokens = tokens.finish(PADDING_SCORE).context(place)?;
        for token in vocab.tokens.iter_mut().filter(|token| token.added) {
            token.score = ADDED_SCORE;
        }
        vocab.sorted_ids().context(place)?;
        let rows = rows.unwrap_or(vocab.tokens.len() as u64);
        vocab.add_space_prefix = prefix;
        let from = Files { files, tokenizer: Some(&tokenizer), names: &names, model: config };
        complete(&mut vocab, &from, Some(rows))?;
        Ok(vocab)
    }
}

/// Whether a space goes in front of the text: `None` where the runtime's habit of adding one is
/// right.
fn space_prefix(tokenizer: &Tokenizer) -> Result<Option<bool>> {
    let text = |part: &Value, key: &str| part.get(key).and_then(Value::as_str).map(str::to_owned);
    let (mut prefixed, mut marked) = (false, false);
    for part in parts(&tokenizer.normalizer, "normalizers") {
        match kind(part) {
            "Prepend" if text(part, "prepend").as_deref() == Some("▁") => prefixed = true,
            "Replace"
                if part.get("pattern").and_then(|p| text(p, "String")).as_deref() == Some(" ")
                    && text(part, "content").as_deref() == Some("▁") =>
            {
                marked = true;
            }
            "NFC" | "NFKC" => {}
            other => {
                return Err(Error::unsupported(format!(
                    "a `{other}` normalizer, which SentencePiece runtimes do not have"
                )));
            }
        }
    }
    for part in parts(&tokenizer.pre_tokenizer, "pretokenizers") {
        match kind(part) {
            "Metaspace" => {
                marked = true;
                prefixed |= prepends(part);
            }
            // Splits at spaces, of which the normalizer has left none.
            "Split"
                if marked
                    && part.get("pattern").and_then(|p| text(p, "String")).as_deref()
                        == Some(" ") => {}
            other => {
                return Err(Error::unsupported(format!(
                    "a `{other}` pre-tokenizer, which SentencePiece runtimes do not have"
                )));
            }
        }
    }
    if !marked {
        return Err(Error::unsupported("BPE on characters that does not mark spaces with U+2581"));
    }
    Ok((!prefixed).then_some(false))
}

/// Gives every token its kind and score.
fn score(
    rows: &mut Rows,
    entries: &[(String, u32)],
    ids: &HashMap<&str, u32>,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let mut ranks: HashMap<u32, u32> = HashMap::new();
    let Merges(merges) = &tokenizer.model.merges;
    for (left, right) in merges {
        let whole = format!("{left}{right}");
        let find = |text: &str| {
            ids.get(text).copied().ok_or_else(|| {
                Error::malformed(format!(
                    "merge `{left}` + `{right}` needs `{text}`, which is not in the vocabulary"
                ))
            })
        };
        find(left)?;
        find(right)?;
        let next = ranks.len();
        ranks.entry(find(&whole)?).or_insert(u32::try_from(next).unwrap_or(u32::MAX));
    }
    let unknown = tokenizer.model.unk_token.as_deref();
    // Characters are not merged from anything; they follow in the order of ids.
    let mut rest: Vec<&(String, u32)> = entries.iter().collect();
    rest.sort_unstable_by_key(|(_, id)| *id);
    let mut next = ranks.len();
    for (text, id) in rest {
        let (kind, score) = if added::is_byte(text) {
            (TokenKind::Byte, 0.0)
        } else if Some(text.as_str()) == unknown {
            (TokenKind::Unknown, 0.0)
        } else if let Some(rank) = ranks.get(id) {
            (TokenKind::Normal, -f64::from(*rank))
        } else {
            next += 1;
            (TokenKind::Normal, -((next - 1) as f64))
        };
        #[expect(clippy::cast_possible_truncation, reason = "integers below 2^24 are exact")]
        let score = score as f32;
        rows.put(*id, Token { text: text.clone().into_bytes(), score, kind, added: false });
    }
    Ok(())
}
