//! T5, mT5 and UMT5 with encoder and decoder.
//!
//! Tensors and keys: the `t5` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`T5::hf_names`].
//! Limits: relu or gated GELU; positions are told apart up to a distance of 128.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder;

/// The architecture.
struct T5;

register_arch!(T5);

impl T5 {
    fn sizes(config: &ModelConfig) -> Result<decoder::T5> {
        decoder::T5::read(config, "t5")
    }
}

impl ModelArch for T5 {
    fn name(&self) -> &'static str {
        "t5"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &[
            "T5ForConditionalGeneration",
            "T5WithLMHeadModel",
            "MT5ForConditionalGeneration",
            "UMT5ForConditionalGeneration",
            "UMT5Model",
        ]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &["t5", "mt5", "umt5"])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        Self::sizes(config)?.place(tensor, true)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        let sizes = Self::sizes(config)?;
        sizes.write(self.name(), out)?;
        sizes.write_decoder(config, self.name(), out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Self::sizes(config)?.expected(config, true)
    }
}
