//! Granite, mixture of experts: experts stacked already, gate and up projection in one tensor, perhaps
//! with one expert that sees every token.
//!
//! Tensors and keys: the `granitemoe` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`GraniteMoe::hf_names`]; or a nested config of these types.
//! Limits: full rotary embeddings only.

use gmat_core::arch::{Expected, Generated, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Hparams, Leaves, MAX_WIDTH, Module, Names, Rope,
    Target, first_half, second_half,
};

/// The architecture.
struct GraniteMoe;

register_arch!(GraniteMoe);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 32_000,
    layers: 32,
    embedding: 4096,
    feed_forward: 11_008,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    states_head_dim: false,
    context: 2048,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const NAMES: Names =
    Names::of_layers(&[decoder::NORMS, decoder::INTERLEAVED_ATTENTION, EXPERTS, SHARED_EXPERT]);

/// Where there are no experts but the one that sees every token.
const DENSE_NAMES: Names =
    Names::of_layers(&[decoder::NORMS, decoder::INTERLEAVED_ATTENTION, ONLY_SHARED]);

const EXPERTS: &[Module] = &[
    Module::new("block_sparse_moe.router.layer", Leaves::Weight, &[Target::whole("ffn_gate_inp")]),
    Module::new(
        "block_sparse_moe.input_linear",
        Leaves::Weight,
        &[Target::view("ffn_gate_exps", first_half), Target::view("ffn_up_exps", second_half)],
    ),
    Module::new(
        "block_sparse_moe.output_linear",
        Leaves::Weight,
        &[Target::whole("ffn_down_exps")],
    ),
];

const SHARED_EXPERT: &[Module] = &[
    Module::new(
        "shared_mlp.input_linear",
        Leaves::Weight,
        &[Target::view("ffn_gate_shexp", first_half), Target::view("ffn_up_shexp", second_half)],
    ),
    Module::new("shared_mlp.output_linear", Leaves::Weight, &[Target::whole("ffn_down_shexp")]),
];

const ONLY_SHARED: &[Module] = &[
    Module::new(
        "shared_mlp.input_linear",
        Leaves::Weight,
        &[Target::view("ffn_gate", first_half), Target::view("ffn_up", second_half)],
    ),
    Module::new("shared_mlp.output_linear", Leaves::Weight, &[Target::whole("ffn_down")]),
];

impl GraniteMoe {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::EXPERTS.check(config, "granitemoe")?;
        let hparams = Hparams::read(config, &CLASS)?.with_used_experts(2);
        // Its files do not say how large a head is where that follows.
        let head_dim_stated = hparams.heads * hparams.head_dim != hparams.embedding;
        Ok(Hparams { head_dim_stated, ..hparams })
    }
}

impl ModelArch for GraniteMoe {
    fn name(&self) -> &'static str {
        "granitemoe"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["granitemoe", "granitemoeshared"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        let hparams = Self::hparams(config)?;
        match hparams.expert_count() {
            0 => DENSE_NAMES.place(tensor, &hparams),
            _ => NAMES.place(tensor, &hparams),
        }
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        hparams.write(self.name(), &Rope::read(config, CLASS.rope_theta)?, out)?;
        out.set_count("granitemoe.vocab_size", Hparams::vocabulary(config, &CLASS)?)?;
        out.set_count("granitemoe.rope.dimension_count", hparams.head_dim)?;
        decoder::write_granite_factors(config, self.name(), out)?;
        // 0 stands for none.
        if config.u64(&["shared_intermediate_size"])? == Some(0) {
            return Ok(());
        }
        let key = "granitemoe.expert_shared_feed_forward_length".to_owned();
        decoder::write_size(config, &["shared_intermediate_size"], key, MAX_WIDTH, out)
    }

    fn generated(&self, config: &ModelConfig) -> Result<Vec<Generated>> {
        let rope = Rope::read(config, CLASS.rope_theta)?;
        Ok(rope.llama3_tensor(Self::hparams(config)?.head_dim))
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let attention = [decoder::NORMS, decoder::INTERLEAVED_ATTENTION];
        decoder::expected(config, &Self::hparams(config)?, &attention, &[])
    }
}
