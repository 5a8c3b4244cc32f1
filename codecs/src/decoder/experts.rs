//! Mixtures of experts: their number and how they are chosen.
//!
//! Config keys: those of the model classes of the `transformers` library. GGUF keys: `expert_*` of
//! the GGUF specification.

use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::hparams::{MAX_HEADS, bounded};
use super::names::{Leaves, Module, Target, modules};
use gmat_core::arch::{Take, View};

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

/// The gate's rows, then those of the up projection.
const GATE_AND_UP: &[Target] = &[
    Target::view("ffn_gate_exps", |_| View::WHOLE.take(Take::Share { at: 0, of: 2 })),
    Target::view("ffn_up_exps", |_| View::WHOLE.take(Take::Share { at: 1, of: 2 })),
];

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
            Some("sigmoid") => Some(2),
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
