//! SentencePiece BPE from `tokenizer.model`: Llama 2, Mistral, Gemma, Phi-3, …
//!
//! Reads: `tokenizer.model`, `added_tokens.json`, `tokenizer_config.json`, `tokenizer.json` (its added
//! tokens and post-processor), `chat_template.jinja` and the like, `config.json`.
//! Gives: model `llama`; tokens with U+2581 for spaces, scores, byte tokens; no merges.
//! Definition: `sentencepiece_model.proto` of SentencePiece, and what the reference converter makes
//! of it. Unigram models are refused: their runtime needs other keys.

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::token::{FileSet, Token, TokenKind, TokenizerOptions, TokenizerSource, Vocab};
use gmat_core::{Error, Result, ResultExt, register_tokenizer};

use crate::hf::added::{added_tokens_json, looks_special, spaces};
use crate::hf::config::TokenizerConfig;
use crate::hf::json::Tokenizer;
use crate::hf::rows::Rows;
use crate::hf::special::specials;
use crate::hf::{quirks, template};
use crate::protobuf::{Field, Message};

/// Name of the file.
const FILE: &str = "tokenizer.model";

/// Names that Unigram models have.
const UNIGRAM: [&str; 2] = ["spiece.model", "sentencepiece.bpe.model"];

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

    fn score(&self, files: &dyn FileSet) -> Result<Score> {
        if let Some(bytes) = files.read(FILE)?
            && Message::new(&bytes).next().is_ok_and(|field| {
                matches!(field, Some((1, Field::Bytes(piece))) if Piece::parse(piece).is_ok())
            })
        {
            // A class that works on bytes says that this file is not what the model was trained with.
            let class = TokenizerConfig::read(files)?;
            let other = class.class() == Some("GPT2Tokenizer");
            return Ok(if other { Score::Fallback } else { Score::Certain });
        }
        let names = files.names();
        let unigram = UNIGRAM.iter().any(|name| names.iter().any(|other| other == name));
        Ok(if unigram { Score::Fallback } else { Score::No })
    }

    fn read(
        &self,
        files: &dyn FileSet,
        config: &ModelConfig,
        options: &TokenizerOptions,
    ) -> Result<Vocab> {
        let bytes = files.read(FILE)?.ok_or_else(|| {
            Error::unsupported(format!(
                "there is no `{FILE}`; the Unigram models in `{}` are not supported",
                UNIGRAM.join("` or `")
            ))
        })?;
        let model = Model::parse(&bytes).context(|| format!("file `{FILE}`"))?;
        drop(bytes);
        if options.pre.as_deref().is_some_and(|pre| pre != "default") {
            return Err(Error::config(
                "`--pre` is for byte-level BPE; SentencePiece models have no pre-tokenizer",
            ));
        }
        let names = TokenizerConfig::read(files)?;
        let json = Tokenizer::read(files)?;
        let rows = config.u64(&["vocab_size_per_layer_input", "vocab_size"])?;
        let fits = |id: u32| rows.is_none_or(|rows| u64::from(id) < rows);

        let mut tokens = Rows::default();
        for (id, piece) in (0..).zip(model.pieces) {
            if fits(id) {
                tokens.put(id, piece.into_token());
            }
        }
        for (text, id) in added_tokens_json(files)? {
            if fits(id) {
                tokens.put(id, added(text, TokenKind::UserDefined));
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
            // Phi-3's converter takes tokens as they are listed.
            let control = token.special || (!phi3 && looks_special(&token.content));
            let (text, kind) = if control {
                (token.content, TokenKind::Control)
            } else if phi3 {
                (token.content, TokenKind::UserDefined)
            } else {
                (spaces(&token.content), TokenKind::UserDefined)
            };
            tokens.put(token.id, added(text, kind));
        }

        let mut vocab = Vocab::new("llama");
        vocab.scored = true;
        vocab.tokens = tokens.finish(PADDING_SCORE)?;
        vocab.sorted_ids()?;
        let rows = rows.unwrap_or(vocab.tokens.len() as u64);
        let specials = specials(json.as_ref(), &names, config, Some(rows))?;
        vocab.special = specials.ids;
        (vocab.add_bos, vocab.add_eos, vocab.add_sep) =
            (specials.add_bos, specials.add_eos, specials.add_sep);
        vocab.templates = template::templates(files, names.value("chat_template"))?;
        if !model.dummy_prefix {
            // Runtimes put a space in front of the text unless told otherwise.
            vocab.add_space_prefix = Some(false);
        }
        quirks::apply(&mut vocab, true, config, &names)?;
        Ok(vocab)
    }
}

fn added(text: String, kind: TokenKind) -> Token {
    Token { text: text.into_bytes(), score: ADDED_SCORE, kind, added: true }
}

/// What is used of a `ModelProto`.
struct Model {
    pieces: Vec<Piece>,
    /// Whether a space is put in front of the text.
    dummy_prefix: bool,
}

/// A `SentencePiece`.
struct Piece {
    text: String,
    score: f32,
    kind: TokenKind,
}

impl Model {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut model = Self { pieces: Vec::new(), dummy_prefix: true };
        // Unigram is the default of the format.
        let mut algorithm = 1;
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next()? {
            match (number, field) {
                (1, Field::Bytes(piece)) => {
                    let id = model.pieces.len();
                    model.pieces.push(Piece::parse(piece).context(|| format!("piece {id}"))?);
                }
                (2, Field::Bytes(trainer)) => {
                    algorithm = enum_field(trainer, 3)?.unwrap_or(algorithm);
                }
                (3, Field::Bytes(normalizer)) => {
                    model.dummy_prefix = enum_field(normalizer, 3)? != Some(0);
                }
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err(Error::malformed("a SentencePiece model without pieces"));
        }
        match algorithm {
            2 => Ok(model),
            other => Err(Error::unsupported(format!(
                "a SentencePiece model of the kind {}; only BPE is supported",
                match other {
                    1 => "Unigram".to_owned(),
                    3 => "Word".to_owned(),
                    4 => "Char".to_owned(),
                    other => other.to_string(),
                }
            ))),
        }
    }
}

/// The last value of an integer field of a message.
fn enum_field(bytes: &[u8], wanted: u64) -> Result<Option<u64>> {
    let mut message = Message::new(bytes);
    let mut found = None;
    while let Some((number, field)) = message.next()? {
        if let (true, Field::Varint(value)) = (number == wanted, field) {
            found = Some(value);
        }
    }
    Ok(found)
}

impl Piece {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: TokenKind::Normal };
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next()? {
            match (number, field) {
                (1, Field::Bytes(text)) => {
                    piece.text = std::str::from_utf8(text)
                        .map_err(|error| Error::malformed("text is not UTF-8").with_source(error))?
                        .to_owned();
                }
                (2, Field::Fixed32(bits)) => piece.score = f32::from_le_bytes(bits),
                (3, Field::Varint(kind)) => {
                    piece.kind = match kind {
                        // Pieces that the trainer was told to keep are merged like any other.
                        1 | 4 => TokenKind::Normal,
                        2 => TokenKind::Unknown,
                        3 => TokenKind::Control,
                        5 => TokenKind::Unused,
                        6 => TokenKind::Byte,
                        other => {
                            return Err(Error::unsupported(format!("a piece of type {other}")));
                        }
                    };
                }
                _ => {}
            }
        }
        if piece.text.is_empty() || !piece.score.is_finite() {
            return Err(Error::malformed(format!(
                "text `{}` with score {}",
                piece.text, piece.score
            )));
        }
        Ok(piece)
    }

    fn into_token(self) -> Token {
        Token { text: self.text.into_bytes(), score: self.score, kind: self.kind, added: false }
    }
}
