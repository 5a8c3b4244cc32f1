//! Text and numbers of a page.

use std::fmt::Write;

/// Text for any place in a page: between tags and in quoted attributes. Names come from model
/// files, so nothing in them may act: neither markup, nor control characters, nor characters that
/// turn the direction of what follows. The latter two are shown as their code points.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if acts(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The text on one line of at most so many characters, not yet escaped.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).collect();
    if out.len() < text.len() {
        out.pop();
        out.push('…');
    }
    out
}

/// Control characters, direction marks, and what XML does not allow.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
}

/// A number with four significant digits.
pub(super) fn figure(x: f64) -> String {
    digits(x, 4)
}

/// A share as percent, with three significant digits.
pub(super) fn percent(x: f64) -> String {
    digits(100.0 * x, 3)
}

/// Decimals while these are readable, an exponent beyond.
fn digits(x: f64, significant: usize) -> String {
    let size = x.abs();
    if x == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{x:.*e}", significant - 1);
    }
    let (mut decimals, mut limit) = (significant - 1, 10.0);
    while size >= limit && decimals > 0 {
        decimals -= 1;
        limit *= 10.0;
    }
    let mut limit = 1.0;
    while size < limit {
        decimals += 1;
        limit /= 10.0;
    }
    format!("{x:.decimals$}")
}

/// A cosine: what is interesting is how far it is from 1.
pub(super) fn cosine(x: f64) -> String {
    format!("{x:.6}")
}

/// Bytes with a unit.
pub(super) fn size(bytes: u64) -> String {
    let mut limit = 1_000_000_000_000u64;
    for unit in ["TB", "GB", "MB", "kB"] {
        if bytes >= limit {
            return format!("{}.{} {unit}", bytes / limit, bytes % limit / (limit / 10));
        }
        limit /= 1000;
    }
    format!("{bytes} B")
}

/// A count, in groups of three digits.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Dimensions, slowest first.
pub(super) fn shape(dims: &[u64]) -> String {
    let mut out = String::new();
    for (at, dim) in dims.iter().enumerate() {
        let sign = if at > 0 { "×" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(out, "{sign}{dim}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_acts() {
        let name = "a<b>&\"'\u{0}\n\u{1b}\u{202e}\u{feff}é";
        let safe = "a&lt;b&gt;&amp;&quot;&#39;\\u{0}\\u{a}\\u{1b}\\u{202e}\u{feff}é";
        assert_eq!(escape(name), safe);
        assert_eq!((short("größe", 5), short("größer", 5)), ("größe".into(), "größ…".into()));
    }

    #[test]
    fn numbers_are_short() {
        let figures = [0.0, 0.076_234_5, 1.0, 9.9999, 12.345, 123_456.0, -0.5, 1.5e-7];
        let texts = ["0", "0.07623", "1.000", "10.000", "12.35", "123456", "-0.5000", "1.500e-7"];
        assert_eq!(figures.map(figure), texts);
        assert_eq!(figure(f64::NAN), "NaN");
        assert_eq!([percent(0.0762), percent(0.5), percent(1e-4)], ["7.62", "50.0", "0.0100"]);
        assert_eq!(
            [size(999), size(3_250_000), size(u64::MAX)],
            ["999 B", "3.2 MB", "18446744.0 TB"]
        );
        assert_eq!(count(6_819_072), "6\u{202f}819\u{202f}072");
        assert_eq!(shape(&[2, 30]), "2×30");
    }
}
