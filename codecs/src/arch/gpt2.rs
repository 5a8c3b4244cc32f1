//! GPT-2: learned positions, layer norms, projections that checkpoints store transposed.
//!
//! Tensors and keys: the `gpt2` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Gpt2::hf_names`].

use gmat_core::arch::{Dim, Expected, ModelArch, Placement, Score, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, Computes, Epsilon, Hparams, Leaves, Module, Names, Plain, Target, Wanted,
};

/// The architecture.
struct Gpt2;

register_arch!(Gpt2);

const PLAIN: Plain = Plain {
    context: &["n_ctx", "n_positions", "max_position_embeddings"],
    default_context: Some(1024),
    growth: Some(4),
    epsilon: Epsilon::Layer(1e-5),
    causal: true,
};

const NAMES: Names =
    Names { layers: "h", prefix: "blk", global: &[GLOBAL], layered: &[NORMS, PROJECTIONS] };

const GLOBAL: &[Module] = decoder::modules! {
    "wte" => "token_embd";
    "wpe" => "position_embd";
    "ln_f" => "output_norm" + bias;
    "lm_head" => "output";
};

const NORMS: &[Module] = decoder::modules! {
    "ln_1" => "attn_norm" + bias;
    "ln_2" => "ffn_norm" + bias;
};

const PROJECTIONS: &[Module] = &[
    transposed("attn.c_attn", &[Target::view("attn_qkv", |_| View::WHOLE.transposed())]),
    bias("attn.c_attn.bias", &[Target::whole("attn_qkv")]),
    transposed("attn.c_proj", &[Target::view("attn_output", |_| View::WHOLE.transposed())]),
    bias("attn.c_proj.bias", &[Target::whole("attn_output")]),
    transposed("mlp.c_fc", &[Target::view("ffn_up", |_| View::WHOLE.transposed())]),
    bias("mlp.c_fc.bias", &[Target::whole("ffn_up")]),
    transposed("mlp.c_proj", &[Target::view("ffn_down", |_| View::WHOLE.transposed())]),
    bias("mlp.c_proj.bias", &[Target::whole("ffn_down")]),
];

const fn transposed(source: &'static str, targets: &'static [Target]) -> Module {
    Module::new(source, Leaves::Weight, targets)
}

/// A bias apart from its weight, as it is not transposed.
const fn bias(source: &'static str, targets: &'static [Target]) -> Module {
    Module::new(source, Leaves::Bare("bias"), targets)
}

impl Gpt2 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes { activations: decoder::GELUS, experts: false }.check(config, "gpt2")?;
        let switches = [
            ("scale_attn_weights", true),
            ("scale_attn_by_inverse_layer_idx", false),
            ("add_cross_attention", false),
        ];
        decoder::only(config, "gpt2", &switches)?;
        PLAIN.read(config)
    }
}

impl ModelArch for Gpt2 {
    fn name(&self) -> &'static str {
        "gpt2"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["GPT2LMHeadModel"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["gpt2"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        Self::hparams(config)?.write_plain(self.name(), out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        let dim = |size: u64, keys: &'static [&'static str]| Dim { size: Some(size), keys };
        let hidden = dim(hparams.embedding, &["n_embd"]);
        decoder::wanted(config, &hparams, &NAMES, |_, target| match target {
            "position_embd" => Wanted::Of(vec![dim(hparams.context, &["n_ctx"]), hidden]),
            "attn_qkv" => Wanted::Of(vec![dim(3 * hparams.embedding, &["n_embd"]), hidden]),
            "attn_norm" | "ffn_norm" | "output_norm" => Wanted::WithBias,
            _ => Wanted::Usual,
        })
    }
}
