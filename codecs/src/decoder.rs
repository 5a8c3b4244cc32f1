//! What decoder-only language models have in common: hyperparameters and their GGUF keys, rotary
//! embeddings, and the usual tensor names. An architecture is composed of these parts.

pub(crate) use self::expected::{Needs, dim, expected, norms_of_heads};
pub(crate) use self::experts::{
    EXPERTS, Experts, ROUTER, SHARED_EXPERT, SHARED_EXPERTS, expected_experts, expected_of_mixture,
    refuse_dense_layers, require_norm, write_size,
};
pub(crate) use self::gemma::{
    GEMMA_EMBEDDINGS, GEMMA_NORMS, GEMMA_QK_NORMS, GEMMA_SANDWICH_NORMS, check_gemma,
};
pub(crate) use self::hparams::{ClassDefaults, Epsilon, Hparams, MAX_LAYERS, MAX_WIDTH, bounded};
pub(crate) use self::latent::{LATENT_ATTENTION, LATENT_KEYS_AND_VALUES, Latent, attention_scale};
pub(crate) use self::left_out::dropped;
pub(crate) use self::modules::{
    ATTENTION, BIASED_EMBEDDINGS, BIASED_NORMS, FEED_FORWARD, FUSED_FEED_FORWARD,
    INTERLEAVED_ATTENTION, NORMS, QK_NORMS, TIED_EMBEDDINGS,
};
pub(crate) use self::names::{Leaves, Module, Names, Target, first_half, modules, second_half};
pub(crate) use self::nomic::Nomic;
pub(crate) use self::output::{no_output, write_factor, write_granite_factors};
pub(crate) use self::plain::{FUSED_HEADS, Plain, only};
pub(crate) use self::pooling::write_pooling;
pub(crate) use self::rope::Rope;
pub(crate) use self::scaling::{Scaling, original_context};
pub(crate) use self::sliding::{Pattern, Sliding};
pub(crate) use self::t5::T5;
pub(crate) use self::wanted::{Wanted, wanted};

mod expected;
mod experts;
mod gemma;
mod hparams;
mod latent;
mod left_out;
mod long;
mod modules;
mod names;
mod nomic;
mod output;
mod plain;
mod pooling;
mod rope;
mod scaling;
mod sliding;
mod t5;
mod wanted;

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

/// What runtimes compute for an architecture.
pub(crate) struct Computes {
    /// Names of the activation function in configs.
    pub(crate) activations: &'static [&'static str],
    /// Whether the feed-forward network may be a mixture of experts.
    pub(crate) experts: bool,
}

impl Computes {
    /// A gated network without experts.
    pub(crate) const DENSE: Self = Self { activations: &["silu", "swish"], experts: false };
    /// A network with the tanh approximation of GELU, which runtimes use for the exact one as well.
    pub(crate) const GELU: Self = Self {
        activations: &["gelu_pytorch_tanh", "gelu", "gelu_new", "gelu_fast"],
        experts: false,
    };
    /// A mixture of such networks.
    pub(crate) const EXPERTS: Self = Self { experts: true, ..Self::DENSE };

    /// Refuses configs that ask for something else: such a file would load and talk nonsense.
    ///
    /// # Errors
    /// `Unsupported`, naming the key; `Malformed` if a key is of the wrong type.
    pub(crate) fn check(&self, config: &ModelConfig, arch: &str) -> Result<()> {
        let count = Experts::count(config)?;
        if count > 0 && !self.experts {
            return Err(Error::unsupported(format!(
                "{} has {count} experts (`num_local_experts`, `num_experts` or `n_routed_experts`): mixtures of experts are not supported for `{arch}`",
                config.place()
            )));
        }
        if config.value(&["draft_vocab_size"]).is_some() {
            return Err(Error::unsupported(format!(
                "{} has `draft_vocab_size`: this is a draft model, which cannot run alone",
                config.place_of(&["draft_vocab_size"])
            )));
        }
        let keys = ["hidden_act", "hidden_activation", "activation_function"];
        match config.str(&keys)? {
            Some(other) if !self.activations.contains(&other) => Err(Error::unsupported(format!(
                "the activation (`hidden_act`) in {} is `{other}`; runtimes compute {} for `{arch}`",
                config.place_of(&keys),
                self.activations.join(" or ")
            ))),
            _ => Ok(()),
        }
    }
}

/// Refuses a config that sets an option which runtimes do not know for an architecture.
///
/// # Errors
/// `Unsupported`, naming the key; `Malformed` if it is neither true nor false.
pub(crate) fn refuse_true(config: &ModelConfig, key: &str, arch: &str) -> Result<()> {
    match config.bool(&[key])? {
        Some(true) => Err(Error::unsupported(format!(
            "`{key}` in {} is true, which runtimes do not know for `{arch}`",
            config.place_of(&[key])
        ))),
        _ => Ok(()),
    }
}

/// Names of GELU in configs: runtimes compute its tanh approximation for all of them.
pub(crate) const GELUS: &[&str] = &["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"];

/// Rotary embeddings of an architecture for which runtimes read no tensor of factors.
///
/// # Errors
/// As [`Rope::read`]; `Unsupported` for a scaling that would need such a tensor.
pub(crate) fn key_only_rope(config: &ModelConfig, theta: f64, arch: &str) -> Result<Rope> {
    without_tensor(Rope::read(config, theta)?, arch)
}

/// The same for heads of which only a share may be rotated.
///
/// # Errors
/// As [`Rope::read_partial`]; `Unsupported` for a scaling that would need such a tensor.
pub(crate) fn partial_rope(
    config: &ModelConfig,
    theta: f64,
    share: f64,
    arch: &str,
) -> Result<Rope> {
    without_tensor(Rope::read_partial(config, theta, share)?, arch)
}

/// The same without any scaling.
///
/// # Errors
/// As [`Rope::read_partial`]; `Unsupported` for a scaling.
pub(crate) fn unscaled_rope(
    config: &ModelConfig,
    theta: f64,
    share: f64,
    arch: &str,
) -> Result<Rope> {
    let rope = Rope::read_partial(config, theta, share)?;
    match rope.scaling {
        Scaling::None => Ok(rope),
        _ => Err(Error::unsupported(format!(
            "`rope_type` in `config.json`: runtimes do not scale rotary embeddings for `{arch}`"
        ))),
    }
}

/// The same for rotary embeddings of several dimensions, which runtimes cannot do without.
///
/// # Errors
/// As [`key_only_rope`]; `Malformed` if the config does not say how frequencies are shared out.
pub(crate) fn sectioned_rope(config: &ModelConfig, theta: f64, arch: &str) -> Result<Rope> {
    let rope = key_only_rope(config, theta, arch)?;
    if rope.sections.is_none() {
        return Err(Error::malformed(format!(
            "`rope_parameters` (or `rope_scaling`) in {} has no `mrope_section`, without which runtimes do not load `{arch}`",
            config.place_of(&["rope_parameters", "rope_scaling"])
        )));
    }
    Ok(rope)
}

fn without_tensor(rope: Rope, arch: &str) -> Result<Rope> {
    let kind = match rope.scaling {
        Scaling::Llama3 { .. } => "llama3",
        Scaling::Long { .. } => "longrope",
        _ => return Ok(rope),
    };
    Err(Error::unsupported(format!(
        "`rope_type` in `config.json` is `{kind}`, which runtimes do not know for `{arch}`"
    )))
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
