//! Byte-level BPE from tiktoken ranks: Kimi, GLM-4, Qwen 1, …
//!
//! Reads: `tiktoken.model`, `*.tiktoken`, or a `tokenizer.model` that has ranks in it: one line per
//! token, base64 of its bytes and its rank, which is its id. Then `tokenizer_config.json` and
//! `config.json`.
//! Gives: model `gpt2`; tokens in the byte-level alphabet; merges, rebuilt from the ranks: a token
//! is the merge of the two parts that its bytes come to when only lower ranks may merge.
//! Definition: OpenAI's tiktoken, and what the reference converter makes of such files.
//!
//! Nothing in these files says how text is split, so the model's type has to.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::token::{
    FileSet, Special, Token, TokenKind, TokenizerOptions, TokenizerSource, Vocab,
};
use gmat_core::{Error, Result, ResultExt, register_tokenizer};

use crate::base64;
use crate::hf::complete::{Files, complete};
use crate::hf::config::TokenizerConfig;
use crate::hf::rows::Rows;
use crate::hf::{bytes, json};
use crate::pre;

/// The longest token accepted, in bytes; real ones have some hundreds at most.
const MAX_BYTES: usize = 4096;

/// Ids that Kimi's tokenizers keep for special tokens, named or not.
const KIMI_RESERVED: u32 = 256;

/// Special tokens of the first Qwen models, which only their code names, after the ranks: three
/// and this many numbered ones.
const QWEN_EXTRAS: u32 = 205;

/// The reader.
pub(crate) struct Tiktoken;

register_tokenizer!(Tiktoken);

impl TokenizerSource for Tiktoken {
    fn name(&self) -> &'static str {
        "tiktoken"
    }

    fn summary(&self) -> &'static str {
        "byte-level BPE, from tiktoken ranks"
    }

    fn pre_tokenizers(&self) -> &'static [&'static str] {
        &pre::NAMES
    }

    fn score(&self, files: &dyn FileSet) -> Result<Score> {
        let Some(_) = find(files)? else { return Ok(Score::No) };
        // A `tokenizer.json` beside it says more, above all how text is split.
        let json = files.names().iter().any(|name| name == json::FILE);
        Ok(if json { Score::Fallback } else { Score::Likely })
    }

    fn read(
        &self,
        files: &dyn FileSet,
        config: &ModelConfig,
        options: &TokenizerOptions,
    ) -> Result<Vocab> {
        let (name, bytes) =
            find(files)?.ok_or_else(|| Error::malformed("there is no file with tiktoken ranks"))?;
        let place = || format!("file `{name}`");
        let pre = pre_name(&name, config, options)?;
        let names = TokenizerConfig::read(files)?;
        let ranks = parse(&bytes).context(place)?;
        drop(bytes);
        let rows = config.u64(&["padded_vocab_size", "vocab_size"])?;

        let entries: Vec<(String, u32)> =
            ranks.iter().map(|(token, rank)| (bytes::encode(token), *rank)).collect();
        let mut tokens = Rows::from_vocab(&entries).context(place)?;
        drop(entries);
        let special = special_tokens(&names, &pre, config, &ranks, rows)?;
        for (id, text) in &special {
            if let Some(other) = tokens.get(*id) {
                return Err(Error::malformed(format!(
                    "tokens `{}` and `{text}` both have the id {id}",
                    String::from_utf8_lossy(&other.text)
                )));
            }
            let text = text.clone().into_bytes();
            tokens.put(*id, Token { text, score: 0.0, kind: TokenKind::Control, added: true });
        }

        let mut vocab = Vocab::new("gpt2");
        vocab.pre = pre;
        vocab.tokens = tokens.finish(0.0)?;
        vocab.sorted_ids().context(place)?;
        vocab.merges = merges(&ranks);
        let from = Files { files, tokenizer: None, names: &names, model: config };
        complete(&mut vocab, &from, None)?;
        let id_of =
            |wanted: &str| special.iter().find(|(_, text)| text == wanted).map(|(id, _)| *id);
        for role in [Special::Bos, Special::Eos] {
            if let Some(id) = names.token(role.name())?.as_deref().and_then(id_of) {
                vocab.special.entry(role).or_insert(id);
            }
        }
        if is_qwen(config)
            && let Some(id) = id_of("<|endoftext|>")
        {
            for role in [Special::Bos, Special::Eos, Special::Unk] {
                vocab.special.entry(role).or_insert(id);
            }
        }
        Ok(vocab)
    }
}

fn is_qwen(config: &ModelConfig) -> bool {
    config.value(&["model_type"]).and_then(|value| value.as_str()) == Some("qwen")
}

/// The file with ranks: its name and bytes.
fn find(files: &dyn FileSet) -> Result<Option<(String, Vec<u8>)>> {
    let names = files.names();
    let mut found = names.iter().filter(|name| {
        *name == "tiktoken.model" || (name.ends_with(".tiktoken") && !name.contains('/'))
    });
    if let Some(name) = found.next() {
        if let Some(other) = found.next() {
            return Err(Error::unsupported(format!(
                "both `{name}` and `{other}` have tiktoken ranks"
            )));
        }
        return Ok(files.read(name)?.map(|bytes| (name.clone(), bytes)));
    }
    let name = "tokenizer.model";
    let Some(bytes) = files.read(name)? else { return Ok(None) };
    let ranks = bytes.split(|byte| *byte == b'\n').next().is_some_and(|line| entry(line).is_some());
    Ok(ranks.then(|| (name.to_owned(), bytes)))
}

/// The name of the splitting rules: forced, or from the model's type, or from the file's name.
fn pre_name(file: &str, config: &ModelConfig, options: &TokenizerOptions) -> Result<String> {
    if let Some(name) = &options.pre {
        pre::check(name)?;
        return Ok(name.clone());
    }
    let model = config.str(&["model_type"])?.unwrap_or_default();
    let name = match (model, file) {
        ("qwen", _) => "qwen2",
        ("chatglm" | "glm4", _) => "chatglm-bpe",
        ("hunyuan" | "hunyuan_v1_moe", _) => "hunyuan",
        ("hunyuan_v1_dense", _) => "hunyuan-dense",
        ("stablelm" | "stablelm_epoch", _) => "stablelm2",
        ("dbrx", _) | (_, "cl100k_base.tiktoken") => "dbrx",
        ("llama", _) => "llama-bpe",
        ("gpt_oss", _) | (_, "o200k_base.tiktoken") => "gpt-4o",
        ("gpt2", _) | (_, "r50k_base.tiktoken" | "p50k_base.tiktoken") => "gpt-2",
        // The name that Moonshot's tokenizers have, whatever model they come with.
        ("kimi_k2" | "kimi_linear" | "kimi_vl" | "kimi_k25", _) | (_, "tiktoken.model") => {
            "kimi-k2"
        }
        _ => {
            return Err(Error::unsupported(format!(
                "`{file}` does not say how text is split, and it is not known for models of the \
                 type `{model}`"
            ))
            .with_hint("name the pre-tokenizer with `--pre NAME`"));
        }
    };
    Ok(name.to_owned())
}

/// Tokens and ranks, by rank.
fn parse(bytes: &[u8]) -> Result<Vec<(Vec<u8>, u32)>> {
    let mut ranks = Vec::new();
    let mut singles = [false; 256];
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let (token, rank) = entry(line).ok_or_else(|| {
            Error::malformed(format!("line {} is not a token in base64 with its rank", number + 1))
        })?;
        if token.is_empty() || token.len() > MAX_BYTES {
            return Err(Error::limit(format!(
                "line {} has a token of {} bytes; 1 to {MAX_BYTES} are supported",
                number + 1,
                token.len()
            )));
        }
        if let [byte] = token.as_slice()
            && let Some(single) = singles.get_mut(usize::from(*byte))
        {
            *single = true;
        }
        ranks.push((token, rank));
    }
    if let Some(byte) = singles.iter().position(|single| !single) {
        return Err(Error::malformed(format!("byte {byte:#04x} is not a token")));
    }
    ranks.sort_by_key(|(_, rank)| *rank);
    Ok(ranks)
}

/// A line: base64, spaces, a rank.
fn entry(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let line = std::str::from_utf8(line).ok()?.trim();
    let (token, rank) = line.split_once(' ')?;
    Some((base64::decode(token)?, rank.trim().parse().ok()?))
}

/// Special tokens by id: those of the config, and those that only the model's own code names.
fn special_tokens(
    names: &TokenizerConfig,
    pre: &str,
    config: &ModelConfig,
    ranks: &[(Vec<u8>, u32)],
    rows: Option<u64>,
) -> Result<Vec<(u32, String)>> {
    let mut special: std::collections::BTreeMap<u32, String> =
        names.added_tokens()?.into_iter().map(|token| (token.id, token.content)).collect();
    let start = u32::try_from(ranks.len()).map_err(|_| Error::limit("more than 2^32 ranks"))?;
    if is_qwen(config) && special.is_empty() {
        let numbered = (0..QWEN_EXTRAS).map(|n| format!("<|extra_{n}|>"));
        let first = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned);
        special.extend((start..).zip(first.into_iter().chain(numbered)));
    }
    if pre == "kimi-k2" {
        for id in start..start.saturating_add(KIMI_RESERVED) {
            special.entry(id).or_insert_with(|| format!("<|reserved_token_{id}|>"));
        }
    }
    let fits = |id: u32| rows.is_none_or(|rows| u64::from(id) < rows);
    Ok(special.into_iter().filter(|(id, _)| fits(*id)).collect())
}

/// The merges, in the order of ranks. A token that lower ranks do not bring to two parts cannot be
/// merged at all; it stays in the vocabulary.
fn merges(ranks: &[(Vec<u8>, u32)]) -> Vec<Vec<u8>> {
    let by_bytes: HashMap<&[u8], u32> =
        ranks.iter().map(|(token, rank)| (token.as_slice(), *rank)).collect();
    let mut merges = Vec::with_capacity(ranks.len());
    for (token, rank) in ranks {
        if let Some(cut) = two_parts(token, *rank, &by_bytes)
            && let Some((left, right)) = token.split_at_checked(cut)
        {
            merges.push(format!("{} {}", bytes::encode(left), bytes::encode(right)).into_bytes());
        }
    }
    merges
}

/// Where a token is cut if, starting from bytes, the pair of lowest rank below `limit` is merged
/// (the first of equals) until there is none, and two parts remain.
fn two_parts(token: &[u8], limit: u32, ranks: &HashMap<&[u8], u32>) -> Option<usize> {
    let len = token.len();
    // Parts by their start: where each ends, and where the one before starts. Merging keeps the
    // start of the left part; `ends` of the right one becomes 0.
    let mut ends: Vec<usize> = (1..=len).collect();
    let mut before: Vec<usize> = (0..len).map(|start| start.saturating_sub(1)).collect();
    let mut parts = len;
    let mut queue = BinaryHeap::new();
    let rank_of = |start: usize, end: usize| {
        let rank = *ranks.get(token.get(start..end)?)?;
        (rank < limit).then_some(Reverse((rank, start, end)))
    };
    queue.extend((0..len.saturating_sub(1)).filter_map(|start| rank_of(start, start + 2)));
    while let Some(Reverse((_, start, end))) = queue.pop() {
        // Out of date unless two parts that still exist meet inside.
        let Some(&middle) = ends.get(start).filter(|middle| **middle != 0 && **middle < end) else {
            continue;
        };
        if ends.get(middle) != Some(&end) {
            continue;
        }
        if let Some(slot) = ends.get_mut(start) {
            *slot = end;
        }
        if let Some(slot) = ends.get_mut(middle) {
            *slot = 0;
        }
        parts -= 1;
        if let Some(&next_end) = ends.get(end) {
            if let Some(slot) = before.get_mut(end) {
                *slot = start;
            }
            queue.extend(rank_of(start, next_end));
        }
        if start > 0
            && let Some(&previous) = before.get(start)
        {
            queue.extend(rank_of(previous, end));
        }
    }
    if parts != 2 {
        return None;
    }
    ends.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_rebuilt() {
        let mut ranks: Vec<(Vec<u8>, u32)> = (0..=255u8).map(|b| (vec![b], u32::from(b))).collect();
        for (token, rank) in [("ab", 256), ("bc", 257), ("abc", 258), ("aaaa", 300), ("aa", 301)] {
            ranks.push((token.into(), rank));
        }
        let texts: Vec<String> =
            merges(&ranks).into_iter().map(|m| String::from_utf8(m).unwrap()).collect();
        // `abc` is `ab` + `c`, since `ab` has the lower rank; `aaaa` comes before `aa` and cannot
        // be merged from anything.
        assert_eq!(texts, ["a b", "b c", "ab c", "a a"]);
    }

    #[test]
    fn long_tokens_take_no_square_time() {
        let token = vec![b' '; MAX_BYTES];
        let mut ranks = HashMap::new();
        let powers: Vec<Vec<u8>> = (0..12).map(|p| vec![b' '; 1 << p]).collect();
        for (rank, power) in powers.iter().enumerate() {
            ranks.insert(power.as_slice(), u32::try_from(rank).unwrap());
        }
        assert_eq!(two_parts(&token, 99, &ranks), Some(MAX_BYTES / 2));
        assert_eq!(two_parts(&token, 5, &ranks), None);
    }

    #[test]
    fn broken_lines_are_refused() {
        let all: String = (0..=255u8).map(|b| format!("{} {b}\n", encode64(&[b]))).collect();
        assert_eq!(parse(all.as_bytes()).unwrap().len(), 256);
        for (line, kind) in [
            ("YWI=", "line 257"),
            ("YWI= x", "line 257"),
            ("YWI= -1", "line 257"),
            ("YWI= 4294967296", "line 257"),
            ("?? 300", "line 257"),
        ] {
            let error = parse(format!("{all}{line}").as_bytes()).unwrap_err();
            assert!(error.to_string().contains(kind), "{error}");
        }
        assert!(parse(b"YQ== 0\n").unwrap_err().to_string().contains("0x00"));
    }

    fn encode64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for i in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
                out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
            }
        }
        out
    }
}
