//! File types: what `default_type` names, each a recipe that gives every tensor a type.
//!
//! Numbers are the values of `general.file_type` in the GGUF specification; base types are those
//! `llama-quantize` starts from.

use crate::error::Result;
use crate::recipe::types::Ty;
use crate::registry::unknown;

/// Makes the enum, its names, numbers and base types from one list.
macro_rules! file_types {
    ($($variant:ident $name:literal $id:literal $base:ident),+ $(,)?) => {
        /// A file type of `llama-quantize`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the names are the standard ones of GGUF files")]
        pub enum FileType { $($variant),+ }

        impl FileType {
            /// Every file type.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, lowercase.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The number stored as `general.file_type`.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self { $(Self::$variant => $id),+ }
            }

            pub(crate) const fn base(self) -> Ty {
                match self { $(Self::$variant => Ty::$base),+ }
            }
        }
    };
}

file_types! {
    F32 "f32" 0 F32,
    F16 "f16" 1 F16,
    Bf16 "bf16" 32 Bf16,
    Q4_0 "q4_0" 2 Q4_0,
    Q4_1 "q4_1" 3 Q4_1,
    Q5_0 "q5_0" 8 Q5_0,
    Q5_1 "q5_1" 9 Q5_1,
    Q8_0 "q8_0" 7 Q8_0,
    Q2K "q2_k" 10 Q2K,
    Q2KS "q2_k_s" 21 Q2K,
    Q3KS "q3_k_s" 11 Q3K,
    Q3KM "q3_k_m" 12 Q3K,
    Q3KL "q3_k_l" 13 Q3K,
    Q4KS "q4_k_s" 14 Q4K,
    Q4KM "q4_k_m" 15 Q4K,
    Q5KS "q5_k_s" 16 Q5K,
    Q5KM "q5_k_m" 17 Q5K,
    Q6K "q6_k" 18 Q6K,
    Iq1S "iq1_s" 24 Iq1S,
    Iq1M "iq1_m" 31 Iq1M,
    Iq2Xxs "iq2_xxs" 19 Iq2Xxs,
    Iq2Xs "iq2_xs" 20 Iq2Xs,
    // The mixes of these two start one size below their names.
    Iq2S "iq2_s" 28 Iq2Xs,
    Iq2M "iq2_m" 29 Iq2S,
    Iq3Xxs "iq3_xxs" 23 Iq3Xxs,
    Iq3Xs "iq3_xs" 22 Iq3S,
    Iq3S "iq3_s" 26 Iq3S,
    Iq3M "iq3_m" 27 Iq3S,
    Iq4Nl "iq4_nl" 25 Iq4Nl,
    Iq4Xs "iq4_xs" 30 Iq4Xs,
    Tq1_0 "tq1_0" 36 Tq1_0,
    Tq2_0 "tq2_0" 37 Tq2_0,
    Mxfp4Moe "mxfp4_moe" 38 Mxfp4,
    Nvfp4 "nvfp4" 39 Nvfp4,
    Q1_0 "q1_0" 40 Q1_0,
    Q2_0 "q2_0" 41 Q2_0,
}

impl FileType {
    /// The file type of that name, in any case; `q3_k`, `q4_k` and `q5_k` are short for the `_m`
    /// mixes.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let aliases = [("q3_k", Self::Q3KM), ("q4_k", Self::Q4KM), ("q5_k", Self::Q5KM)];
        let names = Self::ALL.iter().map(|&mix| (mix.name(), mix));
        names
            .chain(aliases)
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, file_type)| file_type)
    }

    /// Like [`Self::from_name`].
    ///
    /// # Errors
    /// `Config` for an unknown name, with the nearest valid spelling.
    pub fn parse(name: &str) -> Result<Self> {
        Self::from_name(name).ok_or_else(|| {
            let error = unknown("default type", name, Self::ALL.iter().map(|mix| mix.name()));
            // A type without a file type of its own (`mxfp4`): name the one that uses it.
            let of_type = Ty::of_tensor(name)
                .and_then(|ty| Self::ALL.iter().find(|mix| mix.base() == ty))
                .map(|mix| format!("`{name}` is for single tensors; did you mean `{mix}`?"));
            match of_type {
                Some(hint) => crate::Error::config(error.message()).with_hint(hint),
                None => error,
            }
        })
    }

    /// The tensor type that most tensors get.
    #[must_use]
    pub const fn default_type(self) -> &'static str {
        self.base().name()
    }
}

impl std::fmt::Display for FileType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_unique() {
        for (at, mix) in FileType::ALL.iter().enumerate() {
            assert_eq!(FileType::from_name(mix.name()), Some(*mix));
            assert_eq!(FileType::from_name(&mix.name().to_ascii_uppercase()), Some(*mix));
            for other in &FileType::ALL[at + 1..] {
                assert_ne!(mix.name(), other.name());
                assert_ne!(mix.id(), other.id());
            }
        }
        assert_eq!(FileType::ALL.len(), 36);
    }

    #[test]
    fn short_names_mean_the_medium_mix() {
        assert_eq!(FileType::from_name("Q3_K"), Some(FileType::Q3KM));
        assert_eq!(FileType::from_name("q4_k"), Some(FileType::Q4KM));
        assert_eq!(FileType::from_name("q5_K"), Some(FileType::Q5KM));
        assert_eq!(FileType::from_name("q2_k"), Some(FileType::Q2K));
        assert_eq!(FileType::from_name("q6_k_m"), None);
        let error = FileType::parse("mxfp4").unwrap_err();
        assert_eq!(error.hint(), Some("`mxfp4` is for single tensors; did you mean `mxfp4_moe`?"));
        let error = FileType::parse("q4km").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `q4_k_m`?"));
    }

    #[test]
    fn base_types_that_are_not_in_the_name() {
        assert_eq!(FileType::Iq2S.default_type(), "iq2_xs");
        assert_eq!(FileType::Iq2M.default_type(), "iq2_s");
        assert_eq!(FileType::Iq3Xs.default_type(), "iq3_s");
        assert_eq!(FileType::Mxfp4Moe.default_type(), "mxfp4");
        for mix in FileType::ALL {
            let shared = mix.name().starts_with(mix.default_type());
            let renamed = [FileType::Iq2S, FileType::Iq2M, FileType::Iq3Xs, FileType::Iq3M];
            assert!(shared || renamed.contains(mix), "{mix}");
        }
    }
}
