//! The tensor types of GGUF files: names, ids and block sizes.
//!
//! Source: the type table of the ggml project. Ids are part of the GGUF format and never reused;
//! types that ggml has removed, or that only live in memory (`q8_k`), are not in the list.

use crate::tensor::BlockSize;

/// Makes the enum and its table from one list.
macro_rules! ggml_types {
    ($($variant:ident $name:literal $id:literal $elems:literal $bytes:literal),+ $(,)?) => {
        /// A tensor type of GGUF files, whether or not there is a codec for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the variants are the standard names of the ggml project")]
        #[non_exhaustive]
        pub enum GgmlType { $($variant),+ }

        impl GgmlType {
            /// Every type, plain numbers included.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, lowercase.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The type id in GGUF files.
            #[must_use]
            pub const fn id(self) -> u8 {
                match self { $(Self::$variant => $id),+ }
            }

            /// Size of one block; rows are a multiple of it.
            #[must_use]
            pub const fn block(self) -> BlockSize {
                match self { $(Self::$variant => BlockSize { elems: $elems, bytes: $bytes }),+ }
            }
        }
    };
}

ggml_types! {
    F32 "f32" 0 1 4, F16 "f16" 1 1 2, Bf16 "bf16" 30 1 2,
    Q4_0 "q4_0" 2 32 18, Q4_1 "q4_1" 3 32 20, Q5_0 "q5_0" 6 32 22, Q5_1 "q5_1" 7 32 24,
    Q8_0 "q8_0" 8 32 34,
    Q2K "q2_k" 10 256 84, Q3K "q3_k" 11 256 110, Q4K "q4_k" 12 256 144, Q5K "q5_k" 13 256 176,
    Q6K "q6_k" 14 256 210,
    Iq1S "iq1_s" 19 256 50, Iq1M "iq1_m" 29 256 56, Iq2Xxs "iq2_xxs" 16 256 66,
    Iq2Xs "iq2_xs" 17 256 74, Iq2S "iq2_s" 22 256 82, Iq3Xxs "iq3_xxs" 18 256 98,
    Iq3S "iq3_s" 21 256 110, Iq4Nl "iq4_nl" 20 32 18, Iq4Xs "iq4_xs" 23 256 136,
    Tq1_0 "tq1_0" 34 256 54, Tq2_0 "tq2_0" 35 256 66,
    Mxfp4 "mxfp4" 39 32 17, Nvfp4 "nvfp4" 40 64 36, Q1_0 "q1_0" 41 128 18, Q2_0 "q2_0" 42 64 18,
    I8 "i8" 24 1 1, I16 "i16" 25 1 2, I32 "i32" 26 1 4, I64 "i64" 27 1 8, F64 "f64" 28 1 8,
}

impl GgmlType {
    /// The type of that exact (lowercase) name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.name() == name)
    }

    /// The type with that id in GGUF files.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| u32::from(ty.id()) == id)
    }

    /// Whether it is a quantized type, made of blocks, and not plain numbers.
    #[must_use]
    pub const fn is_quantized(self) -> bool {
        self.block().elems > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_unique() {
        for (at, ty) in GgmlType::ALL.iter().enumerate() {
            assert_eq!(ty.name(), ty.name().to_ascii_lowercase());
            let later = &GgmlType::ALL[at + 1..];
            assert!(later.iter().all(|other| other.name() != ty.name() && other.id() != ty.id()));
            assert_eq!(GgmlType::from_name(ty.name()), Some(*ty));
            assert_eq!(GgmlType::from_id(ty.id().into()), Some(*ty));
        }
        assert_eq!(GgmlType::from_name("q4_k_m"), None);
        assert_eq!(GgmlType::from_id(4), None);
    }
}
