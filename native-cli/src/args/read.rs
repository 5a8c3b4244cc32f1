//! Options of the commands that only read models.

use std::path::PathBuf;

/// Show what a SafeTensors model, a store or a GGUF file is and contains
///
/// Reads headers and the small files beside the weights only, unless --histogram asks for values.
/// Of many tensors, those that differ in nothing but the numbers in their names share a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  gmat inspect ./llama-7b/
  gmat inspect model-00001-of-00003.gguf --all
  gmat inspect ./output/model.gmat --tensors 'layers\\.0\\.'
  gmat inspect model.gguf --keys tokenizer
  gmat inspect model.gguf --histogram blk.0.attn_q.weight
  gmat inspect model.gguf --json | jq .types")]
pub(crate) struct Inspect {
    /// SafeTensors file, index or folder, store, or GGUF file (of a split, any one)
    pub(crate) path: PathBuf,

    /// Of a store, its base, if that is not where it was
    #[arg(long, value_name = "STORE")]
    pub(crate) base: Option<PathBuf>,

    /// One JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,

    /// Every tensor in a line of its own
    #[arg(long)]
    pub(crate) all: bool,

    /// Only tensors whose name matches, each in a line of its own
    #[arg(long, value_name = "REGEX")]
    pub(crate) tensors: Option<String>,

    /// Only metadata keys that match, with long texts in full
    #[arg(long, value_name = "REGEX")]
    pub(crate) keys: Option<String>,

    /// Read the tensor of that name (or all that match) and show how its values are distributed
    #[arg(long, value_name = "NAME|REGEX")]
    pub(crate) histogram: Option<String>,

    /// Ranges of a histogram
    #[arg(long, value_name = "N", default_value_t = 20, requires = "histogram",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) bins: u16,
}

/// Check that a store, a GGUF file or converted arrays are whole, and are what their source makes
///
/// Reads every byte: checksums and source hashes of a store; of a GGUF file its structure, and the
/// hashes in the manifest that the export wrote beside it; of a folder that `gmat convert` wrote, the
/// hashes of its files. With --source, everything is made once more from the source, in memory, and
/// compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  gmat verify ./output/model.gmat
  gmat verify ./output/model.gmat --source ./llama-7b/
  gmat verify ./finetune/model.gmat --base /mnt/models/base/model.gmat
  gmat verify model-q4.gguf
  gmat verify model-q4.gguf --source ./output/model.gmat
  gmat verify model-q4.gguf --json | jq .differences
  gmat verify ./jax-numpy-model/ --source ./llama-7b/

The exit code is 5 if anything differs.")]
pub(crate) struct Verify {
    /// Store, GGUF file (of a split, any one), or folder of converted arrays
    pub(crate) path: PathBuf,

    /// What it was made of: the model of a store or of arrays, the store of a GGUF file
    #[arg(long, value_name = "PATH")]
    pub(crate) source: Option<PathBuf>,

    /// With --source, the export config of a GGUF file that has no manifest
    #[arg(short, long, value_name = "FILE", requires = "source")]
    pub(crate) config: Option<PathBuf>,

    /// Base of the store that is verified, or is the source, if that is not where it was. Without its
    /// base, source hashes of tensors that are stored as differences are not checked
    #[arg(long, value_name = "STORE")]
    pub(crate) base: Option<PathBuf>,

    /// The manifest of a GGUF file, if it is not beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Compare two models tensor by tensor: types, sizes, and how far the values are apart
///
/// Each may be a SafeTensors model, a store or a GGUF file. Tensors are matched by name; those of a
/// store and of a GGUF file made from it, by what they become in an export. Errors are those of the
/// second model, relative to the first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  gmat compare ./output/model.gmat model-q4.gguf
  gmat compare ./llama-7b/ ./output/model.gmat
  gmat compare theirs-q4_k_m.gguf ours-q4_k_m.gguf --html compared.html
  gmat compare ./base/ ./finetune/ --json | jq '.pairs[] | select(.same | not) | .b.name'")]
pub(crate) struct Compare {
    /// The model that errors are measured from
    pub(crate) a: PathBuf,

    /// The other one
    pub(crate) b: PathBuf,

    /// Base of a store, if that is not where it was; repeatable, each store takes the one that is its
    /// own
    #[arg(long, value_name = "STORE")]
    pub(crate) base: Vec<PathBuf>,

    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// Also write a page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}
