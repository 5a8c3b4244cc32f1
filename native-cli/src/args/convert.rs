//! Options of `gmat convert`.

use std::path::PathBuf;

use crate::size::parse_gigabytes;

/// Write a model as arrays for NumPy and JAX
///
/// Reads SafeTensors, a store or GGUF; quantized tensors become numbers. Floating point tensors get one
/// precision, integers and booleans stay what they are. A script that loads the result is written
/// beside it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  gmat convert --input ./llama-7b --output ./llama-7b-jax
  gmat convert --input ./llama-7b --output ./llama-7b-jax --format numpy-direct --precision float16
  gmat convert --input ./gpt-oss-20b --output ./gpt-oss-jax --mxfp4 raw
  gmat convert --input ./output/model.gmat --output ./jax --shard-size 5.0 --precision float32
  gmat convert --input ./llama-7b --output ./llama-7b-jax --resume

In Python: jax.numpy.load('llama-7b-jax/shard_000/model_norm_weight.npy'), or the script in the output.")]
pub(crate) struct Convert {
    /// SafeTensors file, shard index, or folder of a model; a store; or a GGUF file
    #[arg(short, long, value_name = "PATH", visible_alias = "model")]
    pub(crate) input: PathBuf,

    /// Output folder; one that convert wrote is replaced, any other is not
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,

    /// Output format: numpy-direct, msgpack or jax-pickle
    #[arg(short, long, value_name = "NAME", default_value = "numpy-direct")]
    pub(crate) format: String,

    /// Largest size of a shard in GB (10^9 bytes), headers included; the default suits Git LFS
    #[arg(short, long, value_name = "GB", value_parser = parse_gigabytes, default_value = "1.8")]
    pub(crate) shard_size: u64,

    /// Precision of floating point tensors: float16 (values beyond ±65504 become ±65504, and are
    /// counted) or float32
    #[arg(short, long, value_name = "NAME", default_value = "float16")]
    pub(crate) precision: String,

    /// What becomes of MXFP4 tensors: decode (to numbers) or raw (codes and scales, as in the
    /// checkpoint)
    #[arg(long, value_name = "HOW", default_value = "decode")]
    pub(crate) mxfp4: String,

    /// Of a store, its base, if that is not where it was
    #[arg(long, value_name = "PATH")]
    pub(crate) base: Option<PathBuf>,

    /// Check an output that is complete and write what is missing or damaged, in the place of all of
    /// it. What was interrupted goes on without being told
    #[arg(long)]
    pub(crate) resume: bool,

    /// Start over, whatever an interrupted conversion has left
    #[arg(long, conflicts_with = "resume")]
    pub(crate) restart: bool,

    /// Worker threads, like --jobs
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024),
          conflicts_with = "jobs")]
    pub(crate) workers: Option<u16>,

    /// Do not read the output again to compare it with what was written
    #[arg(long)]
    pub(crate) skip_verify: bool,
}
