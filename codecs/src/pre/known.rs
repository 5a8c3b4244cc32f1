//! Rules of splitting that have a name.
//!
//! Sources: the rules by name in the reference runtime, and the `tokenizer.json` files of the
//! models that each name is for. Patterns are in the spelling of [`super::regex::canonical`] once
//! that has been applied; the table has them as the files do.

use super::regex::{canonical, loose};
use super::{Step, Traits};

/// Steps, and the names for them.
pub(super) struct Chain {
    steps: &'static [Step<&'static str>],
    /// Several names can stand for the same steps; they differ in what else a runtime does.
    names: &'static [Name],
}

/// A name with what a runtime does under it beside splitting.
pub(super) struct Name {
    name: &'static str,
    /// Whether a piece that is a token is taken whole, before any merging.
    ignores_merges: bool,
    /// What a vocabulary must have for this name rather than one that behaves the same; `None` for
    /// the usual name.
    when: Option<fn(&Traits<'_>) -> bool>,
}

/// The usual name for some steps.
const fn usual(name: &'static str) -> Name {
    Name { name, ignores_merges: false, when: None }
}

/// A name that goes with a kind of model.
const fn only(name: &'static str, when: fn(&Traits<'_>) -> bool) -> Name {
    Name { name, ignores_merges: false, when: Some(when) }
}

impl Name {
    /// The name, under which a piece that is a token is taken whole.
    const fn whole(self) -> Self {
        Self { ignores_merges: true, ..self }
    }
}

use Step::{
    Bytes, DigitRuns, EachDigit, EachPunctuation, PunctuationRuns, Split, SplitBefore, SplitLike,
};

/// Words with one character in front, three digits, punctuation, line ends, spaces.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

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
pub(super) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const BLOOM: &str = r" ?[^(\s|[.,!?…。，、।۔،])]+";

const TINY_AYA_NUMBERS: &str = r"\d{1,3}(?=(?:\d{3})*\b)";

/// Digits by threes from the right: boundaries within a run of digits.
const THREES: &str = r"(?=(\d{3})+(?!\d))";

/// Scripts without spaces between words.
const SCRIPTS: &str = "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+";

/// All chains with a name.
pub(super) const CHAINS: &[Chain] = &[
    Chain {
        steps: &[Split(CL100K), Bytes],
        names: &[
            only("glm4", is_glm).whole(),
            only("chatglm-bpe", is_glm),
            // What the first Llama 3 files had; `ignore_merges` came later.
            only("smaug-bpe", |traits| traits.has(LLAMA3_BOS) && !traits.ignores_merges()),
            usual("llama-bpe").whole(),
            usual("dbrx"),
        ],
    },
    Chain {
        steps: &[Split(QWEN2), Bytes],
        names: &[
            only("deepseek-r1-qwen", |traits| traits.has("<｜begin▁of▁sentence｜>")),
            usual("qwen2"),
        ],
    },
    Chain { steps: &[Split(BAILING), Bytes], names: &[usual("bailingmoe")] },
    Chain { steps: &[Split(QWEN35), Bytes], names: &[usual("qwen35")] },
    Chain { steps: &[Split(UFAKZEKA), Bytes], names: &[usual("ufakzeka")] },
    Chain { steps: &[Split(SEED_CODER), Bytes], names: &[usual("seed-coder")] },
    Chain { steps: &[Split(EXAONE_MOE), Bytes], names: &[usual("exaone-moe")] },
    Chain { steps: &[Split(JAIS2), Bytes], names: &[usual("jais-2")] },
    Chain {
        steps: &[Split(O200K), Bytes],
        names: &[
            only("minimax-m2", |traits| traits.has("]~!b[")),
            only("llama4", |traits| traits.has(LLAMA3_BOS)),
            usual("gpt-4o"),
            usual("granite-embed-multi-97m").whole(),
        ],
    },
    Chain { steps: &[Split(TEKKEN), Bytes], names: &[usual("tekken").whole()] },
    Chain { steps: &[Split(YOUTU_SCRIPTS), Split(YOUTU), Bytes], names: &[usual("youtu").whole()] },
    Chain { steps: &[Split(KIMI), Bytes], names: &[usual("kimi-k2")] },
    Chain {
        steps: &[Split(r"\p{N}{1,3}"), Split(MINICPM5), Bytes],
        names: &[usual("minicpm5").whole()],
    },
    Chain {
        steps: &[Split(r"\p{N}{1,3}"), Split(CJK), Split(DEEPSEEK3), Bytes],
        names: &[usual("deepseek-v3")],
    },
    Chain {
        steps: &[Split(r"\p{N}{1,3}"), Split(CJK), Split(SPARK), EachDigit, Bytes],
        names: &[usual("spark2_5")],
    },
    Chain {
        steps: &[DigitRuns, Split(THREES), Split(SCRIPTS), Split(DEEPSEEK3), Bytes],
        names: &[usual("afmoe")],
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
        names: &[usual("deepseek-llm")],
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
        names: &[usual("deepseek-coder")],
    },
    Chain {
        steps: &[PunctuationRuns, Split(GPT2), Bytes, DigitRuns, Split("[0-9][0-9][0-9]")],
        names: &[usual("falcon")],
    },
    Chain {
        steps: &[
            Split("<sentinel:[0-9]+>"),
            Split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            Split(r"([\t\n]|    |  )"),
            EachDigit,
            EachPunctuation,
            Split(GPT2),
            Bytes,
        ],
        names: &[usual("chameleon")],
    },
    Chain {
        steps: &[EachDigit, Split(GPT2), Bytes],
        names: &[
            only("command-r", |traits| traits.has("<BOS_TOKEN>")),
            only("starcoder", |traits| traits.has("<fim_prefix>") && traits.has("<file_sep>")),
            only("refact", |traits| traits.has("<fim_prefix>")),
            usual("smollm"),
        ],
    },
    Chain {
        steps: &[Split(GPT2), Bytes],
        names: &[
            only("roberta-bpe", |traits| traits.processes("RobertaProcessing")),
            only("phi-2", |traits| traits.class.is_some_and(|c| c.starts_with("CodeGenTokenizer"))),
            only("modern-bert", |traits| traits.normalizes("NFC") && traits.has("[CLS]")),
            only("olmo", |traits| traits.normalizes("NFC")),
            usual("gpt-2"),
        ],
    },
    Chain { steps: &[Split(BLOOM), Bytes], names: &[usual("bloom")] },
    Chain { steps: &[Split(BLOOM), EachDigit, Bytes], names: &[usual("viking")] },
    Chain { steps: &[DigitRuns, Split(THREES), Bytes], names: &[usual("superbpe")] },
    Chain { steps: &[Split(TINY_AYA_NUMBERS), Split(O200K), Bytes], names: &[usual("tiny_aya")] },
    Chain {
        steps: &[SplitBefore(r"(?:\r?\n)+(?!\r?\n)"), Split(QWEN2), Bytes],
        names: &[usual("laguna")],
    },
];

/// The token that Llama 3 and 4 start with.
const LLAMA3_BOS: &str = "<|begin_of_text|>";

fn is_glm(traits: &Traits<'_>) -> bool {
    traits.has("[gMASK]") && traits.has("<sop>")
}

impl Chain {
    /// Whether these are the steps: spelled alike, or in a spelling that comes to the same.
    pub(super) fn fits(&self, steps: &[Step], spelling: Spelling) -> bool {
        self.steps.len() == steps.len()
            && self.steps.iter().zip(steps).all(|(a, b)| same(a, b, spelling))
    }

    /// The name for a vocabulary that is split like this: one for its kind of model if there is one,
    /// then the usual one. Of both, one that merges as the file says, or the one where that makes no
    /// difference; `None` if there is no such name.
    pub(super) fn name(&self, traits: &Traits<'_>) -> Option<&'static str> {
        let fits = |name: &&Name| name.when.is_some_and(|when| when(traits));
        let usual = |name: &&Name| name.when.is_none();
        let exact = |name: &&Name| name.ignores_merges == traits.ignores_merges();
        let same = |name: &&Name| exact(name) || !traits.merging_matters();
        let names = || self.names.iter();
        names()
            .filter(fits)
            .find(exact)
            .or_else(|| names().filter(fits).find(same))
            .or_else(|| names().filter(usual).find(exact))
            .or_else(|| names().filter(usual).find(same))
            .map(|name| name.name)
    }

    /// The name that comes closest, if none fits.
    pub(super) fn closest(&self, traits: &Traits<'_>) -> &'static str {
        let first = || self.names.first().map_or("default", |name| name.name);
        let usual = || self.names.iter().find(|name| name.when.is_none()).map(|name| name.name);
        self.name(traits).or_else(usual).unwrap_or_else(first)
    }

    /// How alike the steps are, from 0 to 1.
    pub(super) fn likeness(&self, steps: &[Step]) -> f64 {
        let pairs = self.steps.iter().zip(steps);
        let alike = |(a, b)| if same(a, b, Spelling::Loose) { 1.0 } else { text_likeness(a, b) };
        let sum: f64 = pairs.map(alike).sum();
        sum / self.steps.len().max(steps.len()) as f64
    }
}

/// How patterns are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// By [`canonical`].
    Exact,
    /// By [`loose`] too.
    Loose,
}

/// Whether a step of the table is that step of a file.
fn same(table: &Step<&str>, file: &Step, spelling: Spelling) -> bool {
    match (table, file) {
        (Split(a), Split(b)) | (SplitBefore(a), SplitBefore(b)) => {
            let a = canonical(a);
            a == *b || (spelling == Spelling::Loose && loose(&a) == loose(b))
        }
        (SplitLike(part), Split(b)) => b.starts_with(r"\s?[A-Z") && b.contains(part),
        (EachDigit, EachDigit)
        | (DigitRuns, DigitRuns)
        | (EachPunctuation, EachPunctuation)
        | (PunctuationRuns, PunctuationRuns)
        | (Bytes, Bytes) => true,
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
