//! Tokens with a role: beginning of sequence, padding and so on.

/// A role that one token of a vocabulary can have.
///
/// The numbers are those of `tokens.bin` and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`name` has the usual name of each, `gguf_key` its GGUF key")]
pub enum Special {
    Bos = 0,
    Eos = 1,
    Unk = 2,
    Sep = 3,
    Pad = 4,
    Cls = 5,
    Mask = 6,
    Eot = 7,
    Eom = 8,
    Prefix = 9,
    Suffix = 10,
    Middle = 11,
    FimPre = 12,
    FimSuf = 13,
    FimMid = 14,
    FimPad = 15,
    FimRep = 16,
    FimSep = 17,
}

impl Special {
    /// All roles, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Bos,
        Self::Eos,
        Self::Unk,
        Self::Sep,
        Self::Pad,
        Self::Cls,
        Self::Mask,
        Self::Eot,
        Self::Eom,
        Self::Prefix,
        Self::Suffix,
        Self::Middle,
        Self::FimPre,
        Self::FimSuf,
        Self::FimMid,
        Self::FimPad,
        Self::FimRep,
        Self::FimSep,
    ];

    /// The name used in configs, such as `bos` of `bos_token`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bos => "bos",
            Self::Eos => "eos",
            Self::Unk => "unk",
            Self::Sep => "sep",
            Self::Pad => "pad",
            Self::Cls => "cls",
            Self::Mask => "mask",
            Self::Eot => "eot",
            Self::Eom => "eom",
            Self::Prefix => "prefix",
            Self::Suffix => "suffix",
            Self::Middle => "middle",
            Self::FimPre => "fim_pre",
            Self::FimSuf => "fim_suf",
            Self::FimMid => "fim_mid",
            Self::FimPad => "fim_pad",
            Self::FimRep => "fim_rep",
            Self::FimSep => "fim_sep",
        }
    }

    /// The GGUF key under which runtimes look for the id. Three of them are spelled unlike the
    /// role, one of those wrongly; the format has it so.
    #[must_use]
    pub fn gguf_key(self) -> &'static str {
        match self {
            Self::Bos => "tokenizer.ggml.bos_token_id",
            Self::Eos => "tokenizer.ggml.eos_token_id",
            Self::Unk => "tokenizer.ggml.unknown_token_id",
            Self::Sep => "tokenizer.ggml.seperator_token_id",
            Self::Pad => "tokenizer.ggml.padding_token_id",
            Self::Cls => "tokenizer.ggml.cls_token_id",
            Self::Mask => "tokenizer.ggml.mask_token_id",
            Self::Eot => "tokenizer.ggml.eot_token_id",
            Self::Eom => "tokenizer.ggml.eom_token_id",
            Self::Prefix => "tokenizer.ggml.prefix_token_id",
            Self::Suffix => "tokenizer.ggml.suffix_token_id",
            Self::Middle => "tokenizer.ggml.middle_token_id",
            Self::FimPre => "tokenizer.ggml.fim_pre_token_id",
            Self::FimSuf => "tokenizer.ggml.fim_suf_token_id",
            Self::FimMid => "tokenizer.ggml.fim_mid_token_id",
            Self::FimPad => "tokenizer.ggml.fim_pad_token_id",
            Self::FimRep => "tokenizer.ggml.fim_rep_token_id",
            Self::FimSep => "tokenizer.ggml.fim_sep_token_id",
        }
    }

    /// The role with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|special| special.name() == name)
    }

    /// The role's bit in a set of roles.
    #[must_use]
    pub fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_keys_are_distinct() {
        for (i, special) in Special::ALL.into_iter().enumerate() {
            assert_eq!(special as usize, i);
            assert_eq!(Special::from_name(special.name()), Some(special));
            for other in &Special::ALL[..i] {
                assert_ne!(special.gguf_key(), other.gguf_key());
            }
        }
        assert_eq!(Special::from_name("boss"), None);
    }
}
