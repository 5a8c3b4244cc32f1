//! Mixtures of experts: their number and how they are chosen.
//!
//! Config keys: those of the model classes of the `transformers` library. GGUF keys: `expert_*` of
//! the GGUF specification.

use gmat_core::arch::{Dim, Expected};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::expected::{dim, expected};
use super::float;
use super::hparams::{Hparams, MAX_HEADS, bounded};
use super::names::{Leaves, Module, Target, first_half, modules, second_half};

/// Experts, one tensor each or already stacked, with gate and up projection apart or in one.
pub(crate) const EXPERTS: &[Module] = &[
    Module::new("mlp.experts.*.gate_proj", Leaves::Weight, &[Target::whole("ffn_gate_exps")]),
    Module::new("mlp.experts.*.up_proj", Leaves::Weight, &[Target::whole("ffn_up_exps")]),
    Module::new("mlp.experts.*.down_proj", Leaves::Weight, &[Target::whole("ffn_down_exps")]),
    Module::new("mlp.experts.down_proj", Leaves::Bare("weight"), &[Target::whole("ffn_down_exps")]),
    Module::new("mlp.experts.gate_up_proj", Leaves::Bare("weight"), GATE_AND_UP),
    Module::new("mlp.experts.down_proj", Leaves::Weight, &[Target::whole("ffn_down_exps")]),
    Module::new("mlp.experts.gate_up_proj", Leaves::Weight, GATE_AND_UP),
];

/// The router.
pub(crate) const ROUTER: &[Module] = modules! {
    "mlp.gate" => "ffn_gate_inp";
};

/// An expert that sees every token.
pub(crate) const SHARED_EXPERT: &[Module] = modules! {
    "mlp.shared_expert.gate_proj" => "ffn_gate_shexp";
    "mlp.shared_expert.up_proj" => "ffn_up_shexp";
    "mlp.shared_expert.down_proj" => "ffn_down_shexp";
    "mlp.shared_expert_gate" => "ffn_gate_inp_shexp";
};

/// Experts that see every token, in one network, without a gate of their own.
pub(crate) const SHARED_EXPERTS: &[Module] = modules! {
    "mlp.shared_experts.gate_proj" => "ffn_gate_shexp";
    "mlp.shared_experts.up_proj" => "ffn_up_shexp";
    "mlp.shared_experts.down_proj" => "ffn_down_shexp";
};

/// The gate's rows, then those of the up projection.
const GATE_AND_UP: &[Target] =
    &[Target::view("ffn_gate_exps", first_half), Target::view("ffn_up_exps", second_half)];

/// What the keys of every mixture say.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Experts {
    /// How many there are.
    pub(super) count: u64,
    /// How many see a token.
    pub(super) used: Option<u64>,
    /// Groups of them, from some of which experts are chosen.
    pub(super) groups: Option<u64>,
    pub(super) groups_used: Option<u64>,
    /// What makes weights of the router's outputs: 1 softmax, 2 sigmoid.
    pub(super) gating: Option<u32>,
}

impl Experts {
    /// The value of `expert_gating_func` for sigmoid.
    pub(crate) const SIGMOID: u32 = 2;

    /// Whether the config says what makes weights of the router's outputs.
    pub(crate) fn states_gating(&self) -> bool {
        self.gating.is_some()
    }

    /// Whether the config says that sigmoid makes weights of the router's outputs.
    pub(crate) fn is_sigmoid(&self) -> bool {
        self.gating == Some(Self::SIGMOID)
    }

    /// The number of experts; 0 for a dense model.
    ///
    /// # Errors
    /// `Malformed`, naming the key.
    pub(crate) fn count(config: &ModelConfig) -> Result<u64> {
        let keys = ["num_local_experts", "num_experts", "n_routed_experts"];
        match config.u64(&keys)? {
            None | Some(0) => Ok(0),
            Some(_) => bounded(config, &keys, None, MAX_HEADS),
        }
    }

    /// Reads and checks the keys; none for a dense model.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Unsupported` for a way to choose experts that is not known.
    pub(crate) fn read(config: &ModelConfig) -> Result<Option<Self>> {
        let count = Self::count(config)?;
        if count == 0 {
            return Ok(None);
        }
        let optional = |keys: &[&str], max: u64| match config.u64(keys)? {
            None => Ok(None),
            Some(_) => bounded(config, keys, None, max).map(Some),
        };
        let used = ["num_experts_per_tok", "num_experts_per_token", "top_k_experts"];
        let functions = [
            "score_function",
            "scoring_func",
            "score_func",
            "moe_router_activation",
            "moe_router_activation_func",
            "expert_selection_fn",
        ];
        let gating = match config.str(&functions)? {
            None => None,
            Some("softmax") => Some(1),
            Some("sigmoid") => Some(Self::SIGMOID),
            Some(other) => {
                return Err(Error::unsupported(format!(
                    "experts are chosen by `{other}` (`scoring_func` in {}); known are softmax and sigmoid",
                    config.place_of(&functions)
                )));
            }
        };
        let groups = optional(&["n_group"], count)?;
        Ok(Some(Self {
            count,
            used: optional(&used, count)?,
            groups,
            groups_used: optional(&["topk_group"], groups.unwrap_or(count))?,
            gating,
        }))
    }

    /// How many layers are dense, from the first one on.
    ///
    /// # Errors
    /// `Malformed`, naming the key.
    pub(crate) fn dense_layers(config: &ModelConfig, layers: u64, default: u64) -> Result<u64> {
        let key = ["first_k_dense_replace"];
        let dense = config.u64(&key)?.unwrap_or(default);
        if dense <= layers {
            return Ok(dense);
        }
        Err(Error::malformed(format!(
            "`first_k_dense_replace` in {} is {dense}, but `num_hidden_layers` is {layers}",
            config.place_of(&key)
        )))
    }

    /// Refuses mixtures in which layers behind the dense ones have no experts.
    ///
    /// # Errors
    /// `Unsupported`, naming the key; `Malformed` if it is no number.
    pub(crate) fn in_every_layer(config: &ModelConfig, arch: &str) -> Result<()> {
        const KEY: [&str; 1] = ["moe_layer_freq"];
        match config.u64(&KEY)? {
            None | Some(1) => Ok(()),
            Some(other) => Err(Error::unsupported(format!(
                "`moe_layer_freq` in {} is {other}: runtimes look for experts in every layer behind the dense ones for `{arch}`",
                config.place_of(&KEY)
            ))),
        }
    }

    /// Writes how many experts see every token, and how the outputs of the others are weighed.
    ///
    /// # Errors
    /// `Malformed`, naming the key.
    pub(crate) fn write_weighing(config: &ModelConfig, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.expert_{name}");
        let shared = match config.u64(&["n_shared_experts"])? {
            None | Some(0) => 0,
            Some(_) => bounded(config, &["n_shared_experts"], None, MAX_HEADS)?,
        };
        out.set_count(key("shared_count"), shared)?;
        if let Some(scale) = config.f64(&["routed_scaling_factor"])? {
            out.set(key("weights_scale"), float("routed_scaling_factor", scale)?);
        }
        if config.bool(&["norm_topk_prob"])?.unwrap_or(false) {
            out.set(key("weights_norm"), true);
        }
        Ok(())
    }

    /// Writes the keys.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.expert_{name}");
        out.set_count(key("count"), self.count)?;
        let counts = [
            ("used_count", self.used),
            ("group_count", self.groups),
            ("group_used_count", self.groups_used),
        ];
        for (name, count) in counts {
            if let Some(count) = count {
                out.set_count(key(name), count)?;
            }
        }
        if let Some(gating) = self.gating {
            out.set(key("gating_func"), gating);
        }
        Ok(())
    }
}

/// The router and the stacks of experts of every layer, `inner` wide, for runtimes that look for
/// them in all layers.
pub(crate) fn expected_experts(
    sizes: &Hparams,
    inner: Option<u64>,
    inner_keys: &'static [&'static str],
) -> Vec<Expected> {
    let count = dim(sizes.expert_count(), &["num_experts", "num_local_experts"]);
    let hidden = dim(sizes.embedding, &["hidden_size"]);
    let inner = Dim { size: inner, keys: inner_keys };
    let of_layer = |layer: u64| {
        [
            ("ffn_gate_inp", vec![count, hidden]),
            ("ffn_gate_exps", vec![count, inner, hidden]),
            ("ffn_up_exps", vec![count, inner, hidden]),
            ("ffn_down_exps", vec![count, hidden, inner]),
        ]
        .map(|(name, dims)| {
            let name = format!("blk.{layer}.{name}.weight");
            Expected { name, dims, optional: false }
        })
    };
    (0..sizes.layers).flat_map(of_layer).collect()
}

/// What runtimes look for in a mixture whose experts have a width of their own: these modules, and
/// experts in all layers.
///
/// # Errors
/// `Malformed`, naming the key that is wrong.
pub(crate) fn expected_of_mixture(
    config: &ModelConfig,
    sizes: &Hparams,
    layered: &[&[Module]],
    biases: &[&str],
) -> Result<Vec<Expected>> {
    const WIDTH: [&str; 1] = ["moe_intermediate_size"];
    let mut all = expected(config, sizes, layered, biases)?;
    all.extend(expected_experts(sizes, config.u64(&WIDTH)?, &WIDTH));
    Ok(all)
}

/// Refuses mixtures of which some layers are dense: runtimes look for experts in all of them.
///
/// # Errors
/// `Unsupported`, naming the key.
pub(crate) fn refuse_dense_layers(config: &ModelConfig, arch: &str) -> Result<()> {
    let refused = |key: &str| {
        Err(Error::unsupported(format!(
            "some layers are without experts (`{key}` in {}), which runtimes do not know for `{arch}`",
            config.place_of(&[key])
        )))
    };
    let listed = config.value(&["mlp_only_layers"]).and_then(|list| list.as_array());
    if listed.is_some_and(|list| !list.is_empty()) {
        return refused("mlp_only_layers");
    }
    match config.u64(&["decoder_sparse_step"])? {
        None | Some(1) => Ok(()),
        Some(_) => refused("decoder_sparse_step"),
    }
}

/// Refuses a config by which the weights of the chosen experts are normalized, or are not, in
/// another way than runtimes do it.
///
/// # Errors
/// `Unsupported`, naming the key; `Malformed` if it is neither true nor false.
pub(crate) fn require_norm(config: &ModelConfig, normalized: bool, arch: &str) -> Result<()> {
    match config.bool(&["norm_topk_prob"])? {
        Some(other) if other != normalized => Err(Error::unsupported(format!(
            "`norm_topk_prob` in {} is {other}, but runtimes compute `{arch}` with {normalized}",
            config.place_of(&["norm_topk_prob"])
        ))),
        _ => Ok(()),
    }
}

/// Writes a size of the config under a key of the architecture, if the config has it.
///
/// # Errors
/// `Malformed`, naming the key of the config.
pub(crate) fn write_size(
    config: &ModelConfig,
    from: &[&str],
    key: String,
    max: u64,
    out: &mut Meta,
) -> Result<()> {
    match config.u64(from)? {
        None => Ok(()),
        Some(_) => out.set_count(key, bounded(config, from, None, max)?),
    }
}
