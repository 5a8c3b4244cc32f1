//! The tensor types a GGUF file can hold, by name and block length, and what takes the place of a
//! type whose block does not divide the row.
//!
//! Block lengths are those of the format (ggml's type table); the substitutes are the ones
//! `llama-quantize` takes, so that an export has the tensor types its users expect.

use crate::error::Result;
use crate::recipe::FileType;
use crate::registry::unknown;

/// Makes the enum, its names and its block lengths from one list.
macro_rules! tensor_types {
    ($($variant:ident $name:literal $block:literal),+ $(,)?) => {
        /// A tensor type; only what a recipe needs to know of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Ty { $($variant),+ }

        impl Ty {
            /// Every type, plain integers included.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, lowercase.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Weights in a block; rows must be a multiple of it.
            pub(crate) const fn block(self) -> u64 {
                match self { $(Self::$variant => $block),+ }
            }
        }
    };
}

tensor_types! {
    F32 "f32" 1, F16 "f16" 1, Bf16 "bf16" 1,
    Q4_0 "q4_0" 32, Q4_1 "q4_1" 32, Q5_0 "q5_0" 32, Q5_1 "q5_1" 32, Q8_0 "q8_0" 32,
    Q2K "q2_k" 256, Q3K "q3_k" 256, Q4K "q4_k" 256, Q5K "q5_k" 256, Q6K "q6_k" 256,
    Iq1S "iq1_s" 256, Iq1M "iq1_m" 256, Iq2Xxs "iq2_xxs" 256, Iq2Xs "iq2_xs" 256,
    Iq2S "iq2_s" 256, Iq3Xxs "iq3_xxs" 256, Iq3S "iq3_s" 256,
    Iq4Nl "iq4_nl" 32, Iq4Xs "iq4_xs" 256,
    Tq1_0 "tq1_0" 256, Tq2_0 "tq2_0" 256,
    Mxfp4 "mxfp4" 32, Nvfp4 "nvfp4" 64, Q1_0 "q1_0" 128, Q2_0 "q2_0" 64,
    I8 "i8" 1, I16 "i16" 1, I32 "i32" 1, I64 "i64" 1, F64 "f64" 1,
}

impl Ty {
    /// Whether weights can be stored as this type; integers and `f64` are for other data.
    pub(crate) const fn holds_weights(self) -> bool {
        !matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::F64)
    }

    /// Whether it is a quantized type, and not plain numbers.
    pub(crate) const fn is_quantized(self) -> bool {
        self.block() > 1
    }

    /// The type itself if its block divides rows of `cols`, else its substitute; `None` if it has
    /// none.
    pub(crate) fn fit(self, cols: u64) -> Option<Self> {
        if cols.is_multiple_of(self.block()) {
            return Some(self);
        }
        let substitute = match self {
            Self::Iq1S
            | Self::Iq1M
            | Self::Iq2Xxs
            | Self::Iq2Xs
            | Self::Iq2S
            | Self::Iq3Xxs
            | Self::Iq3S
            | Self::Iq4Xs => Self::Iq4Nl,
            Self::Q2_0 | Self::Q2K | Self::Q3K | Self::Tq1_0 | Self::Tq2_0 => Self::Q4_0,
            Self::Q4K => Self::Q5_0,
            Self::Q5K => Self::Q5_1,
            Self::Q6K => Self::Q8_0,
            // Larger than 32, and nothing was ever defined for them.
            Self::Q1_0 | Self::Nvfp4 => return None,
            // Already the smallest block: only plain numbers are left.
            _ => Self::F16,
        };
        Some(if cols.is_multiple_of(substitute.block()) { substitute } else { Self::F16 })
    }

    /// The type meant by the name of a type or of a mix, in any case.
    pub(crate) fn of_tensor(name: &str) -> Option<Self> {
        let plain = Self::ALL
            .iter()
            .copied()
            .find(|ty| ty.holds_weights() && ty.name().eq_ignore_ascii_case(name));
        // A name that is both (`iq2_s`, whose mix is mostly `iq2_xs`) means the type.
        plain.or_else(|| FileType::from_name(name).map(FileType::base))
    }
}

/// Weights in a block of the tensor type of that exact (lowercase) name: every type that a GGUF
/// file can hold, plain integers and `f64` included.
#[must_use]
pub fn block_elems(name: &str) -> Option<u64> {
    Ty::ALL.iter().find(|ty| ty.name() == name).map(|ty| ty.block())
}

/// What a name means for a single tensor, in any case: a tensor type is itself, a mix is its base
/// type (`q4_k_m` is `q4_k`, `iq2_m` is `iq2_s`). `None` for unknown names and for types that do
/// not hold weights.
#[must_use]
pub fn base_type(name: &str) -> Option<&'static str> {
    Ty::of_tensor(name).map(Ty::name)
}

/// Like [`base_type`].
///
/// # Errors
/// `Config` for an unknown name, with the nearest valid spelling.
pub fn parse_type(name: &str) -> Result<&'static str> {
    base_type(name).ok_or_else(|| unknown_type(name))
}

/// The error for a name that no tensor type or mix has.
pub(crate) fn unknown_type(name: &str) -> crate::Error {
    let types = Ty::ALL.iter().filter(|ty| ty.holds_weights()).map(|ty| ty.name());
    let mixes = FileType::ALL.iter().map(|mix| mix.name());
    let mixes = mixes.filter(|mix| Ty::ALL.iter().all(|ty| ty.name() != *mix));
    unknown("quantization type", name, types.chain(mixes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lowercase() {
        for (at, ty) in Ty::ALL.iter().enumerate() {
            assert_eq!(ty.name(), ty.name().to_ascii_lowercase());
            assert!(Ty::ALL[at + 1..].iter().all(|other| other.name() != ty.name()));
            assert_eq!(block_elems(ty.name()), Some(ty.block()));
        }
        assert_eq!(block_elems("q4_k_m"), None);
    }

    #[test]
    fn per_tensor_names_mean_base_types() {
        let pairs = [
            ("q4_k_m", "q4_k"),
            ("Q4_K_S", "q4_k"),
            ("q4_k", "q4_k"),
            ("Q3_K", "q3_k"),
            ("q2_k_s", "q2_k"),
            ("iq2_m", "iq2_s"),
            ("iq2_s", "iq2_s"),
            ("iq3_xs", "iq3_s"),
            ("IQ3_M", "iq3_s"),
            ("mxfp4", "mxfp4"),
            ("mxfp4_moe", "mxfp4"),
            ("BF16", "bf16"),
            ("nvfp4", "nvfp4"),
        ];
        for (name, ty) in pairs {
            assert_eq!(base_type(name), Some(ty), "{name}");
        }
        for name in ["", "q4km", "q4_k_l", "i32", "f64", "copy"] {
            assert_eq!(base_type(name), None, "{name}");
        }
        let error = parse_type("q4km").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `q4_k_m`?"));
    }

    #[test]
    fn substitutes_by_row_length() {
        // (row length, wanted, taken); row lengths from the largest block down to none.
        let cases = [
            (512, Ty::Q4K, Some(Ty::Q4K)),
            (4544, Ty::Q4K, Some(Ty::Q5_0)),
            (4544, Ty::Q5K, Some(Ty::Q5_1)),
            (4544, Ty::Q6K, Some(Ty::Q8_0)),
            (4544, Ty::Q2K, Some(Ty::Q4_0)),
            (4544, Ty::Tq1_0, Some(Ty::Q4_0)),
            (4544, Ty::Iq4Xs, Some(Ty::Iq4Nl)),
            (4544, Ty::Iq1M, Some(Ty::Iq4Nl)),
            (96, Ty::Q2_0, Some(Ty::Q4_0)),
            (100, Ty::Q4K, Some(Ty::F16)),
            (100, Ty::Q8_0, Some(Ty::F16)),
            (100, Ty::Mxfp4, Some(Ty::F16)),
            (100, Ty::Iq4Nl, Some(Ty::F16)),
            (128, Ty::Q1_0, Some(Ty::Q1_0)),
            (4544, Ty::Q1_0, None),
            (96, Ty::Nvfp4, None),
            (1, Ty::Bf16, Some(Ty::Bf16)),
        ];
        for (cols, wanted, taken) in cases {
            assert_eq!(wanted.fit(cols), taken, "{wanted:?} in rows of {cols}");
        }
    }
}
