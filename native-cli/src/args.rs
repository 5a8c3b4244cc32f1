//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use gmat_core::config::Rule;

use crate::size::{parse_gigabytes, parse_size};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage or config, 3 input malformed or \
unsupported, 4 I/O (disk full, permission, missing file), 5 verification found a difference, \
130 interrupted.";

/// Model weights from training to where they run.
///
/// SafeTensors models become a store of tensors addressed by UUID; from the store, GGUF files for
/// llama.cpp are exported, with the quantization of every tensor under control of small JSON files.
#[derive(Debug, Parser)]
#[command(name = "gmat", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Import(Import),
    Export(Box<Export>),
    Convert(Convert),
    Inspect(Inspect),
    Verify(Verify),
    Compare(Compare),
    #[command(subcommand)]
    Store(StoreCommand),
    Formats(Formats),
    #[cfg(feature = "plugins")]
    #[command(subcommand)]
    Plugins(PluginCommand),
}

impl Command {
    /// The store that the command reads or writes.
    pub(crate) fn store(&self) -> Option<PathBuf> {
        match self {
            Self::Import(import) => Some(crate::cmd::import::output_path(&import.output)),
            Self::Export(export) => Some(crate::cmd::export::store_path(&export.model)),
            Self::Inspect(inspect) => Some(crate::cmd::export::store_path(&inspect.path)),
            Self::Verify(verify) => Some(verify.source.as_ref().unwrap_or(&verify.path).clone()),
            _ => None,
        }
    }
}

/// List plugins, or check one
#[cfg(feature = "plugins")]
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Plugins are looked for in these folders, in this order: `plugins` beside the store, `plugins` in the
working directory, those in GMAT_PLUGINS, those after --plugin-dir, and gmat/plugins in the user's data
folder (XDG_DATA_HOME, or ~/.local/share)."
)]
pub(crate) enum PluginCommand {
    List(ListPlugins),
    Check(CheckPlugin),
}

/// Show the plugins that are found, what they bring, and how long it takes to have them ready
#[cfg(feature = "plugins")]
#[derive(Debug, clap::Args)]
pub(crate) struct ListPlugins {
    /// One JSON object instead of a list
    #[arg(long)]
    pub(crate) json: bool,
}

/// Try a plugin: whether it keeps the laws, and its error and speed beside those of what is built in
#[cfg(feature = "plugins")]
#[derive(Debug, clap::Args)]
pub(crate) struct CheckPlugin {
    /// The `.wasm` file
    pub(crate) file: PathBuf,
}

/// Work on a store as a whole
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    Flatten(Flatten),
}

/// Make a store with a base into one that stands by itself
///
/// Every value stays what it is, bit by bit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  gmat store flatten ./finetune/model.gmat --output ./whole
  gmat store flatten ./finetune/model.gmat --base /mnt/models/base/model.gmat --output ./whole")]
pub(crate) struct Flatten {
    /// The store: a `model.gmat` folder
    pub(crate) path: PathBuf,

    /// Its base, if that is not where it was
    #[arg(long, value_name = "PATH")]
    pub(crate) base: Option<PathBuf>,

    /// Output folder; gets a `model.gmat`, or is one if its name ends in `.gmat`
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,

    /// Start over, whatever an interrupted run of this output has finished
    #[arg(long)]
    pub(crate) restart: bool,

    /// Begin even if the store may not fit on the disk
    #[arg(long)]
    pub(crate) ignore_space: bool,
}

/// List everything this program knows: block formats, quantization types, recipes, architectures,
/// tokenizers
#[derive(Debug, clap::Args)]
pub(crate) struct Formats {
    /// One JSON object instead of lists
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// Worker threads, 1 to 1024 [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024),
          help_heading = "Common options")]
    pub(crate) jobs: Option<u16>,

    /// Memory for data under way, such as `512MB` or `1GiB`
    #[arg(long, global = true, value_name = "BYTES", value_parser = parse_size, default_value = "1GiB",
          help_heading = "Common options")]
    pub(crate) memory: u64,

    /// Folder with plugins, besides those that `gmat plugins --help` lists; repeatable
    #[cfg(feature = "plugins")]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Common options")]
    pub(crate) plugin_dir: Vec<PathBuf>,

    /// How progress is shown
    #[arg(long, global = true, value_enum, default_value_t = ProgressMode::Auto, value_name = "MODE",
          help_heading = "Common options")]
    pub(crate) progress: ProgressMode,

    /// Print errors only
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub(crate) quiet: bool,

    /// Print more about decisions
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub(crate) verbose: bool,
}

/// `REGEX=TYPE`, with the hint in the message: clap knows no other place for it.
fn parse_rule(text: &str) -> Result<Rule, String> {
    Rule::parse(text).map_err(|error| match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar on a terminal, otherwise a line per tensor
    Auto,
    /// A line per tensor
    Plain,
    /// A JSON object per event on standard error
    Json,
    /// Nothing
    None,
}

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

/// Write a GGUF file from the store
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  gmat export --model ./output/model.gmat --generate-config
  gmat export --model ./output/model.gmat --config export_config.json --output model-q4km.gguf
  gmat export --model ./output/model.gmat --type q6_k --output model-q6k.gguf
  gmat export --model ./output/model.gmat --target-bpw 4.5 --imatrix imatrix.gguf
  gmat export --model ./llama-70b.gmat --shard-size 5GB --output llama-70b.gguf
  gmat export --model ./llama.gmat --type iq4_xs --imatrix llama.imatrix.gguf --output llama-iq4.gguf
  gmat export --model ./llama.gmat --type q4_k_m --tensor-type attn_v=q8_0 --explain

The type of a tensor is decided by the first of these that has something to say about it:
--tensor-type, `per_tensor`, `expert_rules`, `rules` (all three of the config), the recipe.

`gmat formats` lists types, recipes and architectures.")]
pub(crate) struct Export {
    /// The store: a `model.gmat` folder
    #[arg(short, long, value_name = "PATH")]
    pub(crate) model: PathBuf,

    /// Base of the store, if that is not where it was
    #[arg(long, value_name = "STORE")]
    pub(crate) base: Option<PathBuf>,

    /// Export config; without one (and without export_config.json in the working directory) the
    /// recommended types are computed, or for a model that came as GGUF its types kept
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Output file; a GGUF file of that name is replaced, anything else is not
    #[arg(short, long, value_name = "FILE", default_value = "model.gguf")]
    pub(crate) output: PathBuf,

    /// Largest size of one output file, such as 5000000000 or 5GB; overrides the config
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) shard_size: Option<u64>,

    /// Write export_config.json with recommended types to the working directory and stop
    #[arg(long, conflicts_with_all = ["config", "default_type"])]
    pub(crate) generate_config: bool,

    /// Importance from which a tensor gets a high-quality type (with --generate-config)
    /// [default: 0.2]
    #[arg(long, value_name = "FLOAT")]
    pub(crate) importance_high: Option<f64>,

    /// Importance from which a tensor gets a medium-quality type (with --generate-config)
    /// [default: 0.1]
    #[arg(long, value_name = "FLOAT")]
    pub(crate) importance_medium: Option<f64>,

    /// One type or recipe for the whole model, such as q4_k_m or f16, or `keep` for the types that
    /// tensors are stored in (what a model that came as GGUF gets otherwise); overrides the types of a
    /// config, those of single tensors (`per_tensor`, `rules`) included
    #[arg(long = "type", value_name = "NAME")]
    pub(crate) default_type: Option<String>,

    /// Choose types so that the output has at most so many bits per weight, headers included, and
    /// the model suffers least; overrides the config
    #[arg(long, value_name = "FLOAT", conflicts_with_all = ["target_size", "default_type", "generate_config"])]
    pub(crate) target_bpw: Option<f64>,

    /// The same for a size, such as 4GB; overrides the config
    #[arg(long, value_name = "BYTES", value_parser = parse_size, conflicts_with_all = ["default_type", "generate_config"])]
    pub(crate) target_size: Option<u64>,

    /// Type for tensors with a matching source or GGUF name, such as `attn_v=q8_0`; repeatable, the
    /// first that matches wins, and it wins over the config
    #[arg(long, value_name = "REGEX=TYPE", value_parser = parse_rule, conflicts_with = "generate_config")]
    pub(crate) tensor_type: Vec<Rule>,

    /// Importance matrix of llama.cpp (`.gguf` or `.dat`); overrides the config
    #[arg(long, value_name = "FILE")]
    pub(crate) imatrix: Option<PathBuf>,

    /// Quantize even to types of about two bits where there is no importance, with all columns alike
    #[arg(long)]
    pub(crate) allow_unweighted: bool,

    /// Allow types of plugins whose ids no runtime of others knows
    #[arg(long)]
    pub(crate) allow_custom_types: bool,

    /// Show what every tensor would become, and why, and stop: nothing is written
    #[arg(long, conflicts_with = "generate_config")]
    pub(crate) explain: bool,

    /// Write the error of every tensor to this file, as JSON or, if its name ends in `.html`, as a
    /// page with plots; repeatable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["generate_config", "explain"])]
    pub(crate) report: Vec<PathBuf>,

    /// With --explain: one JSON object instead of a table
    #[arg(long, requires = "explain")]
    pub(crate) json: bool,

    /// How scales are chosen; overrides the config: `standard` (as ggml does, byte by byte) or
    /// `trellis` (searched from there on, never worse) [default: trellis]
    #[arg(long, value_name = "MODE")]
    pub(crate) scale_optimization: Option<String>,

    /// Weight of the smoothness term of trellis, 0 to 1; overrides the config
    #[arg(long, value_name = "FLOAT")]
    pub(crate) trellis_lambda: Option<f64>,

    /// What trellis makes smallest; overrides the config: `ggml` (errors weighted as ggml does, closest
    /// to what the model computed) or `squares` (the plain error) [default: ggml]
    #[arg(long, value_name = "METRIC")]
    pub(crate) trellis_metric: Option<String>,

    /// Treat the model as this architecture
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,

    /// Start over, whatever an interrupted run of this output has finished
    #[arg(long, conflicts_with = "generate_config")]
    pub(crate) restart: bool,

    /// Write a file without tokenizer if the store has none, or a damaged one
    #[arg(long)]
    pub(crate) no_tokenizer: bool,

    /// With --generate-config: overwrite an existing config that differs
    #[arg(long, requires = "generate_config")]
    pub(crate) force: bool,
}

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
