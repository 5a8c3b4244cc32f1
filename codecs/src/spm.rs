//! SentencePiece model files.
//!
//! Definition: `sentencepiece_model.proto` of SentencePiece. Only what runtimes use is read: the
//! pieces, what kind of model they are for, and how text is normalized.

use gmat_core::token::{Token, TokenKind};
use gmat_core::{Error, Result, ResultExt};

use crate::protobuf::{Field, Message};

/// What finds the pieces in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// The likeliest sequence of pieces.
    Unigram,
    /// Merging the best pair, again and again.
    Bpe,
}

/// What is used of a `ModelProto`.
#[derive(Debug)]
pub(crate) struct Model {
    /// By id.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) algorithm: Algorithm,
    /// Whether a space is put in front of the text.
    pub(crate) dummy_prefix: bool,
    /// Whether runs of spaces become one, and those at both ends none.
    pub(crate) remove_extra_whitespaces: bool,
    /// Replacements of characters, as a double-array trie; empty if there are none.
    pub(crate) charsmap: Vec<u8>,
}

/// A `SentencePiece`.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) score: f32,
    pub(crate) kind: TokenKind,
}

/// The kind of model that a file holds, as far as it says without reading its pieces; `None` if it
/// does not start like a model. Damage is left for [`Model::parse`] to report.
pub(crate) fn sniff(bytes: &[u8]) -> Option<Algorithm> {
    let mut message = Message::new(bytes);
    match message.next() {
        Ok(Some((1, Field::Bytes(piece)))) if Piece::parse(piece).is_ok() => {}
        _ => return None,
    }
    // Unigram is the default of the format.
    let mut algorithm = Algorithm::Unigram;
    loop {
        match message.next() {
            Ok(Some((2, Field::Bytes(trainer)))) => {
                let mut spec = Trainer::default();
                let read = spec.merge(trainer);
                if read.is_err() || spec.model_type != 1 {
                    algorithm = Algorithm::Bpe;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return Some(algorithm),
            Err(_) => return Some(Algorithm::Bpe),
        }
    }
}

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    /// `Malformed` if the bytes are not a model; `Unsupported` if it is one that no runtime follows.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut trainer = Trainer::default();
        let mut normalizer = Normalizer::default();
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next()? {
            match (number, field) {
                (1, Field::Bytes(piece)) => {
                    let id = pieces.len();
                    pieces.push(Piece::parse(piece).context(|| format!("piece {id}"))?);
                }
                (2, Field::Bytes(spec)) => trainer.merge(spec)?,
                (3, Field::Bytes(spec)) => normalizer.merge(spec)?,
                _ => {}
            }
        }
        if pieces.is_empty() {
            return Err(Error::malformed("a SentencePiece model without pieces"));
        }
        if trainer.whitespace_as_suffix || !normalizer.escape_whitespaces {
            return Err(Error::unsupported(
                "a SentencePiece model that does not mark spaces in front of words",
            ));
        }
        check_charsmap(&normalizer.charsmap)?;
        Ok(Self {
            pieces,
            algorithm: trainer.algorithm()?,
            dummy_prefix: normalizer.dummy_prefix,
            remove_extra_whitespaces: normalizer.remove_extra_whitespaces,
            charsmap: normalizer.charsmap,
        })
    }
}

/// Checks what a runtime checks of a character map: it starts with the length of its trie, after
/// which texts must follow.
///
/// # Errors
/// `Malformed` if it does not.
pub(crate) fn check_charsmap(map: &[u8]) -> Result<()> {
    let Some((length, rest)) = map.split_first_chunk() else {
        if map.is_empty() {
            return Ok(());
        }
        return Err(Error::malformed(format!("a character map of {} bytes", map.len())));
    };
    let length = u32::from_le_bytes(*length);
    if length as usize >= rest.len() || !length.is_multiple_of(4) {
        return Err(Error::malformed(format!(
            "a character map of {} bytes announces a trie of {length}",
            map.len()
        )));
    }
    Ok(())
}

/// A `TrainerSpec`.
struct Trainer {
    model_type: u64,
    whitespace_as_suffix: bool,
}

impl Default for Trainer {
    fn default() -> Self {
        Self { model_type: 1, whitespace_as_suffix: false }
    }
}

impl Trainer {
    fn merge(&mut self, bytes: &[u8]) -> Result<()> {
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next()? {
            match (number, field) {
                (3, Field::Varint(value)) => self.model_type = value,
                (24, Field::Varint(value)) => self.whitespace_as_suffix = value != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn algorithm(&self) -> Result<Algorithm> {
        let other = match self.model_type {
            1 => return Ok(Algorithm::Unigram),
            2 => return Ok(Algorithm::Bpe),
            3 => "Word".to_owned(),
            4 => "Char".to_owned(),
            other => other.to_string(),
        };
        Err(Error::unsupported(format!(
            "a SentencePiece model of the kind {other}; BPE and Unigram are supported"
        )))
    }
}

/// A `NormalizerSpec`.
struct Normalizer {
    dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    charsmap: Vec<u8>,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self {
            dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            charsmap: Vec::new(),
        }
    }
}

impl Normalizer {
    fn merge(&mut self, bytes: &[u8]) -> Result<()> {
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next()? {
            match (number, field) {
                (2, Field::Bytes(map)) => self.charsmap = map.to_vec(),
                (3, Field::Varint(value)) => self.dummy_prefix = value != 0,
                (4, Field::Varint(value)) => self.remove_extra_whitespaces = value != 0,
                (5, Field::Varint(value)) => self.escape_whitespaces = value != 0,
                _ => {}
            }
        }
        Ok(())
    }
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

    pub(crate) fn into_token(self) -> Token {
        Token { text: self.text.into_bytes(), score: self.score, kind: self.kind, added: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: &[u8] = b"\x0a\x03\x0a\x01a";

    fn with(more: &[u8]) -> Vec<u8> {
        [PIECE, more].concat()
    }

    #[test]
    fn specs_are_read() {
        // A trainer spec that says BPE; a normalizer spec with a map and all flags off but escaping.
        let bytes = with(b"\x12\x02\x18\x02\x1a\x0d\x12\x07\0\0\0\0a\0\0\x18\0\x20\0");
        assert_eq!(sniff(&bytes), Some(Algorithm::Bpe));
        let model = Model::parse(&bytes).unwrap();
        assert_eq!(model.algorithm, Algorithm::Bpe);
        assert!(!model.dummy_prefix && !model.remove_extra_whitespaces);
        assert_eq!(model.charsmap, b"\0\0\0\0a\0\0");
        let model = Model::parse(PIECE).unwrap();
        assert_eq!((model.algorithm, model.pieces.len()), (Algorithm::Unigram, 1));
        assert!(model.dummy_prefix && model.remove_extra_whitespaces);
        assert_eq!(sniff(PIECE), Some(Algorithm::Unigram));
        assert_eq!(sniff(b"YQ== 0\n"), None);
    }

    #[test]
    fn what_no_runtime_follows_is_refused() {
        for (more, what) in [
            (&b"\x12\x02\x18\x04"[..], "Char"),
            (b"\x12\x02\x18\x09", "9"),
            (b"\x12\x03\xc0\x01\x01", "spaces"),
            (b"\x1a\x02\x28\x00", "spaces"),
            (b"\x1a\x04\x12\x02ab", "2 bytes"),
            (b"\x1a\x07\x12\x05\xff\xff\xff\xff\0", "4294967295"),
        ] {
            let error = Model::parse(&with(more)).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
