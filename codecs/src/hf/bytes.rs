//! The byte-level alphabet: one printable character for every byte.
//!
//! Definition: the GPT-2 tokenizer. Bytes that are printable in Latin-1 (`!`–`~`, `¡`–`¬`, `®`–`ÿ`)
//! stand for themselves; the others get the characters from U+0100 on, in the order of the bytes.

/// The character of a byte.
pub(crate) fn char_of(byte: u8) -> char {
    // Bytes without a printable character: 0–32, 127–160 and 173, numbered in this order.
    let rank = match byte {
        0..=32 => byte,
        127..=160 => byte - 127 + 33,
        173 => 67,
        _ => return char::from(byte),
    };
    char::from_u32(0x100 + u32::from(rank)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte of a character; `None` if it is not one of the alphabet.
pub(crate) fn byte_of(character: char) -> Option<u8> {
    let byte = match u32::from(character) {
        code @ (33..=126 | 161..=172 | 174..=255) => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - 0x121 + 127,
        0x143 => 173,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Bytes in the alphabet.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char_of(*byte)).collect()
}

/// What a text in the alphabet stands for; `None` if a character is not in it or the bytes are not
/// UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut seen = std::collections::BTreeSet::new();
        for byte in 0..=255u8 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
            assert!(seen.insert(char_of(byte)));
        }
        assert_eq!(encode(b" \n\xad~"), "ĠĊŃ~");
        assert_eq!(decode("ĠÃ¼"), Some(" ü".to_owned()));
        assert_eq!(decode("▁"), None);
        assert_eq!(decode("é"), None);
        assert_eq!(byte_of('\u{144}'), None);
    }
}
