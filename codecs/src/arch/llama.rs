//! Llama and the models that are computed the same way: Mistral, and text parts of wrappers.
//!
//! The runtime rotates neighbouring rows of a head, checkpoints keep the two halves apart: rows of
//! queries and keys (weights and biases) are interleaved. Tensors and keys: the `llama` sections of
//! the GGUF specification of the ggml project.
//!
//! Accepted classes: [`Llama::hf_names`]; or a nested config of type `llama` or `mistral`.
//! Limits: full rotary embeddings only.

use gmat_core::arch::{Expected, Generated, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder::{self, ClassDefaults, Computes, Epsilon, Hparams, Names, Rope};

/// The architecture.
struct Llama;

register_arch!(Llama);

const LLAMA: ClassDefaults = ClassDefaults {
    vocabulary: 32_000,
    layers: 32,
    embedding: 4096,
    feed_forward: 11_008,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    states_head_dim: true,
    context: 2048,
    rope_theta: 10_000.0,
    epsilon: Epsilon::Rms(1e-6),
};

const MISTRAL: ClassDefaults = ClassDefaults {
    feed_forward: 14_336,
    kv_heads: Some(8),
    states_head_dim: false,
    context: 131_072,
    ..LLAMA
};

const MIXTRAL: ClassDefaults = ClassDefaults { epsilon: Epsilon::Rms(1e-5), ..MISTRAL };

const NAMES: Names = Names::of_layers(&[
    decoder::NORMS,
    decoder::INTERLEAVED_ATTENTION,
    decoder::FEED_FORWARD,
    decoder::EXPERTS,
    MIXTRAL_EXPERTS,
]);

/// The mixture of experts of Mixtral.
const MIXTRAL_EXPERTS: &[decoder::Module] = decoder::modules! {
    "block_sparse_moe.gate" => "ffn_gate_inp";
    "block_sparse_moe.experts.*.w1" => "ffn_gate_exps";
    "block_sparse_moe.experts.*.w2" => "ffn_down_exps";
    "block_sparse_moe.experts.*.w3" => "ffn_up_exps";
    "mlp.gate" => "ffn_gate_inp";
};

impl Llama {
    /// The sizes that the model's class stands for: Mistral or Llama.
    fn class(config: &ModelConfig) -> Result<&'static ClassDefaults> {
        let named = config.architecture().is_some_and(|name| name.starts_with("Mistral"));
        Ok(match config.str(&["model_type"])? {
            Some("mistral") => &MISTRAL,
            Some("mixtral") => &MIXTRAL,
            None if named => &MISTRAL,
            _ => &LLAMA,
        })
    }

    fn hparams(config: &ModelConfig) -> Result<Hparams> {
        Computes::EXPERTS.check(config, "llama")?;
        Ok(Hparams::read(config, Self::class(config)?)?.with_used_experts(2))
    }

    fn rope(config: &ModelConfig) -> Result<Rope> {
        Rope::read(config, LLAMA.rope_theta)
    }
}

impl ModelArch for Llama {
    fn name(&self) -> &'static str {
        "llama"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &[
            "LlamaForCausalLM",
            "LLaMAForCausalLM",
            "LlamaModel",
            "MistralForCausalLM",
            "MistralModel",
            "MixtralForCausalLM",
            "VLlama3ForCausalLM",
            "IQuestCoderForCausalLM",
        ]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["llama", "mistral", "mixtral"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        NAMES.place(tensor, &Self::hparams(config)?)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let hparams = Self::hparams(config)?;
        hparams.write(self.name(), &Self::rope(config)?, out)?;
        out.set_count("llama.vocab_size", Hparams::vocabulary(config, Self::class(config)?)?)?;
        out.set_count("llama.rope.dimension_count", hparams.head_dim)
    }

    fn generated(&self, config: &ModelConfig) -> Result<Vec<Generated>> {
        let hparams = Self::hparams(config)?;
        Ok(Self::rope(config)?.llama3_tensor(hparams.head_dim))
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        let hparams = Self::hparams(config)?;
        if hparams.expert_count() == 0 {
            return decoder::expected(config, &hparams, NAMES.layered, &[]);
        }
        let modules: [&[decoder::Module]; 2] = [decoder::NORMS, decoder::INTERLEAVED_ATTENTION];
        let mut all = decoder::expected(config, &hparams, &modules, &[])?;
        let inner = Some(hparams.feed_forward);
        all.extend(decoder::expected_experts(&hparams, inner, &["intermediate_size"]));
        Ok(all)
    }
}
