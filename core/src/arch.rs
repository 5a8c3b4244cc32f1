//! Model architectures: what GGUF calls a model's tensors and which keys it wants.

use crate::config::ModelConfig;
use crate::error::Result;
use crate::format::gguf::Meta;

/// How sure a probe is that something is its own. Highest wins; a tie is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Score {
    /// Not mine.
    No,
    /// It could be read this way, if nobody knows better.
    Fallback,
    /// Mine by its structure.
    Likely,
    /// Mine by name.
    Certain,
}

/// Where a source tensor goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Becomes this tensor.
    Tensor {
        /// GGUF name.
        name: String,
        /// Which source row each output row is.
        rows: RowMap,
    },
    /// Is left out on purpose, for this reason.
    Drop(&'static str),
}

/// A rearrangement of the rows of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowMap {
    /// As they are.
    Identity,
    /// Per head, from half-split rotary order to interleaved: source row `j * (d/2) + i` of a head
    /// of `d` rows (`j` 0 or 1) becomes row `2 * i + j`.
    RopeInterleave {
        /// Number of heads; rows must be an even multiple of it.
        heads: u64,
    },
}

/// A small tensor that is computed from the config, not read.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// GGUF name.
    pub name: String,
    /// Its values, one-dimensional, written as F32.
    pub values: Vec<f32>,
}

/// One model architecture.
pub trait ModelArch: Sync {
    /// The value of `general.architecture`.
    fn name(&self) -> &'static str;

    /// The class names in `architectures` of `config.json` that it stands for.
    fn hf_names(&self) -> &'static [&'static str];

    /// Whether a model is of this kind.
    fn score(&self, config: &ModelConfig) -> Score {
        let known = |name: &str| self.hf_names().contains(&name);
        if config.architecture().is_some_and(known) { Score::Certain } else { Score::No }
    }

    /// Where the source tensor of that name goes; `None` if the architecture does not know it.
    ///
    /// # Errors
    /// `Malformed` if the config lacks what the decision needs.
    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>>;

    /// Writes the architecture's keys (`<arch>.*`), without `general.*` and the tokenizer.
    ///
    /// # Errors
    /// `Malformed`, naming the key of `config.json` that is missing or wrong.
    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()>;

    /// Tensors computed from the config.
    ///
    /// # Errors
    /// `Malformed`, naming the key of `config.json` that is missing or wrong.
    fn generated(&self, config: &ModelConfig) -> Result<Vec<Generated>> {
        let _ = config;
        Ok(Vec::new())
    }
}
