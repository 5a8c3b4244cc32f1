//! Recipes: which tensor type each tensor of a model gets. Pure functions of names and shapes;
//! nothing here knows codecs or reads data.
//!
//! The mixtures are those of `llama-quantize`, so that a `q4_k_m` file of gmat has the types a
//! `Q4_K_M` file of llama.cpp has. `default_type` names a mix ([`FileType`]), `per_tensor` names
//! a type ([`base_type`]), and [`assign`] resolves both together with row lengths that a type
//! cannot hold. [`recommend`] fills in `per_tensor` for a generated config.

pub use self::assign::{assign, needs_importance};
pub use self::file_type::FileType;
pub use self::recommend::recommend;
pub use self::types::{base_type, parse_type};

mod assign;
mod file_type;
mod mixture;
mod recommend;
mod role;
mod types;

/// What the mixtures depend on besides the tensors.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// The GGUF architecture name (`general.architecture`).
    pub arch: &'a str,
    /// Layers (`block_count`).
    pub block_count: u32,
    /// Attention heads of the first layer.
    pub heads: u32,
    /// Key and value heads of the first layer; as many as `heads` where a model does not say.
    pub kv_heads: u32,
    /// Experts per layer; 0 in dense models.
    pub experts: u32,
    /// Whether importance data was given, whatever tensors it covers.
    pub has_importance: bool,
}

/// A tensor as it will be named and shaped in the GGUF file.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// The GGUF name.
    pub name: &'a str,
    /// Dimensions, fastest first (the order of GGUF), trailing ones as the source has them.
    pub dims: &'a [u64],
}

impl Tensor<'_> {
    /// Number of dimensions, not counting trailing ones.
    pub(crate) fn rank(&self) -> usize {
        self.dims.iter().rposition(|&dim| dim > 1).map_or(0, |last| last + 1)
    }

    /// Weights in a row.
    pub(crate) fn cols(&self) -> u64 {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Size of the third dimension: experts, in stacks of them.
    pub(crate) fn slices(&self) -> u64 {
        self.dims.get(2).copied().unwrap_or(1)
    }
}

/// The type of one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The name of the type (`q4_k`).
    pub ty: &'static str,
    /// Where it comes from.
    pub why: Why,
}

/// Where a type comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The tensor must not be quantized and is `f32`.
    KeptF32 {
        /// Why it must not.
        reason: &'static str,
        /// Whether another type was asked for by name, in vain.
        overridden: bool,
    },
    /// The base type of the file type.
    Default,
    /// The file type gives tensors of this role another type.
    Role(&'static str),
    /// The type that it is stored in.
    Stored,
    /// Asked for by name.
    Override,
    /// The row length is no multiple of the block of the type that would have been taken.
    Fallback {
        /// That type.
        wanted: &'static str,
    },
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeptF32 { reason, overridden: false } => write!(f, "kept: {reason}"),
            Self::KeptF32 { reason, overridden: true } => {
                write!(f, "kept in spite of per_tensor: {reason}")
            }
            Self::Default => f.write_str("default"),
            Self::Stored => f.write_str("stored so"),
            Self::Role(role) => f.write_str(role),
            Self::Override => f.write_str("per_tensor"),
            Self::Fallback { wanted } => write!(f, "rows do not fit `{wanted}`"),
        }
    }
}
