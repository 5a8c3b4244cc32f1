//! Pre-tokenizer names that the reference runtime knows.

use gmat_core::registry::unknown;
use gmat_core::token::TokenizerOptions;
use gmat_core::{Error, Result};

/// The names for BPE, sorted. Source: the runtime's look-up of `tokenizer.ggml.pre`.
pub(crate) const NAMES: [&str; 91] = [
    "a.x-4.0",
    "afmoe",
    "bailingmoe",
    "bailingmoe2",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "exaone",
    "exaone-moe",
    "exaone4",
    "f2llmv2",
    "falcon",
    "falcon-h1",
    "falcon3",
    "gemma4",
    "gigachat",
    "glm4",
    "glm5",
    "gpt-2",
    "gpt-4o",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-311m",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-de",
    "jina-es",
    "jina-v1-en",
    "jina-v2-code",
    "jina-v2-de",
    "jina-v2-es",
    "jina-v5-nano",
    "joyai-llm",
    "kanana2",
    "kimi-k2",
    "kormo",
    "laguna",
    "lfm2",
    "llada-moe",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "megrez",
    "mellum",
    "mellum2",
    "midm-2.0",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "modern-bert",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "roberta-bpe",
    "sarvam-moe",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "talkie",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "whitespace",
    "youtu",
];

/// The name for WordPiece. The runtime has one way to split for all of it and reads no name; this is
/// what the reference converter calls BERT's.
pub(crate) const BERT: &str = "bert-bge";

/// That name and the others of that converter for WordPiece.
pub(crate) const WORDPIECE: [&str; 4] = [BERT, "bert-bge-large", "default", "jina-v2-en"];

/// The name for WordPiece, forced or not.
///
/// # Errors
/// `Config` if the forced one is not for WordPiece.
pub(crate) fn wordpiece(options: &TokenizerOptions) -> Result<&'static str> {
    match options.pre.as_deref() {
        None => Ok(BERT),
        Some(name) => WORDPIECE
            .into_iter()
            .find(|known| *known == name)
            .ok_or_else(|| unknown("pre-tokenizer for WordPiece", name, WORDPIECE.into_iter())),
    }
}

/// Refuses to force anything on vocabularies that need no name.
///
/// # Errors
/// `Config` if a name other than `default` is forced.
pub(crate) fn none(options: &TokenizerOptions) -> Result<()> {
    match options.pre.as_deref() {
        None | Some("default") => Ok(()),
        Some(name) => Err(Error::config(format!(
            "`--pre {name}` is for byte-level BPE; this tokenizer works on characters"
        ))
        .with_hint("leave `--pre` away, or use `--pre default`")),
    }
}

/// Whether the runtime knows the name for BPE.
///
/// # Errors
/// `Config`, with the nearest known name.
pub(crate) fn check(name: &str) -> Result<()> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    Err(unknown("pre-tokenizer", name, NAMES.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(NAMES.is_sorted());
        assert!(check("qwen2").is_ok() && check("youtu").is_ok());
        let error = check("quen2").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `qwen2`?"));
    }
}
