//! StableLM: layer norms, part of each head rotated, perhaps norms of queries and keys for each head,
//! perhaps attention and feed-forward network side by side.
//!
//! Tensors and keys: the `stablelm` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`StableLm::hf_names`]; or a nested config of type `stablelm`.
//! Limits: heads as wide as the model together; rotary scaling only if runtimes need no tensor for it.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{
    self, ClassDefaults, Computes, Epsilon, Hparams, Leaves, Module, Names, Needs, Target,
};

/// The architecture.
struct StableLm;

register_arch!(StableLm);

const CLASS: ClassDefaults = ClassDefaults {
    vocabulary: 50_304,
    layers: 32,
    embedding: 2560,
    feed_forward: 6912,
    heads: 32,
    kv_heads: Some(32),
    head_dim: None,
    states_head_dim: false,
    context: 4096,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Layer(1e-5),
};

const NAMES: Names = Names {
    global: &[decoder::BIASED_EMBEDDINGS],
    ..Names::of_layers(&[
        decoder::BIASED_NORMS,
        decoder::ATTENTION,
        QK_NORMS,
        decoder::FEED_FORWARD,
    ])
};

/// One norm for each head.
const QK_NORMS: &[Module] = &[
    Module::new("self_attn.q_layernorm.norms.*", Leaves::Weight, &[Target::whole("attn_q_norm")])
        .counted(|sizes| sizes.heads),
    Module::new("self_attn.k_layernorm.norms.*", Leaves::Weight, &[Target::whole("attn_k_norm")])
        .counted(|sizes| sizes.kv_heads),
];

impl StableLm {
    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::DENSE.check(config, "stablelm")?;
        let hparams = Hparams::read(config, &CLASS)?.with_plain_heads(config, "stablelm")?;
        Ok(Hparams { head_dim_stated: false, ..hparams })
    }

    /// Whether attention and feed-forward network are side by side.
    fn parallel(config: &ModelConfig) -> Result<bool> {
        Ok(config.bool(&["use_parallel_residual"])?.unwrap_or(false))
    }
}

impl ModelArch for StableLm {
    fn name(&self) -> &'static str {
        "stablelm"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["StableLmForCausalLM", "StableLMEpochForCausalLM"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["stablelm", "stablelm_epoch"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        let rope = decoder::partial_rope(config, CLASS.rope_theta, 0.25, self.name())?;
        hparams.write_sizes(self.name(), out)?;
        rope.write_unusual(self.name(), out)?;
        out.set_count("stablelm.rope.dimension_count", rope.rotated(hparams.head_dim)?)?;
        out.set("stablelm.use_parallel_residual", Self::parallel(config)?);
        Ok(())
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let normed = config.bool(&["qk_layernorm"])?.unwrap_or(false);
        let parallel = Self::parallel(config)?;
        Needs {
            global: NAMES.global,
            biases: if parallel {
                &["output_norm", "attn_norm"]
            } else {
                &["output_norm", "attn_norm", "ffn_norm"]
            },
            optional: match (normed, parallel) {
                (true, true) => &["ffn_norm"],
                (true, false) => &[],
                (false, true) => &["ffn_norm", "attn_q_norm", "attn_k_norm"],
                (false, false) => &["attn_q_norm", "attn_k_norm"],
            },
            shape: decoder::norms_of_heads,
            ..Needs::of(NAMES.layered)
        }
        .list(config, &Self::hparams(config)?)
    }
}
