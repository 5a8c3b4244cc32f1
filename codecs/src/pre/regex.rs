//! One spelling for regexes that mean the same.
//!
//! Files write the same split in many ways: escapes or raw characters, members of a class in any
//! order, `(?i:…)` or both cases, possessive or greedy. Patterns are compared in the spelling made
//! here. It is no regex parser: what it does not understand it leaves as it is, so that an unknown
//! pattern stays unknown.

use std::iter::Peekable;
use std::str::Chars;

/// Contractions of English, in the two spellings found.
const CONTRACTIONS: [(&str, &str); 3] = [
    ("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", "(?i:'s|'t|'re|'ve|'m|'ll|'d)"),
    ("'(?i:[sdmt]|ll|ve|re)", "(?i:'s|'t|'re|'ve|'m|'ll|'d)"),
    ("'(?:[sdmt]|ll|ve|re)|", "'s|'t|'re|'ve|'m|'ll|'d|"),
];

/// Classes within classes that are looked into.
const MAX_DEPTH: usize = 8;

/// The pattern in the spelling that all patterns are compared in.
pub(crate) fn canonical(pattern: &str) -> String {
    let mut text = pattern.to_owned();
    for (other, usual) in CONTRACTIONS {
        text = text.replace(other, usual);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    // Whether the last thing written can be followed by a possessive or lazy sign.
    let mut quantified = false;
    while let Some(c) = chars.next() {
        let was_quantified = std::mem::take(&mut quantified);
        match c {
            '\\' => out.push_str(&escape(&mut chars, false)),
            '[' => out.push_str(&class(&mut chars, 0)),
            // `?+`, `++`, `*+`: the known patterns never need to give back, so greedy is the same.
            '+' if was_quantified => {}
            '?' | '*' | '+' => {
                out.push(c);
                quantified = true;
            }
            '{' => {
                let count = braces(&mut chars);
                // Exactly once is what a pattern without a count means.
                if count != "1" {
                    out.push('{');
                    out.push_str(&count);
                    out.push('}');
                    quantified = true;
                }
            }
            c => push_plain(&mut out, c),
        }
    }
    out
}

/// A canonical pattern without differences at its end that change no split: how the last white space
/// of a run is told apart from the rest.
///
/// `\s*[\r\n]` backtracks to the last line end just as `\s*[\r\n]+` does; after `\s+(?!\S)` only single
/// spaces are left, which are pieces of their own matched or not; `\s+$` matches only what
/// `\s+(?!\S)` would.
pub(crate) fn loose(canonical: &str) -> String {
    let text = canonical.replace(r"|\s*[\n\r]|", r"|\s*[\n\r]+|");
    let end = text.strip_suffix(r"|\s+").or_else(|| text.strip_suffix(r"|\s"));
    let mut text = match end {
        Some(rest) if rest.ends_with(r"|\s+(?!\S)") => rest.to_owned(),
        _ => text,
    };
    // Before line ends it would take them along.
    if let Some(rest) = text.strip_suffix(r"|\s+$|\s+(?!\S)") {
        text = format!(r"{rest}|\s+(?!\S)");
    }
    text
}

/// What stands between braces, up to and without the closing one.
fn braces(chars: &mut Peekable<Chars<'_>>) -> String {
    chars.by_ref().take_while(|c| *c != '}').collect()
}

/// Control characters as escapes, everything else as it is.
fn push_plain(out: &mut String, c: char) {
    match c {
        '\r' => out.push_str("\\r"),
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        c => out.push(c),
    }
}

/// What follows a backslash, in the shortest spelling.
fn escape(chars: &mut Peekable<Chars<'_>>, in_class: bool) -> String {
    let Some(c) = chars.next() else { return "\\".to_owned() };
    let mut out = String::new();
    match c {
        'p' | 'P' => {
            out.push('\\');
            out.push(c);
            let name = match chars.peek() {
                Some('{') => {
                    chars.next();
                    braces(chars)
                }
                _ => chars.next().map(String::from).unwrap_or_default(),
            };
            out.push_str(&format!("{{{name}}}"));
        }
        'x' | 'u' => match code_point(chars, if c == 'x' { 2 } else { 4 }) {
            Some(c) => push_plain(&mut out, c),
            None => out.extend(['\\', c]),
        },
        // Escapes that change nothing here.
        '-' if in_class => out.push_str("\\-"),
        c if c.is_ascii_punctuation() && !needs_escape(c, in_class) => out.push(c),
        ' ' => out.push(' '),
        c => out.extend(['\\', c]),
    }
    out
}

fn needs_escape(c: char, in_class: bool) -> bool {
    if in_class { "\\]^-[&".contains(c) } else { "\\^$.|?*+()[]{}".contains(c) }
}

/// A character by number: `{…}`, or so many digits.
fn code_point(chars: &mut Peekable<Chars<'_>>, digits: usize) -> Option<char> {
    let mut ahead = chars.clone();
    let text = if ahead.peek() == Some(&'{') {
        ahead.next();
        braces(&mut ahead)
    } else {
        ahead.by_ref().take(digits).collect()
    };
    let c = u32::from_str_radix(&text, 16).ok().and_then(char::from_u32)?;
    *chars = ahead;
    Some(c)
}

/// A character class, after its opening bracket: members sorted, each once. One with another class
/// inside is kept in its order.
fn class(chars: &mut Peekable<Chars<'_>>, depth: usize) -> String {
    let mut members: Vec<String> = Vec::new();
    let negated = chars.next_if_eq(&'^').is_some();
    let mut nested = false;
    let mut start = true;
    while let Some(c) = chars.next() {
        let member = match c {
            ']' if !start => break,
            '\\' => escape(chars, true),
            // Deeper than any real pattern: not worth understanding.
            '[' if depth == MAX_DEPTH || chars.peek() == Some(&':') => {
                nested = true;
                "[".to_owned()
            }
            '[' => {
                nested = true;
                class(chars, depth + 1)
            }
            '&' if chars.peek() == Some(&'&') => {
                nested = true;
                "&".to_owned()
            }
            c => {
                let mut one = String::new();
                push_plain(&mut one, c);
                one
            }
        };
        start = false;
        // A range: a dash that is neither first nor last.
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && !matches!(ahead.peek(), None | Some(']' | '[')) && c != '['
        {
            *chars = ahead;
            let end = match chars.next() {
                Some('\\') => escape(chars, true),
                Some(end) => end.to_string(),
                None => String::new(),
            };
            members.push(format!("{member}-{end}"));
        } else {
            members.push(member);
        }
    }
    if !nested {
        members.sort();
        members.dedup();
    }
    format!("[{}{}]", if negated { "^" } else { "" }, members.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_patterns_get_one_spelling() {
        for (a, b) in [
            (r"[\r\n]+", "[\n\r]+"),
            (r"[^\s\p{L}\p{N}]++[\r\n]*", r"[^\p{N}\p{L}\s]+[\r\n]*"),
            (r"[^\r\n\p{L}\p{N}]?+\p{L}+", r"[^\r\n\p{L}\p{N}]?\pL+"),
            (r"\p{N}{1}| ?x", r"\p{N}|\ ?x"),
            (r"[\u4e00-\u9fa5\x{3040}-ゟ]+", "[一-龥぀-ゟ]+"),
            (r"'(?i:[sdmt]|ll|ve|re)|a", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|a"),
            (
                r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            ),
            (r"[\r\n/]*", r"[\/\n\r]*"),
        ] {
            assert_eq!(canonical(a), canonical(b), "{a} and {b}");
        }
    }

    #[test]
    fn different_patterns_stay_different() {
        for (a, b) in [
            (r"\p{N}{1,3}", r"\p{N}"),
            (r"[\r\n]+", r"[\r\n]"),
            (r"\s+(?!\S)", r"\s+(?=\S)"),
            (r"[a-z]", r"[a\-z]"),
            (r"[^a]", r"[\^a]"),
            (r"\.", r"."),
            (r"a+", r"a?"),
            (r"[+]+a", r"[+]a"),
            (r"[\p{L}&&[^\p{Han}]]", r"[\p{L}\p{Han}]"),
        ] {
            assert_ne!(canonical(a), canonical(b), "{a} and {b}");
        }
    }

    #[test]
    fn ends_that_split_alike_are_alike() {
        let alike = |a: &str, b: &str| loose(&canonical(a)) == loose(&canonical(b));
        assert!(alike(r"a|\s*[\r\n]+|\s+(?!\S)|\s+", r"a|\s*[\n\r]|\s+(?!\S)|\s"));
        assert!(alike(r"a|\s+(?!\S)", r"a|\s+(?!\S)|\s+"));
        assert!(alike(
            r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++|\s++$|\s+(?!\S)|\s",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\s+(?!\S)|\s+"
        ));
        for (a, b) in [(r"a|\s+", "a"), (r"a|\s+$|\s*[\r\n]+|\s+(?!\S)", r"a|\s*[\r\n]+|\s+(?!\S)")]
        {
            assert!(!alike(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn nonsense_is_survived() {
        for text in [
            "[", "[^", "[a-", "\\", "\\p", "\\p{", "{", "a{", "[[", "[]", "[]]", "\\u{", "\\x{zz}",
            "[\\",
        ] {
            canonical(text);
        }
        canonical(&"[".repeat(1_000_000));
    }
}
