//! What the reference converter does for some architectures only.

use gmat_core::config::ModelConfig;
use gmat_core::format::gguf::Value;
use gmat_core::token::{Special, Vocab};
use gmat_core::{Error, Result};

use super::config::TokenizerConfig;

/// Class names whose converter is Llama's or derives from it.
const LLAMA: [&str; 21] = [
    "AfmoeForCausalLM",
    "ApertusForCausalLM",
    "ArceeForCausalLM",
    "GraniteForCausalLM",
    "GraniteMoeForCausalLM",
    "GraniteMoeSWAForCausalLM",
    "GraniteMoeSharedForCausalLM",
    "GraniteSWAForCausalLM",
    "IQuestCoderForCausalLM",
    "LLaMAForCausalLM",
    "LlamaBidirectionalModel",
    "LlamaForCausalLM",
    "LlamaModel",
    "LlavaForConditionalGeneration",
    "Ministral3ForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "NanbeigeForCausalLM",
    "SmolLM3ForCausalLM",
    "VLlama3ForCausalLM",
    "VoxtralForConditionalGeneration",
];

/// Classes with SentencePiece models that also say whether a space goes in front of the text.
const PREFIXED: [&str; 5] = [
    "Ernie4_5ForCausalLM",
    "Ernie4_5_ForCausalLM",
    "Ernie4_5_MoeForCausalLM",
    "InternLM2ForCausalLM",
    "InternLM3ForCausalLM",
];

/// Class names of mixture-of-experts GLMs, whose begin and end of turn no file names.
const GLM_MOE: [&str; 5] = [
    "Glm4MoeForCausalLM",
    "Glm4MoeLiteForCausalLM",
    "Glm4vMoeForConditionalGeneration",
    "Glm5NextForConditionalGeneration",
    "GlmMoeDsaForCausalLM",
];

/// Class names of dense GLMs.
const GLM: [&str; 3] =
    ["Glm4ForCausalLM", "Glm4vForConditionalGeneration", "GlmOcrForConditionalGeneration"];

/// Class names of the GLMs before those.
const CHAT_GLM: [&str; 3] = ["ChatGLMForConditionalGeneration", "ChatGLMModel", "GlmForCausalLM"];

/// Starts of the class names of encoders that tell two types of tokens apart unless their config says
/// otherwise.
const TWO_TYPES: [&str; 4] = ["Bert", "Camembert", "Roberta", "XLMRoberta"];

/// Class names of the T5 family.
const T5: [&str; 6] = [
    "MT5ForConditionalGeneration",
    "T5EncoderModel",
    "T5ForConditionalGeneration",
    "T5WithLMHeadModel",
    "UMT5ForConditionalGeneration",
    "UMT5Model",
];

/// Class names of ModernBERT.
const MODERN_BERT: [&str; 3] =
    ["ModernBertForMaskedLM", "ModernBertForSequenceClassification", "ModernBertModel"];

/// Class names of EuroBERT.
const EURO_BERT: [&str; 2] = ["EuroBertModel", "JinaEmbeddingsV5Model"];

/// Class names of the Gemma family.
const GEMMA: [&str; 7] = [
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "Gemma3TextModel",
    "Gemma3nForCausalLM",
    "Gemma3nForConditionalGeneration",
    "GemmaForCausalLM",
];

/// Class names of the Phi-3 family.
const PHI3: [&str; 3] = ["Phi3ForCausalLM", "Phi4ForCausalLMV", "PhiMoEForCausalLM"];

/// Rows of CodeLlama models, whose end of turn no file names.
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

/// Whether the rows that its SentencePiece model lacks stay padding, added tokens or not.
pub(crate) fn is_t5(model: &ModelConfig) -> bool {
    is(model, &T5)
}

/// Says how many types of tokens an encoder tells apart; `always` if it is one for sure.
///
/// # Errors
/// `Malformed` if `type_vocab_size` of `config.json` is not a count, `Limit` if it is no `u32`.
pub(crate) fn token_types(vocab: &mut Vocab, model: &ModelConfig, always: bool) -> Result<()> {
    let two =
        || TWO_TYPES.iter().any(|start| model.architecture().is_some_and(|n| n.starts_with(start)));
    let count = match model.u64(&["type_vocab_size"])? {
        Some(count) => count,
        None if two() => 2,
        None if always => 1,
        None => return Ok(()),
    };
    let count = u32::try_from(count)
        .map_err(|_| Error::limit(format!("`type_vocab_size` is {count}, beyond 32 bits")))?;
    vocab.extra.push(("tokenizer.ggml.token_type_count".to_owned(), Value::U32(count)));
    Ok(())
}

/// Applies what the model's class asks for.
///
/// # Errors
/// `Malformed` if `vocab_size` of `config.json` is not a count.
pub(crate) fn apply(
    vocab: &mut Vocab,
    model: &ModelConfig,
    config: &TokenizerConfig,
) -> Result<()> {
    let sentencepiece = vocab.model == "llama";
    let rows = model.u64(&["vocab_size"])?;
    if is(model, &PREFIXED)
        && let Some(prefix) = config.flag("add_prefix_space")
    {
        vocab.add_space_prefix = Some(prefix);
    }
    for (classes, roles) in [
        (
            &GLM_MOE[..],
            &[
                (Special::Bos, "[gMASK]"),
                (Special::Eot, "<|user|>"),
                (Special::Unk, "<|endoftext|>"),
                (Special::Eom, "<|observation|>"),
            ][..],
        ),
        (
            &GLM,
            &[
                (Special::Eos, "<|endoftext|>"),
                (Special::Eot, "<|user|>"),
                (Special::Unk, "<|endoftext|>"),
                (Special::Bos, "<|endoftext|>"),
            ],
        ),
        (
            &CHAT_GLM,
            &[
                (Special::Eos, "<|endoftext|>"),
                (Special::Eot, "<|user|>"),
                (Special::Unk, "<|endoftext|>"),
            ],
        ),
    ] {
        if !sentencepiece && is(model, classes) {
            for (role, text) in roles {
                name(vocab, *role, text);
            }
        }
    }
    if is(model, &MODERN_BERT) {
        for flag in [&mut vocab.add_bos, &mut vocab.add_eos, &mut vocab.add_sep] {
            flag.get_or_insert(true);
        }
    }
    if is(model, &EURO_BERT) {
        vocab.add_bos.get_or_insert(false);
    }
    if is(model, &LLAMA) {
        if let Some(prefix) = config.flag("add_prefix_space") {
            vocab.add_space_prefix = Some(prefix);
        }
        if rows == Some(CODE_LLAMA_ROWS) {
            vocab.special.entry(Special::Eot).or_insert(32_010);
        }
        if rows == Some(GRANITE_ROWS) {
            vocab.add_bos = Some(false);
        }
    }
    if sentencepiece && is(model, &GEMMA) {
        vocab.add_space_prefix = Some(false);
        if model.architecture() == Some("GemmaForCausalLM") {
            vocab.special.entry(Special::Eot).or_insert(107);
        }
    }
    Ok(())
}

/// Gives the token of that text a role that no file gives to any.
fn name(vocab: &mut Vocab, role: Special, text: &str) {
    let place = vocab.tokens.iter().position(|t| t.added && t.text == text.as_bytes());
    if let Some(id) = place.and_then(|place| u32::try_from(place).ok()) {
        vocab.special.entry(role).or_insert(id);
    }
}
