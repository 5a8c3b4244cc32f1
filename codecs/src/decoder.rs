//! What decoder-only language models have in common: hyperparameters and their GGUF keys, rotary
//! embeddings, and the usual tensor names. An architecture is composed of these parts.

pub(crate) use self::expected::expected;
pub(crate) use self::hparams::{ClassDefaults, Hparams};
pub(crate) use self::names::{
    ATTENTION, EMBEDDINGS, FEED_FORWARD, Module, NORMS, Named, QK_NORMS, find,
};
pub(crate) use self::rope::Rope;

mod expected;
mod hparams;
mod names;
mod rope;

use gmat_core::arch::Score;
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};

/// Whether a model is of the classes `hf_names`, or wraps (or is) a text model whose `model_type`
/// is among `model_types` without naming that text model's class.
pub(crate) fn score(config: &ModelConfig, hf_names: &[&str], model_types: &[&str]) -> Score {
    let class = config.architecture();
    if class.is_some_and(|name| hf_names.contains(&name)) {
        return Score::Certain;
    }
    let outer_class = config.root().get("architectures").and_then(|list| list.get(0)?.as_str());
    // A text model that names its class is that class, whatever its type.
    let unnamed = class.is_none() || (config.is_nested() && class == outer_class);
    let model_type = config.str(&["model_type"]).ok().flatten();
    if unnamed && model_type.is_some_and(|name| model_types.contains(&name)) {
        Score::Likely
    } else {
        Score::No
    }
}

/// Refuses configs that ask for what a plain dense decoder does not compute: such a file would
/// load and talk nonsense.
///
/// # Errors
/// `Unsupported`, naming the key; `Malformed` if a key is of the wrong type.
pub(crate) fn require_plain(config: &ModelConfig, arch: &str) -> Result<()> {
    for key in ["num_local_experts", "num_experts", "n_routed_experts"] {
        if let Some(count) = config.u64(&[key])?.filter(|&count| count > 0) {
            return Err(Error::unsupported(format!(
                "`{key}` in {} is {count}: mixtures of experts are not supported for `{arch}`",
                config.place_of(&[key])
            )));
        }
    }
    if config.value(&["draft_vocab_size"]).is_some() {
        return Err(Error::unsupported(
            "`config.json` has `draft_vocab_size`: this is a draft model, which cannot run alone",
        ));
    }
    match config.str(&["hidden_act", "hidden_activation"])? {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(Error::unsupported(format!(
            "`hidden_act` in `config.json` is `{other}`; `{arch}` computes `silu` only"
        ))),
    }
}

/// Rotary embeddings of an architecture for which runtimes read no tensor of factors.
///
/// # Errors
/// As [`Rope::read`]; `Unsupported` for a scaling that would need such a tensor.
pub(crate) fn key_only_rope(config: &ModelConfig, theta: f64, arch: &str) -> Result<Rope> {
    let rope = Rope::read(config, theta)?;
    if matches!(rope.scaling, rope::Scaling::Llama3 { .. }) {
        return Err(Error::unsupported(format!(
            "`rope_type` in `config.json` is `llama3`, which runtimes do not know for `{arch}`"
        )));
    }
    Ok(rope)
}

/// A JSON number as the 32-bit float that GGUF holds.
///
/// # Errors
/// `Malformed`, naming the key, if it is not finite in 32 bits.
pub(crate) fn float(key: &str, value: f64) -> Result<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the point")]
    let rounded = value as f32;
    if rounded.is_finite() {
        Ok(rounded)
    } else {
        Err(Error::malformed(format!(
            "`{key}` in `config.json` is {value}, which is no 32-bit float"
        )))
    }
}
