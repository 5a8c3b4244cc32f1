//! Unigram from a SentencePiece model or `tokenizer.json`: T5, XLM-RoBERTa and their kin.
//!
//! Reads: `tokenizer.model`, `spiece.model`, `sentencepiece.bpe.model`, `sentencepiece.model` or
//! `spm.model`, else (or where ids differ from the model's) `tokenizer.json`; `added_tokens.json`,
//! `tokenizer_config.json`, `config.json`.
//! Gives: model `t5`; tokens with U+2581 for spaces, scores; whether a space goes in front and
//! whether extra spaces go; the map of characters.
//! Definition: [`crate::spm`], the serialization of HuggingFace's `tokenizers` library, and what the
//! reference converter makes of them.

use std::collections::HashMap;

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::format::gguf::{Array, Value as MetaValue};
use gmat_core::token::{
    FileSet, Special, Token, TokenKind, TokenizerOptions, TokenizerSource, Vocab,
};
use gmat_core::{Error, Result, ResultExt, register_tokenizer};

use crate::hf::added::{self, added_tokens_json};
use crate::hf::complete::{Files, complete};
use crate::hf::config::TokenizerConfig;
use crate::hf::json::{self, Outline, Tokenizer, VocabList};
use crate::hf::quirks;
use crate::hf::rows::{self, Rows};
use crate::hf::spaces::Spaces;
use crate::pre;
use crate::spm::{self, Algorithm, Model, Piece};

/// Names that such models have, the first one found counts.
const FILES: [&str; 5] =
    ["tokenizer.model", "spiece.model", FAIRSEQ, "sentencepiece.model", "spm.model"];

/// The name of models whose ids are those of fairseq: four tokens of its own, then the pieces
/// without their first three.
const FAIRSEQ: &str = "sentencepiece.bpe.model";

/// The tokens that fairseq puts in front.
const FAIRSEQ_TOKENS: [(&str, TokenKind); 4] = [
    ("<s>", TokenKind::Control),
    ("<pad>", TokenKind::Control),
    ("</s>", TokenKind::Control),
    ("<unk>", TokenKind::Unknown),
];

/// Score of rows without a token.
const PADDING_SCORE: f32 = -10_000.0;

/// Score of added tokens: they are found in text before anything else.
const ADDED_SCORE: f32 = -1_000.0;

/// The reader.
pub(crate) struct Unigram;

register_tokenizer!(Unigram);

impl TokenizerSource for Unigram {
    fn name(&self) -> &'static str {
        "unigram"
    }

    fn summary(&self) -> &'static str {
        "Unigram, from a SentencePiece model or tokenizer.json"
    }

    fn score(&self, files: &dyn FileSet) -> Result<Score> {
        if find(files)?.is_some() {
            return Ok(Score::Certain);
        }
        let json = Outline::read(files)?;
        Ok(if json.is_some_and(|json| json.is_unigram()) { Score::Likely } else { Score::No })
    }

    fn read(
        &self,
        files: &dyn FileSet,
        config: &ModelConfig,
        options: &TokenizerOptions,
    ) -> Result<Vocab> {
        pre::none(options)?;
        let names = TokenizerConfig::read(files)?;
        let json = Tokenizer::read(files)?;
        let size = config.u64(&["vocab_size"])?;
        let mut vocab = Vocab::new("t5");
        vocab.scored = true;

        let model = find(files)?;
        let fairseq = model.as_ref().is_some_and(|(name, _)| *name == FAIRSEQ);
        let spaces = match model {
            Some((name, bytes)) => {
                let place = || format!("file `{name}`");
                let model = Model::parse(&bytes).context(place)?;
                drop(bytes);
                let spaces = Spaces {
                    prefix: model.dummy_prefix,
                    remove_extra: model.remove_extra_whitespaces,
                    charsmap: model.charsmap,
                };
                let unlike = json.as_ref().filter(|json| !agree(&model.pieces, fairseq, json));
                vocab.tokens = match (unlike, fairseq) {
                    (Some(json), _) => of_json(json, &names, files, size)?,
                    (None, true) => fairseq_tokens(model.pieces, size, config).context(place)?,
                    (None, false) => of_pieces(model.pieces, &names, files, config, size)?,
                };
                spaces
            }
            None => {
                let json = json.as_ref().ok_or_else(|| Error::malformed("there is no model"))?;
                let place = || format!("file `{}`", json::FILE);
                vocab.tokens = of_json(json, &names, files, size).context(place)?;
                let forced = options.pre.is_some();
                Spaces::of(json, names.flag("clean_up_tokenization_spaces"), forced)
                    .context(place)?
            }
        };
        vocab.sorted_ids()?;
        vocab.add_space_prefix = Some(spaces.prefix);
        vocab.extra.push((
            "tokenizer.ggml.remove_extra_whitespaces".to_owned(),
            MetaValue::Bool(spaces.remove_extra),
        ));
        if !spaces.charsmap.is_empty() {
            vocab.extra.push((
                "tokenizer.ggml.precompiled_charsmap".to_owned(),
                MetaValue::Array(Array::U8(spaces.charsmap)),
            ));
        }
        let rows = Some(vocab.tokens.len() as u64);
        let from = Files { files, tokenizer: json.as_ref(), names: &names, model: config };
        complete(&mut vocab, &from, rows)?;
        if fairseq && json.is_none() {
            fairseq_specials(&mut vocab);
        }
        quirks::token_types(&mut vocab, config, false)?;
        Ok(vocab)
    }
}

/// The SentencePiece model: its name and bytes.
fn find(files: &dyn FileSet) -> Result<Option<(&'static str, Vec<u8>)>> {
    for name in FILES {
        if let Some(bytes) = files.read(name)? {
            match spm::sniff(&bytes) {
                Some(Algorithm::Unigram) => return Ok(Some((name, bytes))),
                // Only one name is both kinds'; any other must be a model of this kind.
                _ if name != "tokenizer.model" => return Ok(Some((name, bytes))),
                _ => {}
            }
        }
    }
    Ok(None)
}

/// Whether a `tokenizer.json` has the pieces of the model under the ids that they get here. Some
/// classes number them in their own way; then it has the say.
fn agree(pieces: &[Piece], fairseq: bool, json: &Tokenizer) -> bool {
    let VocabList::Scores(entries) = &json.model.vocab else { return true };
    let (skip, shift) = if fairseq { (3, 1) } else { (0, 0) };
    pieces
        .iter()
        .enumerate()
        .skip(skip)
        .all(|(id, piece)| entries.get(id + shift).is_none_or(|(text, _)| *text == piece.text))
}

/// Tokens in the order of the model, then added ones.
fn of_pieces(
    pieces: Vec<Piece>,
    names: &TokenizerConfig,
    files: &dyn FileSet,
    config: &ModelConfig,
    size: Option<u64>,
) -> Result<Vec<Token>> {
    let fits = |id: u32| size.is_none_or(|size| u64::from(id) < size);
    let mut tokens = Rows::default();
    for (id, piece) in (0..).zip(pieces) {
        tokens.put(id, piece.into_token());
    }
    for (text, id) in added_tokens_json(files)?.into_iter().filter(|(_, id)| fits(*id)) {
        let text = text.into_bytes();
        let kind = TokenKind::UserDefined;
        tokens.put(id, Token { text, score: ADDED_SCORE, kind, added: true });
    }
    if !quirks::is_t5(config) {
        for token in names.added_tokens()?.into_iter().filter(|token| fits(token.id)) {
            tokens.put(token.id, added::token(token, ADDED_SCORE));
        }
    }
    let mut tokens = tokens.finish(PADDING_SCORE)?;
    rows::pad(&mut tokens, size, PADDING_SCORE)?;
    Ok(tokens)
}

/// Tokens with the ids of fairseq. As in the reference converter, rows beyond the pieces are padding
/// that is called by the number of the row before.
fn fairseq_tokens(
    pieces: Vec<Piece>,
    size: Option<u64>,
    config: &ModelConfig,
) -> Result<Vec<Token>> {
    let first: Vec<&str> = pieces.iter().take(3).map(|piece| piece.text.as_str()).collect();
    if first != ["<unk>", "<s>", "</s>"] {
        return Err(Error::unsupported(format!(
            "the model starts with `{}`, expected `<unk>`, `<s>`, `</s>`",
            first.join("`, `")
        ))
        .with_hint(format!("a `{}` beside it would say which ids its tokens have", json::FILE)));
    }
    let count = pieces.len();
    let mut tokens: Vec<Token> = pieces.into_iter().map(Piece::into_token).collect();
    rows::pad(&mut tokens, size, PADDING_SCORE)?;
    let rows = tokens.len();
    let front = FAIRSEQ_TOKENS.into_iter().map(|(text, kind)| Token {
        text: text.as_bytes().to_vec(),
        score: 0.0,
        kind,
        added: false,
    });
    let mut tokens: Vec<Token> = front.chain(tokens.into_iter().skip(3)).take(rows).collect();
    if config.architecture() == Some("NomicBertModel")
        && let Some(token) = tokens.get_mut(count + 1)
    {
        *token =
            Token { text: b"<mask>".to_vec(), score: 0.0, kind: TokenKind::Control, added: true };
    }
    Ok(tokens)
}

/// Roles of fairseq's tokens where no other file gives them any: without them, runtimes would take
/// the tokens of T5.
fn fairseq_specials(vocab: &mut Vocab) {
    for (role, id) in [
        (Special::Bos, 0),
        (Special::Pad, 1),
        (Special::Eos, 2),
        (Special::Sep, 2),
        (Special::Unk, 3),
    ] {
        vocab.special.entry(role).or_insert(id);
    }
    vocab.add_bos.get_or_insert(true);
    vocab.add_eos.get_or_insert(true);
}

/// Tokens of a `tokenizer.json`.
fn of_json(
    tokenizer: &Tokenizer,
    names: &TokenizerConfig,
    files: &dyn FileSet,
    size: Option<u64>,
) -> Result<Vec<Token>> {
    let VocabList::Scores(entries) = &tokenizer.model.vocab else {
        return Err(Error::malformed("`model.vocab` is not a list of texts and scores"));
    };
    if entries.is_empty() {
        return Err(Error::malformed("`model.vocab` has no tokens"));
    }
    let unknown = tokenizer.model.unk_id;
    let mut tokens = Rows::default();
    let mut ids: HashMap<&str, u32> = HashMap::with_capacity(entries.len());
    for (id, (text, score)) in (0..).zip(entries) {
        #[expect(clippy::cast_possible_truncation, reason = "GGUF has scores in single precision")]
        let score = *score as f32;
        if !score.is_finite() {
            return Err(Error::malformed(format!("token `{text}` has the score {score}")));
        }
        let kind = if unknown == Some(id) {
            TokenKind::Unknown
        } else if added::is_byte(text) {
            TokenKind::Byte
        } else {
            TokenKind::Normal
        };
        tokens.put(id, Token { text: text.clone().into_bytes(), score, kind, added: false });
        if ids.insert(text, id).is_some() {
            return Err(Error::malformed(format!("token `{text}` occurs twice")));
        }
    }
    for token in added::collect(tokenizer, &ids, &tokens, names, files, size)? {
        if Some(token.id) == unknown {
            continue;
        }
        let (id, score) =
            (token.id, ids.get(token.content.as_str()).and_then(|id| tokens.get(*id)));
        let score = score.map_or(ADDED_SCORE, |token| token.score);
        added::check(&tokens, &token)?;
        tokens.put(id, added::token(token, score));
    }
    let mut tokens = tokens.finish(PADDING_SCORE)?;
    rows::pad(&mut tokens, size, PADDING_SCORE)?;
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gmat_core::token::pad_token;

    fn pieces(texts: &[&str]) -> Vec<Piece> {
        let piece =
            |text: &&str| Piece { text: (*text).to_owned(), score: -1.0, kind: TokenKind::Normal };
        texts.iter().map(piece).collect()
    }

    #[test]
    fn fairseq_has_its_own_order() {
        let config = ModelConfig::default();
        let list = ["<unk>", "<s>", "</s>", "▁a", "b"];
        let texts = |tokens: Vec<Token>| -> Vec<String> {
            tokens.into_iter().map(|t| String::from_utf8(t.text).unwrap()).collect()
        };
        let tokens = fairseq_tokens(pieces(&list), Some(8), &config).unwrap();
        assert_eq!(tokens[7], Token { ..pad_token(6, PADDING_SCORE) });
        let front = ["<s>", "<pad>", "</s>", "<unk>"];
        assert_eq!(texts(tokens), [&front[..], &["▁a", "b", "[PAD5]", "[PAD6]"]].concat());
        let tokens = fairseq_tokens(pieces(&list), None, &config).unwrap();
        assert_eq!(texts(tokens), [&front[..], &["▁a"]].concat());
        let error = fairseq_tokens(pieces(&["<s>NOTUSED", "<pad>", "</s>"]), None, &config);
        assert!(error.unwrap_err().hint().unwrap().contains("tokenizer.json"));
    }

    #[test]
    fn roles_of_fairseq_fill_gaps_only() {
        let mut vocab = Vocab::new("t5");
        vocab.special.insert(Special::Pad, 7);
        vocab.add_eos = Some(false);
        fairseq_specials(&mut vocab);
        let ids: Vec<_> = vocab.special.iter().map(|(role, id)| (role.name(), *id)).collect();
        for pair in [("bos", 0), ("pad", 7), ("eos", 2), ("sep", 2), ("unk", 3)] {
            assert!(ids.contains(&pair), "{pair:?}");
        }
        assert_eq!((vocab.add_bos, vocab.add_eos), (Some(true), Some(false)));
    }
}
