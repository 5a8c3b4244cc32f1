//! The little of Protocol Buffers that is needed to read one.
//!
//! Definition: the Protocol Buffers encoding documentation (wire types 0, 1, 2 and 5; groups, types
//! 3 and 4, are long gone and refused).

use gmat_core::{Error, Result};

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'a> {
    /// Integers, truth values, enums.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// Texts, bytes, messages.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32([u8; 4]),
}

/// The fields of a message, one after the other.
pub(crate) struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    /// A message of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next field with its number; `None` at the end.
    ///
    /// # Errors
    /// `Malformed` if the bytes are cut off or not a message.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.array()?),
            2 => {
                let len = self.varint()?;
                let (bytes, rest) = usize::try_from(len)
                    .ok()
                    .and_then(|len| self.0.split_at_checked(len))
                    .ok_or_else(|| bad(&format!("{len} bytes announced, {} left", self.0.len())))?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(self.array()?),
            other => return Err(bad(&format!("wire type {other}"))),
        };
        match tag >> 3 {
            0 => Err(bad("field number 0")),
            number => Ok(Some((number, field))),
        }
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(|| bad("a number cut off"))?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a number of more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(|| bad("a field cut off"))?;
        self.0 = rest;
        Ok(*bytes)
    }
}

fn bad(what: &str) -> Error {
    Error::malformed(format!("not a protobuf message: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>> {
        let mut message = Message::new(bytes);
        let mut fields = Vec::new();
        while let Some(field) = message.next()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn fields_of_every_type() {
        let bytes = b"\x08\x96\x01\x12\x02hi\x1d\0\0\x80\x3f\x21\x01\0\0\0\0\0\0\0";
        assert_eq!(
            all(bytes).unwrap(),
            [
                (1, Field::Varint(150)),
                (2, Field::Bytes(b"hi")),
                (3, Field::Fixed32([0, 0, 0x80, 0x3f])),
                (4, Field::Fixed64([1, 0, 0, 0, 0, 0, 0, 0])),
            ]
        );
    }

    #[test]
    fn broken_messages_are_refused() {
        for bytes in [
            &b"\x08"[..],
            b"\x12\x05hi",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x00\x01",
            b"\x1d\0",
            b"\x19\0",
        ] {
            assert!(all(bytes).is_err(), "{bytes:x?}");
        }
    }
}
