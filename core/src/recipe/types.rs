//! What a recipe knows of tensor types: which hold weights, what their names mean, and what takes
//! the place of a type whose block does not divide the row.
//!
//! The substitutes are the ones `llama-quantize` takes, so that an export has the tensor types its
//! users expect.

use crate::error::Result;
pub(crate) use crate::ggml::GgmlType as Ty;
use crate::recipe::FileType;
use crate::registry::unknown;

impl Ty {
    /// Whether weights can be stored as this type; integers and `f64` are for other data.
    pub(crate) const fn holds_weights(self) -> bool {
        !matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::F64)
    }

    /// The type itself if its block divides rows of `cols`, else its substitute; `None` if it has
    /// none.
    pub(crate) fn fit(self, cols: u64) -> Option<Self> {
        if self.divides(cols) {
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
        Some(if substitute.divides(cols) { substitute } else { Self::F16 })
    }

    fn divides(self, cols: u64) -> bool {
        self.block().len_of(cols).is_some()
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
