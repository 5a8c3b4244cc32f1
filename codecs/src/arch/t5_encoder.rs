//! The encoder of T5 and UMT5 alone.
//!
//! Tensors and keys: the `t5encoder` model of the ggml project's GGUF files.
//!
//! Accepted classes: [`T5Encoder::hf_names`].
//! Limits: as those of `t5`.

use gmat_core::arch::{Expected, ModelArch, Placement, Score};
use gmat_core::config::ModelConfig;
use gmat_core::error::Result;
use gmat_core::format::gguf::Meta;
use gmat_core::register_arch;

use crate::decoder;

/// The architecture.
struct T5Encoder;

register_arch!(T5Encoder);

impl T5Encoder {
    fn sizes(config: &ModelConfig) -> Result<decoder::T5> {
        decoder::T5::read(config, "t5encoder")
    }
}

impl ModelArch for T5Encoder {
    fn name(&self) -> &'static str {
        "t5encoder"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel"]
    }

    fn score(&self, config: &ModelConfig) -> Score {
        decoder::score(config, self.hf_names(), &[])
    }

    fn place(&self, tensor: &str, config: &ModelConfig) -> Result<Option<Placement>> {
        Self::sizes(config)?.place(tensor, false)
    }

    fn metadata(&self, config: &ModelConfig, out: &mut Meta) -> Result<()> {
        Self::sizes(config)?.write(self.name(), out)
    }

    fn expected(&self, config: &ModelConfig) -> Result<Vec<Expected>> {
        Self::sizes(config)?.expected(config, false)
    }
}
