//! Nomic's BERT, with and without experts.
//!
//! Names of tensors and keys of the config: the model class that comes with `nomic-embed-text`; the
//! class of the `transformers` library has other keys, but saves the same names.

use gmat_core::arch::{Dim, Expected, Placement, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::format::gguf::Meta;

use super::hparams::bounded;
use super::names::{Leaves, Module, Names, Target, modules};
use super::plain::{Plain, only};
use super::pooling::write_pooling;
use super::wanted::{Wanted, wanted};
use super::{Epsilon, Experts, Hparams, Rope, key_only_rope};

const PLAIN: Plain = Plain {
    context: &["max_position_embeddings", "n_positions"],
    default_context: Some(2048),
    growth: None,
    epsilon: Epsilon::Layer(1e-12),
    causal: false,
};

/// The base of rotary embeddings where the config does not say it: of the class that comes with the
/// models, and of that of the library.
const THETA: [f64; 2] = [10_000.0, 1_000.0];

const NAMES: Names = Names {
    layers: "encoder.layers",
    prefix: "blk",
    global: &[EMBEDDINGS],
    layered: &[LAYER, GATED, EXPERTS],
};

const EMBEDDINGS: &[Module] = modules! {
    "embeddings.word_embeddings" => "token_embd";
    "embeddings.token_type_embeddings" => "token_types";
    "emb_ln" => "token_embd_norm" + bias;
};

const LAYER: &[Module] = modules! {
    "attn.Wqkv" => "attn_qkv" + bias;
    "attn.out_proj" => "attn_output" + bias;
    "norm1" => "attn_output_norm" + bias;
    "mlp.fc2" => "ffn_down" + bias;
    "norm2" => "layer_output_norm" + bias;
};

const GATED: &[Module] = modules! {
    "mlp.fc11" => "ffn_up";
    "mlp.fc12" => "ffn_gate";
};

const EXPERTS: &[Module] = &[
    Module::new("mlp.fc1", Leaves::WeightAndBias, &[Target::whole("ffn_up")]),
    Module::new("mlp.router.layer", Leaves::Weight, &[Target::whole("ffn_gate_inp")]),
    Module::new(
        "mlp.experts.mlp.w1",
        Leaves::Bare("weight"),
        &[Target::view("ffn_up_exps", |sizes| View::WHOLE.cut(sizes.expert_count()))],
    ),
    Module::new(
        "mlp.experts.mlp.w2",
        Leaves::Bare("weight"),
        &[Target::view("ffn_down_exps", |sizes| {
            View::WHOLE.cut(sizes.expert_count()).transposed()
        })],
    ),
];

/// A model of this kind.
pub(crate) struct Nomic {
    hparams: Hparams,
    rope: Rope,
    /// Of so many layers one has experts; 0 if none has.
    experts_every: u64,
}

impl Nomic {
    /// Whether some layers have experts.
    pub(crate) fn has_experts(config: &ModelConfig) -> bool {
        matches!(config.u64(&["moe_every_n_layers"]), Ok(Some(every)) if every > 0)
    }

    /// Reads and checks the config.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Unsupported` for what runtimes do not compute.
    pub(crate) fn read(config: &ModelConfig, experts: bool) -> Result<Self> {
        let arch = if experts { "nomic-bert-moe" } else { "nomic-bert" };
        let activation = if experts { "gelu" } else { "swiglu" };
        let refuse = |key: &str, value: &str| {
            Err(Error::unsupported(format!(
                "`{key}` in {} is `{value}`, which runtimes do not compute for `{arch}`",
                config.place_of(&[key])
            )))
        };
        match config.str(&["activation_function"])? {
            Some(other) if other != activation => return refuse("activation_function", other),
            _ => {}
        }
        // What the library calls the activation of a gated network.
        match config.str(&["hidden_act"])? {
            Some(other) if other != "silu" || experts => return refuse("hidden_act", other),
            _ => {}
        }
        let switches = [
            ("causal", false),
            ("prenorm", false),
            ("rotary_emb_interleaved", false),
            ("qkv_proj_bias", experts),
            ("mlp_fc1_bias", experts),
            ("mlp_fc2_bias", experts),
        ];
        only(config, arch, &switches)?;
        let share = config.f64(&["rotary_emb_fraction"])?.unwrap_or(1.0);
        if share != 1.0 {
            return refuse("rotary_emb_fraction", &share.to_string());
        }
        if config.value(&["rotary_emb_scale_base"]).is_some() {
            return refuse("rotary_emb_scale_base", "not null");
        }
        let hparams = PLAIN.read(config)?;
        // What the published models were trained for, which `n_positions` overstates.
        let trained = config.u64(&["max_trained_positions"])?.unwrap_or(2048);
        let overstates = config.value(&["max_position_embeddings"]).is_none()
            && config.value(&["n_positions"]).is_some();
        let context = match (hparams.context, trained) {
            (8192, 2048) if overstates => 2048,
            (2048, 2048) if overstates => 512,
            (other, _) => other,
        };
        let head_dim = config.u64(&["head_dim"])?.unwrap_or(hparams.head_dim);
        let hparams = Hparams { head_dim, ..hparams }.with_plain_heads(config, arch)?;
        let [own, of_library] = THETA;
        let theta = if config.value(&["n_embd"]).is_some() { own } else { of_library };
        let experts_every = match experts {
            true => bounded(config, &["moe_every_n_layers"], None, hparams.layers)?,
            false => 0,
        };
        Ok(Self {
            hparams: Hparams { context, experts: Experts::read(config)?, ..hparams },
            rope: key_only_rope(config, theta, arch)?,
            experts_every,
        })
    }

    /// What becomes of a tensor.
    ///
    /// # Errors
    /// `Malformed` if it belongs to a layer that the config does not have.
    pub(crate) fn place(&self, tensor: &str) -> Result<Option<Placement>> {
        if tensor.ends_with("mlp.experts.bias") {
            return Ok(Some(Placement::Drop("a bias that runtimes do not add")));
        }
        NAMES.place(tensor, &self.hparams)
    }

    /// Writes the keys.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Limit` if a number does not fit its key.
    pub(crate) fn write(&self, config: &ModelConfig, arch: &str, out: &mut Meta) -> Result<()> {
        self.hparams.write_plain(arch, out)?;
        self.rope.write(arch, out)?;
        if let (Some(experts), 1..) = (&self.hparams.experts, self.experts_every) {
            experts.write(arch, out)?;
            out.set_count(format!("{arch}.moe_every_n_layers"), self.experts_every)?;
            let used = bounded(config, &["moe_top_k"], Some(2), self.hparams.expert_count())?;
            out.set_count(format!("{arch}.expert_used_count"), used)?;
        }
        write_pooling(config, arch, out)
    }

    /// What runtimes look for.
    ///
    /// # Errors
    /// `Malformed`, naming the key.
    pub(crate) fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let hidden = dim(self.hparams.embedding, &["n_embd"]);
        let inner = dim(self.hparams.feed_forward, &["n_inner"]);
        let experts = dim(self.hparams.expert_count(), &["num_experts"]);
        let every = self.experts_every;
        wanted(config, &self.hparams, &NAMES, |layer, target| {
            let mixed = every > 0 && layer.is_some_and(|layer| layer % every == 1);
            match target {
                "attn_qkv" => {
                    Wanted::Of(vec![dim(3 * self.hparams.embedding, &["n_embd"]), hidden])
                }
                "token_embd_norm" | "attn_output_norm" | "layer_output_norm" => {
                    Wanted::WithBiasOf(vec![hidden])
                }
                "ffn_gate" if every > 0 => Wanted::Not,
                "ffn_up" | "ffn_down" if mixed => Wanted::Not,
                "ffn_gate_inp" if mixed => Wanted::Of(vec![experts, hidden]),
                "ffn_up_exps" if mixed => Wanted::Of(vec![experts, inner, hidden]),
                "ffn_down_exps" if mixed => Wanted::Of(vec![experts, hidden, inner]),
                _ => Wanted::Usual,
            }
        })
    }
}
