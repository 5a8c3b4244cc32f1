//! ERNIE 4.5, dense: computed like Llama with neighbouring rows rotated, as its checkpoints have them;
//! older ones keep queries, keys and values in one tensor, gate and up projection in another.
//!
//! Tensors and keys: the `ernie4_5` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`Ernie4_5::hf_names`]; or a nested config of type `ernie4_5`.
//! Limits: rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score, Take, View};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Hparams, Leaves, Module, Names, Target, first_half,
    second_half,
};

/// The architecture.
struct Ernie4_5;

register_arch!(Ernie4_5);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 103_424,
    layers: 18,
    embedding: 1024,
    feed_forward: 3072,
    heads: 16,
    kv_heads: Some(2),
    head_dim: Some(128),
    states_head_dim: true,
    context: 131_072,
    rope_theta: 500_000.0,
    epsilon: Epsilon::Rms(1e-5),
};

const NAMES: Names =
    Names::of_layers(&[decoder::NORMS, decoder::ATTENTION, decoder::FEED_FORWARD, FUSED]);

const FUSED: &[Module] = &[
    Module::new(
        "self_attn.qkv_proj",
        Leaves::WeightAndBias,
        &[
            Target::view("attn_q", |sizes| heads(sizes, 0, sizes.heads)),
            Target::view("attn_k", |sizes| heads(sizes, sizes.heads, sizes.kv_heads)),
            Target::view("attn_v", |sizes| {
                heads(sizes, sizes.heads + sizes.kv_heads, sizes.kv_heads)
            }),
        ],
    ),
    Module::new(
        "mlp.up_gate_proj",
        Leaves::WeightAndBias,
        &[Target::view("ffn_gate", first_half), Target::view("ffn_up", second_half)],
    ),
];

/// The rows of some of all heads: first those of queries, then of keys, then of values.
fn heads(sizes: &Hparams, first: u64, count: u64) -> View {
    let rows = sizes.head_dim;
    let of = (sizes.heads + 2 * sizes.kv_heads) * rows;
    View::WHOLE.take(Take::Range { first: first * rows, count: count * rows, of })
}

impl Ernie4_5 {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "ernie4_5")?;
        Hparams::read(config, &CLASS)
    }
}

impl ModelArch for Ernie4_5 {
    fn name(&self) -> &'static str {
        "ernie4_5"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["ernie4_5"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let rope = decoder::key_only_rope(config, CLASS.rope_theta, self.name())?;
        Self::hparams(config)?.write(self.name(), &rope, out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let modules = [decoder::NORMS, decoder::ATTENTION, decoder::FEED_FORWARD];
        decoder::expected(config, &Self::hparams(config)?, &modules, &[])
    }
}
