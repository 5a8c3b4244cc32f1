//! What the reference converter does for some architectures only.

use gmat_core::Result;
use gmat_core::config::ModelConfig;
use gmat_core::token::{Special, Vocab};

use super::config::TokenizerConfig;

/// Class names whose converter is Llama's or derives from it.
const LLAMA: [&str; 15] = [
    "ApertusForCausalLM",
    "ArceeForCausalLM",
    "GraniteForCausalLM",
    "GraniteMoeForCausalLM",
    "GraniteMoeSharedForCausalLM",
    "IQuestCoderForCausalLM",
    "LLaMAForCausalLM",
    "LlamaForCausalLM",
    "LlamaModel",
    "LlavaForConditionalGeneration",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "SmolLM3ForCausalLM",
    "VLlama3ForCausalLM",
    "VoxtralForConditionalGeneration",
];

/// Class names of the Gemma family.
const GEMMA: [&str; 5] = [
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "Gemma3TextModel",
    "GemmaForCausalLM",
];

/// Class names of the Phi-3 family.
const PHI3: [&str; 3] = ["Phi3ForCausalLM", "Phi4ForCausalLMV", "PhiMoEForCausalLM"];

/// Rows of CodeLlama models, whose infill tokens no file names.
const CODE_LLAMA_ROWS: u64 = 32_016;

/// Rows of the small Granite models, which want no beginning of sequence.
const GRANITE_ROWS: u64 = 49_152;

/// Whether the model's class is one of `classes`.
fn is(model: &ModelConfig, classes: &[&str]) -> bool {
    model.architecture().is_some_and(|name| classes.contains(&name))
}

/// Whether added tokens are taken as Phi-3's converter takes them.
pub(crate) fn is_phi3(model: &ModelConfig) -> bool {
    is(model, &PHI3)
}

/// Applies what the model's class asks for. `sentencepiece` says whether the vocabulary is one.
///
/// # Errors
/// `Malformed` if `vocab_size` of `config.json` is not a count.
pub(crate) fn apply(
    vocab: &mut Vocab,
    sentencepiece: bool,
    model: &ModelConfig,
    config: &TokenizerConfig,
) -> Result<()> {
    let rows = model.u64(&["vocab_size"])?;
    if is(model, &LLAMA) {
        if let Some(prefix) = config.flag("add_prefix_space") {
            vocab.add_space_prefix = Some(prefix);
        }
        if rows == Some(CODE_LLAMA_ROWS) {
            for (role, id) in [
                (Special::Prefix, 32_007),
                (Special::Suffix, 32_008),
                (Special::Middle, 32_009),
                (Special::Eot, 32_010),
            ] {
                vocab.special.entry(role).or_insert(id);
            }
        }
        if rows == Some(GRANITE_ROWS) {
            vocab.add_bos = Some(false);
        }
    }
    if sentencepiece && is(model, &GEMMA) {
        vocab.add_space_prefix = Some(false);
        if model.architecture() == Some("GemmaForCausalLM") {
            for (role, id) in [
                (Special::Prefix, 67),
                (Special::Suffix, 69),
                (Special::Middle, 68),
                (Special::Eot, 107),
            ] {
                vocab.special.entry(role).or_insert(id);
            }
        }
    }
    Ok(())
}
