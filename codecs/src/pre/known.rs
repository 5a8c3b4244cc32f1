//! Rules of splitting that have a name.
//!
//! Sources: the rules by name in the reference runtime, and the `tokenizer.json` files of the
//! models that each name is for. Patterns are in the spelling of [`super::regex::canonical`] once
//! that has been applied; the table has them as the files do.

use super::regex::canonical;
use super::{Step, Traits};

/// Steps, and the name for them.
pub(super) struct Chain {
    steps: &'static [Step<&'static str>],
    /// Several names can stand for the same steps; they differ in what else a runtime does.
    pub(super) name: fn(&Traits<'_>) -> &'static str,
}

use Step::{
    Bytes, DigitRuns, EachDigit, Gpt2Bytes, PunctuationRuns, Split, SplitBefore, SplitLike,
};

/// Words with one character in front, three digits, punctuation, line ends, spaces.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// As before; `\s*[\r\n]` backtracks to the last line end just as `\s*[\r\n]+` does.
const CL100K_SHORT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// As before, but single digits.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const BAILING: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// As Qwen 2, but marks belong to words.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// As Qwen 2, without English contractions.
const UFAKZEKA: &str =
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";

const MINICPM5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";

const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";

/// Words split where case changes.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// As before, without contractions and with single digits.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const YOUTU_SCRIPTS: &str = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";

const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// O200K with Chinese apart.
const KIMI: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Chinese and Japanese.
const CJK: &str = "[一-龥぀-ゟ゠-ヿ]+";

/// Chinese, Korean and scripts of South Asia.
const CJK_OLD: &str = "[一-龥ࠀ-一가-퟿]+";

const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;

/// A stretch of a long list of letters: what Unicode normalization does not touch.
const DEEPSEEK_LLM_LETTERS: &str = "À-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯ";

const DEEPSEEK_LLM_SIGNS: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";

/// What `ByteLevel` splits at by itself.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const BLOOM: &str = r" ?[^(\s|[.,!?…。，、।۔،])]+";

const TINY_AYA_NUMBERS: &str = r"\d{1,3}(?=(?:\d{3})*\b)";

/// All chains with a name.
pub(super) const CHAINS: &[Chain] = &[
    Chain { steps: &[Split(CL100K), Bytes], name: cl100k },
    Chain { steps: &[Split(CL100K_SHORT), Bytes], name: cl100k },
    Chain { steps: &[Split(QWEN2), Bytes], name: qwen2 },
    Chain { steps: &[Split(BAILING), Bytes], name: |_| "bailingmoe" },
    Chain { steps: &[Split(QWEN35), Bytes], name: |_| "qwen35" },
    Chain { steps: &[Split(UFAKZEKA), Bytes], name: |_| "ufakzeka" },
    Chain { steps: &[Split(SEED_CODER), Bytes], name: |_| "seed-coder" },
    Chain { steps: &[Split(EXAONE_MOE), Bytes], name: |_| "exaone-moe" },
    Chain { steps: &[Split(JAIS2), Bytes], name: |_| "jais-2" },
    Chain { steps: &[Split(O200K), Bytes], name: o200k },
    Chain { steps: &[Split(TEKKEN), Bytes], name: |_| "tekken" },
    Chain { steps: &[Split(YOUTU_SCRIPTS), Split(YOUTU), Bytes], name: |_| "youtu" },
    Chain { steps: &[Split(KIMI), Bytes], name: |_| "kimi-k2" },
    Chain { steps: &[Split(r"\p{N}{1,3}"), Split(MINICPM5), Bytes], name: |_| "minicpm5" },
    Chain {
        steps: &[Split(r"\p{N}{1,3}"), Split(CJK), Split(DEEPSEEK3), Bytes],
        name: |_| "deepseek-v3",
    },
    Chain {
        steps: &[Split(r"\p{N}{1,3}"), Split(CJK), Split(SPARK), EachDigit, Bytes],
        name: |_| "spark2_5",
    },
    Chain {
        steps: &[
            Split(r"[\r\n]"),
            SplitLike(DEEPSEEK_LLM_LETTERS),
            Split(DEEPSEEK_LLM_SIGNS),
            Split(r"\s+$"),
            Split(CJK_OLD),
            EachDigit,
            Bytes,
        ],
        name: |_| "deepseek-llm",
    },
    Chain {
        steps: &[
            Split(r"[\r\n]"),
            Split(r"\s?\p{L}+"),
            Split(r"\s?\p{P}+"),
            Split(CJK_OLD),
            EachDigit,
            Bytes,
        ],
        name: |_| "deepseek-coder",
    },
    Chain {
        steps: &[PunctuationRuns, Gpt2Bytes, DigitRuns, Split("[0-9][0-9][0-9]")],
        name: |_| "falcon",
    },
    Chain { steps: &[EachDigit, Gpt2Bytes], name: digits },
    Chain { steps: &[EachDigit, Split(GPT2), Bytes], name: digits },
    Chain { steps: &[Gpt2Bytes], name: gpt2 },
    Chain { steps: &[Split(GPT2), Bytes], name: gpt2 },
    Chain { steps: &[Split(BLOOM), Bytes], name: |_| "bloom" },
    Chain { steps: &[Split(BLOOM), EachDigit, Bytes], name: |_| "viking" },
    Chain { steps: &[Split(TINY_AYA_NUMBERS), Split(O200K), Bytes], name: |_| "tiny_aya" },
    Chain {
        steps: &[SplitBefore(r"(?:\r?\n)+(?!\r?\n)"), Split(QWEN2), Bytes],
        name: |_| "laguna",
    },
];

/// `llama-bpe` takes whole words from the vocabulary before merging; the others do not.
fn cl100k(traits: &Traits<'_>) -> &'static str {
    if traits.has("[gMASK]") && traits.has("<sop>") {
        "glm4"
    } else if traits.tokenizer.model.ignore_merges {
        "llama-bpe"
    } else if traits.has("<|begin_of_text|>") {
        "smaug-bpe"
    } else {
        "dbrx"
    }
}

fn qwen2(traits: &Traits<'_>) -> &'static str {
    if traits.has("<｜begin▁of▁sentence｜>") { "deepseek-r1-qwen" } else { "qwen2" }
}

fn o200k(traits: &Traits<'_>) -> &'static str {
    if traits.has("]~!b[") {
        "minimax-m2"
    } else if traits.has("<|begin_of_text|>") {
        "llama4"
    } else {
        "gpt-4o"
    }
}

fn digits(traits: &Traits<'_>) -> &'static str {
    if traits.has("<BOS_TOKEN>") {
        "command-r"
    } else if traits.has("<fim_prefix>") {
        if traits.has("<file_sep>") { "starcoder" } else { "refact" }
    } else {
        "smollm"
    }
}

fn gpt2(traits: &Traits<'_>) -> &'static str {
    if traits.processes("RobertaProcessing") {
        "roberta-bpe"
    } else if traits.class.is_some_and(|class| class.starts_with("CodeGenTokenizer")) {
        "phi-2"
    } else if traits.normalizes("NFC") {
        if traits.has("[CLS]") { "modern-bert" } else { "olmo" }
    } else {
        "gpt-2"
    }
}

impl Chain {
    /// Whether these are the steps.
    pub(super) fn fits(&self, steps: &[Step]) -> bool {
        self.steps.len() == steps.len() && self.steps.iter().zip(steps).all(|(a, b)| same(a, b))
    }

    /// How alike the steps are, from 0 to 1.
    pub(super) fn likeness(&self, steps: &[Step]) -> f64 {
        let pairs = self.steps.iter().zip(steps);
        let sum: f64 = pairs.map(|(a, b)| if same(a, b) { 1.0 } else { text_likeness(a, b) }).sum();
        sum / self.steps.len().max(steps.len()) as f64
    }
}

/// Whether a step of the table is that step of a file.
fn same(table: &Step<&str>, file: &Step) -> bool {
    match (table, file) {
        (Split(a), Split(b)) | (SplitBefore(a), SplitBefore(b)) => canonical(a) == *b,
        (SplitLike(part), Split(b)) => b.starts_with(r"\s?[A-Z") && b.contains(part),
        (EachDigit, EachDigit)
        | (DigitRuns, DigitRuns)
        | (PunctuationRuns, PunctuationRuns)
        | (Bytes, Bytes)
        | (Gpt2Bytes, Gpt2Bytes) => true,
        _ => false,
    }
}

/// The part of two patterns that is the same at both ends.
fn text_likeness(table: &Step<&str>, file: &Step) -> f64 {
    let (Split(a), Split(b)) = (table, file) else { return 0.0 };
    let a = canonical(a);
    let same_start = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let same_end = a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    let longest = a.len().max(b.len()).max(1);
    (same_start + same_end).min(longest) as f64 / longest as f64
}
