//! Options of `gmat import`.

use std::path::PathBuf;

/// Convert a SafeTensors or GGUF model into the store
///
/// Writes OUTPUT/model.gmat (or OUTPUT itself if its name ends in `.gmat`).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  gmat import --model ./model.safetensors --output ./output
  gmat import --model ./llama-70b/ --output ./llama-70b-gmat
  gmat import --model ./llama-7b.safetensors --generate-config
  gmat import --model ./llama-7b.safetensors --config import_config.json --output ./output
  gmat import --model ./llama-7b/ --block-format lossless --output ./exact
  gmat import --model ./finetune/ --base ./exact/model.gmat --output ./finetune-gmat
  gmat import --model ./llama-00001-of-00003.gguf --output ./llama

GMAT_BUFFER_SIZE sets how many units of work are under way (default: 2 per thread).")]
pub(crate) struct Import {
    /// SafeTensors file, shard index, or folder of a model; or a GGUF file (of a split, any one)
    #[arg(short, long, value_name = "PATH", visible_alias = "input")]
    pub(crate) model: PathBuf,

    /// Import config; without one, all tensors are imported
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Output folder
    #[arg(short, long, value_name = "DIR", default_value = "output")]
    pub(crate) output: PathBuf,

    /// Write import_config.json for this model to the working directory and stop
    #[arg(long, conflicts_with = "config")]
    pub(crate) generate_config: bool,

    /// Store, usually of the model that this one was fine-tuned from: tensors that it has too are not
    /// stored again, and of others only what differs, bit-exact. It is needed whenever the new store
    /// is read
    #[arg(long, value_name = "STORE", conflicts_with = "generate_config")]
    pub(crate) base: Option<PathBuf>,

    /// Block format of the stored tensors; overrides the config [default: B8x8; raw for GGUF; that of
    /// the base, with lossless for raw]. Quantized tensors are always stored as they are
    #[arg(long, value_name = "NAME")]
    pub(crate) block_format: Option<String>,

    /// Start over, whatever an interrupted run of this output has finished
    #[arg(long, conflicts_with = "generate_config")]
    pub(crate) restart: bool,

    /// Begin even if the store may not fit on the disk
    #[arg(long)]
    pub(crate) ignore_space: bool,

    /// Name of the pre-tokenizer, for tokenizers that are not recognised
    #[arg(long, value_name = "NAME")]
    pub(crate) pre: Option<String>,

    /// With --generate-config: overwrite an existing config that differs
    #[arg(long, requires = "generate_config")]
    pub(crate) force: bool,
}
