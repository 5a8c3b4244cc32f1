//! What every vocabulary gets whatever kind it is: special ids, what is added around a text, keys of
//! the normalizer, chat templates, and what the model's class asks for.

use gmat_core::Result;
use gmat_core::config::ModelConfig;
use gmat_core::token::{FileSet, Vocab};

use super::config::TokenizerConfig;
use super::json::Tokenizer;
use super::normalizer::Normalization;
use super::special::specials;
use super::{quirks, template};

/// Where it comes from.
pub(crate) struct Files<'a> {
    pub(crate) files: &'a dyn FileSet,
    pub(crate) tokenizer: Option<&'a Tokenizer>,
    pub(crate) names: &'a TokenizerConfig,
    pub(crate) model: &'a ModelConfig,
}

/// Completes a vocabulary that has its tokens. Special ids of `rows` and above are passed over.
///
/// # Errors
/// As [`specials`], [`template::templates`] and [`quirks::apply`].
pub(crate) fn complete(vocab: &mut Vocab, from: &Files<'_>, rows: Option<u64>) -> Result<()> {
    let found = specials(from.tokenizer, from.names, from.model, rows)?;
    vocab.special = found.ids;
    (vocab.add_bos, vocab.add_eos, vocab.add_sep) = (found.add_bos, found.add_eos, found.add_sep);
    vocab.templates = template::templates(from.files, from.names.value("chat_template"))?;
    if let Some(tokenizer) = from.tokenizer {
        vocab.extra.extend(Normalization::of(tokenizer).keys());
    }
    quirks::apply(vocab, from.model, from.names)
}
