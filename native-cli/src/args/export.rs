//! Options of `gmat export`.

use std::path::PathBuf;

use gmat_core::config::Rule;

use crate::size::parse_size;

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

/// `REGEX=TYPE`, with the hint in the message: clap knows no other place for it.
fn parse_rule(text: &str) -> Result<Rule, String> {
    Rule::parse(text).map_err(|error| match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    })
}
