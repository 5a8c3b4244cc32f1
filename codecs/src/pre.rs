//! The pre-tokenizer's name (`tokenizer.ggml.pre`), recognised from the structure of a
//! `tokenizer.json`.
//!
//! GGUF does not say how text is split before tokenization, only a name; runtimes have the rules
//! that go with it. So the name is right if its rules are those of the file. The reference
//! converter takes the name from a hash of a fixed text's ids, which knows published vocabularies
//! only; comparing the rules themselves also serves vocabularies trained anew.

mod known;
mod names;
mod reach;
mod regex;

use std::cell::OnceCell;

use gmat_core::{Error, Result};
use serde_json::Value;

use self::known::Spelling;
pub(crate) use self::names::{BERT, NAMES, WORDPIECE, check, none, wordpiece};
use crate::hf::json::{Tokenizer, kind, parts};

/// One step of splitting; patterns are in the spelling that they are compared in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step<T = String> {
    /// At matches of a pattern, which become pieces of their own.
    Split(T),
    /// As before, but only this part of the pattern is compared: it is a long list of characters
    /// whose spelling varies with Unicode normalization.
    SplitLike(T),
    /// At matches, which join the piece after them.
    SplitBefore(T),
    /// Around every digit.
    EachDigit,
    /// Around every run of digits.
    DigitRuns,
    /// Around every character of punctuation.
    EachPunctuation,
    /// Around every run of punctuation.
    PunctuationRuns,
    /// To bytes.
    Bytes,
    /// Something else.
    Other(T),
}

/// What tells names with the same rules apart.
struct Traits<'a> {
    tokenizer: &'a Tokenizer,
    class: Option<&'a str>,
    has: &'a dyn Fn(&str) -> bool,
    /// Whether some token is not what merging makes of its text, once that is known.
    matters: OnceCell<bool>,
}

impl Traits<'_> {
    /// Whether the vocabulary has a token.
    fn has(&self, token: &str) -> bool {
        (self.has)(token)
    }

    /// Whether a piece that is a token is taken whole, before any merging.
    fn ignores_merges(&self) -> bool {
        self.tokenizer.model.ignore_merges
    }

    /// Whether it makes a difference if it is.
    fn merging_matters(&self) -> bool {
        *self.matters.get_or_init(|| !reach::all_reached(self.tokenizer))
    }

    /// Whether a part of the pipeline is of that type.
    fn normalizes(&self, with: &str) -> bool {
        parts(&self.tokenizer.normalizer, "normalizers").iter().any(|part| kind(part) == with)
    }

    fn processes(&self, with: &str) -> bool {
        parts(&self.tokenizer.post_processor, "processors").iter().any(|part| kind(part) == with)
    }
}

/// The name for the rules of a byte-level `tokenizer.json`. `class` is the tokenizer's class, `has`
/// tells whether a text is a token.
///
/// # Errors
/// `Unsupported` if no known name has these rules; the message names the closest one.
pub(crate) fn recognise(
    tokenizer: &Tokenizer,
    class: Option<&str>,
    has: &dyn Fn(&str) -> bool,
) -> Result<&'static str> {
    let steps: Vec<Step> =
        parts(&tokenizer.pre_tokenizer, "pretokenizers").into_iter().flat_map(read_part).collect();
    let traits = Traits { tokenizer, class, has, matters: OnceCell::new() };
    let find = |spelling| known::CHAINS.iter().find(|chain| chain.fits(&steps, spelling));
    let Some(chain) = find(Spelling::Exact).or_else(|| find(Spelling::Loose)) else {
        return Err(unrecognised(&steps, &traits));
    };
    let Some(name) = chain.name(&traits) else {
        let closest = chain.closest(&traits);
        let how = if traits.ignores_merges() { "takes" } else { "does not take" };
        return Err(force(
            closest,
            format!(
                "`tokenizer.json` splits text as `{closest}` does, but {how} pieces that are tokens \
                 whole, unlike that (`ignore_merges`), and merging does not reach all tokens"
            ),
        ));
    };
    for part in parts(&tokenizer.normalizer, "normalizers") {
        // Runtimes do not normalize. Composing characters rarely matters, since most text is
        // composed; anything else would.
        if kind(part) != "NFC" {
            let other = kind(part);
            return Err(force(
                name,
                format!(
                    "`tokenizer.json` normalizes text with `{other}`, which no runtime does; but for \
                     that it is `{name}`"
                ),
            ));
        }
    }
    Ok(name)
}

/// An error for rules that no name has, with how to go on anyway.
fn force(closest: &str, what: String) -> Error {
    Error::unsupported(what).with_hint(format!(
        "if its rules are right nevertheless, force them with `--pre {closest}`"
    ))
}

fn unrecognised(steps: &[Step], traits: &Traits<'_>) -> Error {
    let mut shown: Vec<String> = steps.iter().take(MAX_SHOWN).map(Step::shown).collect();
    if steps.len() > MAX_SHOWN {
        shown.push(format!("{} more steps", steps.len() - MAX_SHOWN));
    }
    let closest = known::CHAINS.iter().max_by(|a, b| {
        let likeness = |chain: &known::Chain| chain.likeness(steps);
        likeness(a).total_cmp(&likeness(b))
    });
    let name = closest.map_or("default", |chain| chain.closest(traits));
    force(
        name,
        format!(
            "`tokenizer.json` splits text as no known pre-tokenizer does: {}; the closest is `{name}`",
            if shown.is_empty() { "not at all".to_owned() } else { shown.join(", then ") },
        ),
    )
}

/// The steps of a part of a pre-tokenizer.
fn read_part(part: &Value) -> Vec<Step> {
    let flag = |key| part.get(key).and_then(Value::as_bool).unwrap_or(true);
    if kind(part) != "ByteLevel" || flag("add_prefix_space") {
        return vec![step(part)];
    }
    let mut steps = vec![Step::Bytes];
    if flag("use_regex") {
        steps.insert(0, Step::Split(regex::canonical(known::GPT2)));
    }
    steps
}

fn step(part: &Value) -> Step {
    let flag = |key, default| part.get(key).and_then(Value::as_bool).unwrap_or(default);
    let behavior = part.get("behavior").and_then(Value::as_str).unwrap_or_default();
    let other = || Step::Other(part.to_string());
    match kind(part) {
        "Digits" if flag("individual_digits", false) => Step::EachDigit,
        "Digits" => Step::DigitRuns,
        "Punctuation" if behavior == "Contiguous" => Step::PunctuationRuns,
        "Punctuation" if matches!(behavior, "" | "Isolated") => Step::EachPunctuation,
        "Split" => {
            let regex = part.get("pattern").and_then(|p| p.get("Regex")).and_then(Value::as_str);
            let Some(regex) = regex else { return other() };
            let pattern = regex::canonical(regex);
            match (behavior, flag("invert", false)) {
                // Pieces are the same whichever of matches and gaps are called the separators; and
                // dropping the gaps changes nothing for patterns that leave none.
                ("Isolated", _) | ("Removed", true) => match pattern.as_str() {
                    r"\p{N}" => Step::EachDigit,
                    r"\p{N}+" => Step::DigitRuns,
                    _ => Step::Split(pattern),
                },
                ("MergedWithNext", false) => Step::SplitBefore(pattern),
                _ => other(),
            }
        }
        _ => other(),
    }
}

/// Steps that an error message shows, and characters of each.
const MAX_SHOWN: usize = 12;
const MAX_STEP: usize = 600;

impl Step {
    /// The step as an error message shows it.
    fn shown(&self) -> String {
        let text = self.described();
        match text.char_indices().nth(MAX_STEP) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            None => text,
        }
    }

    fn described(&self) -> String {
        match self {
            Self::Split(text) => format!("split at `{text}`"),
            Self::SplitLike(text) => format!("split at `…{text}…`"),
            Self::SplitBefore(text) => format!("split before `{text}`"),
            Self::EachDigit => "each digit".to_owned(),
            Self::DigitRuns => "runs of digits".to_owned(),
            Self::EachPunctuation => "each punctuation".to_owned(),
            Self::PunctuationRuns => "runs of punctuation".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::Other(text) => format!("`{text}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name_of(pre: Value, more: Value, tokens: &[&str]) -> Result<&'static str> {
        let mut json = json!({"model": {"type": "BPE"}, "pre_tokenizer": pre});
        for (key, value) in more.as_object().unwrap() {
            json[key] = value.clone();
        }
        let tokenizer: Tokenizer = serde_json::from_value(json).unwrap();
        recognise(&tokenizer, None, &|text| tokens.contains(&text))
    }

    fn bytes(regex: bool) -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
    }

    fn split(regex: &str) -> Value {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    }

    fn chain(list: &[Value]) -> Value {
        json!({"type": "Sequence", "pretokenizers": list})
    }

    const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    #[test]
    fn patterns_decide() {
        let none = || json!({});
        let of = |list: &[Value]| name_of(chain(list), none(), &[]).unwrap();
        assert_eq!(of(&[split(QWEN2), bytes(false)]), "qwen2");
        assert_eq!(of(&[split(CL100K), bytes(false)]), "dbrx");
        assert_eq!(of(&[bytes(true)]), "gpt-2");
        assert_eq!(name_of(bytes(true), none(), &[]).unwrap(), "gpt-2");
        let digits = json!({"type": "Digits", "individual_digits": true});
        assert_eq!(of(&[digits.clone(), bytes(true)]), "smollm");
        let falcon = [
            json!({"type": "Punctuation", "behavior": "Contiguous"}),
            bytes(true),
            json!({"type": "Digits", "individual_digits": false}),
            split("[0-9][0-9][0-9]"),
        ];
        assert_eq!(of(&falcon), "falcon");
        let coder = [
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            split("[一-龥ࠀ-一가-퟿]+"),
            digits,
            bytes(false),
        ];
        assert_eq!(of(&coder), "deepseek-coder");
    }

    #[test]
    fn spellings_do_not_matter() {
        let inverted = json!({"type": "Split", "pattern": {"Regex": CL100K}, "behavior": "Removed",
            "invert": true});
        let list = [inverted, bytes(false)];
        assert_eq!(name_of(chain(&list), json!({}), &[]).unwrap(), "dbrx");
        let tiktoken = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
        let list = [split(tiktoken), bytes(false)];
        assert_eq!(name_of(chain(&list), json!({}), &[]).unwrap(), "dbrx");
        // Nested sequences are one sequence.
        let nested = chain(&[chain(&[split(QWEN2)]), chain(&[bytes(false)])]);
        assert_eq!(name_of(nested, json!({}), &[]).unwrap(), "qwen2");
    }

    #[test]
    fn tokens_and_flags_tell_twins_apart() {
        let llama = || chain(&[split(CL100K), bytes(false)]);
        let ignore = || json!({"model": {"type": "BPE", "ignore_merges": true}});
        assert_eq!(name_of(llama(), ignore(), &[]).unwrap(), "llama-bpe");
        assert_eq!(name_of(llama(), ignore(), &["[gMASK]", "<sop>"]).unwrap(), "glm4");
        assert_eq!(name_of(llama(), json!({}), &["<|begin_of_text|>"]).unwrap(), "smaug-bpe");
        let digits = || chain(&[json!({"type": "Digits", "individual_digits": true}), bytes(true)]);
        let of = |tokens: &[&str]| name_of(digits(), json!({}), tokens).unwrap();
        assert_eq!(of(&["<fim_prefix>", "<file_sep>"]), "starcoder");
        assert_eq!(of(&["<fim_prefix>"]), "refact");
        assert_eq!(of(&["<BOS_TOKEN>"]), "command-r");
        let qwen = || chain(&[split(QWEN2), bytes(false)]);
        let r1 = "<｜begin▁of▁sentence｜>";
        assert_eq!(name_of(qwen(), json!({}), &[r1]).unwrap(), "deepseek-r1-qwen");
    }

    #[test]
    fn rules_of_several_steps_are_told_apart() {
        let of = |list: &[Value]| name_of(chain(list), json!({}), &[]).unwrap();
        let digits = |each: bool| json!({"type": "Digits", "individual_digits": each});
        let threes = r"(?=(\d{3})+(?!\d))";
        assert_eq!(of(&[split(r"\p{N}+"), split(threes), bytes(false)]), "superbpe");
        assert_eq!(of(&[digits(false), split(threes), bytes(false)]), "superbpe");
        let chameleon = [
            split("<sentinel:[0-9]+>"),
            split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            split(r"([\t\n]|    |  )"),
            digits(true),
            json!({"type": "Punctuation", "behavior": "Isolated"}),
            bytes(true),
        ];
        assert_eq!(of(&chameleon), "chameleon");
        let gpt2 =
            r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s";
        assert_eq!(of(&[split(gpt2), bytes(false)]), "gpt-2");
        assert_eq!(of(&[digits(true), split(gpt2), bytes(false)]), "smollm");
        // The order of steps matters.
        assert!(name_of(chain(&[bytes(true), digits(true)]), json!({}), &[]).is_err());
    }

    /// Names differ in whether a piece that is a token is merged at all. Where merging comes to the
    /// same, any will do; where not, only one that does as the file says.
    #[test]
    fn merging_decides_where_it_matters() {
        let o200k = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
        let tekken = || chain(&[split(o200k), bytes(false)]);
        let model = |ignore: bool, merges: Value| {
            json!({"model": {"type": "BPE", "ignore_merges": ignore,
                "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": merges}})
        };
        let name = |ignore, merges| name_of(tekken(), model(ignore, merges), &[]);
        assert_eq!(name(true, json!([])).unwrap(), "tekken");
        assert_eq!(name(false, json!(["a b"])).unwrap(), "tekken");
        let error = name(false, json!([])).unwrap_err();
        assert!(error.message().contains("ignore_merges"), "{error}");
        assert!(error.hint().unwrap().contains("--pre tekken"));
        let cl100k = |ignore, merges, tokens: &[&str]| {
            let list = [split(CL100K), bytes(false)];
            name_of(chain(&list), model(ignore, merges), tokens).unwrap()
        };
        let glm = ["[gMASK]", "<sop>"];
        assert_eq!(cl100k(true, json!([]), &glm), "glm4");
        assert_eq!(cl100k(false, json!([]), &glm), "chatglm-bpe");
        assert_eq!(cl100k(true, json!([]), &[]), "llama-bpe");
        assert_eq!(cl100k(true, json!([]), &["<|begin_of_text|>"]), "llama-bpe");
        assert_eq!(cl100k(false, json!([]), &[]), "dbrx");
    }

    #[test]
    fn normalizers_are_refused_by_name() {
        for kind in ["NFD", "NFKC", "Lowercase", "StripAccents"] {
            let error =
                name_of(bytes(true), json!({"normalizer": {"type": kind}}), &[]).unwrap_err();
            assert!(error.message().contains(kind), "{error}");
            assert!(error.hint().unwrap().contains("--pre gpt-2"));
        }
        let nfc = json!({"normalizer": {"type": "NFC"}});
        assert_eq!(name_of(bytes(true), nfc, &[]).unwrap(), "olmo");
    }

    #[test]
    fn the_unknown_is_refused_with_the_closest() {
        let list = [split(&QWEN2.replace(r"\p{N}|", r"\p{N}{1,2}|")), bytes(false)];
        let error = name_of(chain(&list), json!({}), &[]).unwrap_err();
        assert!(
            error.message().contains("`qwen2`") || error.message().contains("`dbrx`"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("--pre "));
        for pre in [json!(null), json!({"type": "Whitespace"}), json!({"type": "Split"}), json!(7)]
        {
            assert!(name_of(pre, json!({}), &[]).is_err());
        }
        let long = chain(&vec![split(&"x".repeat(100_000)); 100]);
        let error = name_of(long, json!({}), &[]).unwrap_err();
        assert!(error.message().len() < 10_000 && error.message().contains("88 more steps"));
        let prefix = json!({"type": "ByteLevel", "add_prefix_space": true});
        assert!(name_of(prefix, json!({}), &[]).is_err());
        let stripped = json!({"normalizer": {"type": "StripAccents"}});
        let error = name_of(bytes(true), stripped, &[]).unwrap_err();
        assert!(error.message().contains("StripAccents"), "{error}");
    }
}
