//! The text of a descriptor, put together when a plugin is compiled. For the macro only.

/// Longest descriptor that the host reads.
const LONGEST: usize = 1 << 16;

/// Length of a descriptor.
#[must_use]
pub const fn text_len(parts: &[&str]) -> usize {
    let mut buffer = Text::<LONGEST>::new();
    buffer.all(parts);
    buffer.len
}

/// The text of a descriptor. Entries of lists all end in a comma, which JSON does not allow for the last.
#[must_use]
pub const fn text<const LEN: usize>(parts: &[&str]) -> [u8; LEN] {
    let mut buffer = Text::<LEN>::new();
    buffer.all(parts);
    buffer.bytes
}

struct Text<const LEN: usize> {
    bytes: [u8; LEN],
    len: usize,
}

impl<const LEN: usize> Text<LEN> {
    const fn new() -> Self {
        Self { bytes: [0; LEN], len: 0 }
    }

    const fn all(&mut self, parts: &[&str]) {
        let mut part = 0;
        while part < parts.len() {
            let bytes = parts[part].as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                let is_last = bytes[at] == b']' && self.len > 0 && self.bytes[self.len - 1] == b',';
                if is_last {
                    self.len -= 1;
                }
                self.bytes[self.len] = bytes[at];
                self.len += 1;
                at += 1;
            }
            part += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_end_without_a_comma() {
        const LIST: &[&str] = &["{\"a\":[", "1,", "2,", "],\"b\":[", "]}"];
        const TEXT: [u8; text_len(LIST)] = text(LIST);
        assert_eq!(core::str::from_utf8(&TEXT), Ok("{\"a\":[1,2],\"b\":[]}"));
    }
}
