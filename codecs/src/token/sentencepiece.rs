//! SentencePiece BPE from `tokenizer.model`: Llama 2, Mistral, Gemma, Phi-3, …
//!
//! Reads: `tokenizer.model`, `added_tokens.json`, `tokenizer_config.json`, `tokenizer.json` (its added
//! tokens and post-processor), `chat_template.jinja` and the like, `config.json`.
//! Gives: model `llama`; tokens with U+2581 for spaces, scores, byte tokens; no merges.
//! Definition: [`crate::spm`], and what the reference converter makes
//! of it. Unigram models are [`super::unigram`]'s.

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::token::{FileSet, Token, TokenKind, TokenizerOptions, TokenizerSource, Vocab};
use gmat_core::{Error, Result, ResultExt, register_tokenizer};

use crate::hf::added::{self, added_tokens_json};
use crate::hf::complete::{Files, complete};
use crate::hf::config::TokenizerConfig;
use crate::hf::json::Tokenizer;
use crate::hf::quirks;
use crate::hf::rows::Rows;
use crate::pre;
use crate::spm::{self, Algorithm, Model};

/// Name of the file.
const FILE: &str = "tokenizer.model";

/// Score of rows without a token.
const PADDING_SCORE: f32 = -10_000.0;

/// Score of added tokens: they are found in text before any merging.
const ADDED_SCORE: f32 = -1_000.0;

/// The reader.
pub(crate) struct SentencePiece;

register_tokenizer!(SentencePiece);

impl TokenizerSource for SentencePiece {
    fn name(&self) -> &'static str {
        "sentencepiece"
    }

    fn summary(&self) -> &'static str {
        "SentencePiece BPE, from tokenizer.model"
    }

    fn score(&self, files: &dyn FileSet) -> Result<Score> {
        let algorithm = files.read(FILE)?.as_deref().and_then(spm::sniff);
        if algorithm != Some(Algorithm::Bpe) {
            return Ok(Score::No);
        }
        // A class that works on bytes says that this file is not what the model was trained with.
        let class = TokenizerConfig::read(files)?;
        let other = class.class() == Some("GPT2Tokenizer");
        Ok(if other { Score::Fallback } else { Score::Certain })
    }

    fn read(
        &self,
        files: &dyn FileSet,
        config: &ModelConfig,
        options: &TokenizerOptions,
    ) -> Result<Vocab> {
        let bytes =
            files.read(FILE)?.ok_or_else(|| Error::malformed(format!("there is no `{FILE}`")))?;
        let model = Model::parse(&bytes).context(|| format!("file `{FILE}`"))?;
        drop(bytes);
        if model.algorithm != Algorithm::Bpe {
            return Err(Error::malformed(format!("`{FILE}` is not a BPE model")));
        }
        pre::none(options)?;
        let names = TokenizerConfig::read(files)?;
        let json = Tokenizer::read(files)?;
        let rows = config.u64(&["vocab_size"])?;
        let fits = |id: u32| rows.is_none_or(|rows| u64::from(id) < rows);

        let mut tokens = Rows::default();
        for (id, piece) in (0..).zip(model.pieces) {
            if fits(id) {
                tokens.put(id, piece.into_token());
            }
        }
        for (text, id) in added_tokens_json(files)? {
            if fits(id) {
                tokens.put(id, plain(text));
            }
        }
        let phi3 = quirks::is_phi3(config);
        let mut more = names.added_tokens()?;
        if phi3 {
            more.extend(json.iter().flat_map(|json| json.added_tokens.iter().cloned()));
        }
        for token in more {
            if !fits(token.id) {
                continue;
            }
            let id = token.id;
            // Phi-3's converter takes tokens as they are listed.
            let row = if phi3 && !token.special {
                plain(token.content)
            } else {
                added::token(token, ADDED_SCORE)
            };
            tokens.put(id, row);
        }

        let mut vocab = Vocab::new("llama");
        vocab.scored = true;
        vocab.tokens = tokens.finish(PADDING_SCORE)?;
        vocab.sorted_ids()?;
        let rows = rows.unwrap_or(vocab.tokens.len() as u64);
        if !model.dummy_prefix {
            // Runtimes put a space in front of the text unless told otherwise.
            vocab.add_space_prefix = Some(false);
        }
        let from = Files { files, tokenizer: json.as_ref(), names: &names, model: config };
        complete(&mut vocab, &from, Some(rows))?;
        Ok(vocab)
    }
}

fn plain(text: String) -> Token {
    let kind = TokenKind::UserDefined;
    Token { text: text.into_bytes(), score: ADDED_SCORE, kind, added: true }
}
