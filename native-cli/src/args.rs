//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::size::parse_size;

pub(crate) use self::convert::Convert;
pub(crate) use self::export::Export;
pub(crate) use self::import::Import;
pub(crate) use self::read::{Compare, Inspect, Verify};

mod convert;
mod export;
mod import;
mod read;

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
