//! What an export is told: by a config, and by options that win over it.

use std::path::{Path, PathBuf};

use gmat_core::config::{ExportConfig, ScaleOptimization};
use gmat_core::export::{KEEP, check_type};
use gmat_core::quant::Metric;
use gmat_core::store::Store;
use gmat_core::{Error, Registry, Result, ResultExt};

use super::{CONFIG, recommended};
use crate::args::Export;
use crate::cmd::read_config;
use crate::report::Console;

/// The config file given, the one in the working directory, or the recommended one; and the folder
/// it is in.
pub(super) fn config(
    args: &Export,
    store: &Store<'_>,
    registry: &Registry,
    console: &mut Console,
) -> Result<(ExportConfig, PathBuf)> {
    let found = Path::new(CONFIG).exists().then(|| PathBuf::from(CONFIG));
    // These mean the whole model: a config found by chance must not mix in.
    let whole =
        args.default_type.is_some() || args.target_bpw.is_some() || args.target_size.is_some();
    let path = args.config.clone().or_else(|| found.filter(|_| !whole));
    let thresholds = args.importance_high.is_some() || args.importance_medium.is_some();
    if thresholds && (path.is_some() || whole) {
        console.note(
            "`--importance-high` and `--importance-medium` decide nothing here: they are for \
             recommended types, with --generate-config or without any config",
        );
    }
    match path {
        Some(path) => {
            if args.config.is_none() {
                console.note(format!("using `{CONFIG}` of the working directory"));
            }
            let config = ExportConfig::parse(&read_config(&path)?)
                .context(|| format!("config `{}`", path.display()))?;
            Ok((config, path.parent().map(Path::to_owned).unwrap_or_default()))
        }
        None if whole => Ok(Default::default()),
        None if store.metadata.model.source_keys.is_some() => {
            console.note("no type given: every tensor stays what it is in the GGUF source");
            let mut config = ExportConfig::default();
            config.quantization.default_type = KEEP.into();
            Ok((config, PathBuf::new()))
        }
        None => {
            console.note("no config given: every tensor gets its recommended type");
            Ok((recommended(args, store, registry)?.config, PathBuf::new()))
        }
    }
}

/// Lays the options over the config.
pub(super) fn apply_options(
    args: &Export,
    config: &mut ExportConfig,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    if let Some(name) = &args.default_type {
        check_type(name, registry).context(|| "`--type`")?;
        let types = &mut config.quantization;
        types.default_type = name.as_str().into();
        // A generated config names a type for every tensor: the option would change nothing but the
        // type that the file as a whole claims to be.
        overridden("per_tensor", std::mem::take(&mut types.per_tensor).len(), console);
        overridden("rules", std::mem::take(&mut types.rules).len(), console);
        overridden("expert_rules", std::mem::take(&mut config.expert_rules).len(), console);
    }
    if let Some(path) = &args.imatrix {
        let name = path.to_str();
        let name = name.ok_or_else(|| Error::config("the name after `--imatrix` is not UTF-8"))?;
        config.imatrix = Some(name.to_owned());
    }
    if let Some(bits) = args.target_bpw {
        if !(bits > 0.0 && bits <= 32.0) {
            return Err(Error::config(format!(
                "`--target-bpw` is `{bits}`, expected a number above 0, up to 32"
            )));
        }
        (config.target_bpw, config.target_size) = (Some(bits), None);
    }
    if let Some(bytes) = args.target_size {
        (config.target_bpw, config.target_size) = (None, Some(bytes));
    }
    if args.default_type.is_some() {
        (config.target_bpw, config.target_size) = (None, None);
    }
    if let Some(bytes) = args.shard_size {
        config.shard_size = Some(bytes);
    }
    if let Some(mode) = &args.scale_optimization {
        config.quantization.scale_optimization = ScaleOptimization::from_name(mode)?;
    }
    if let Some(lambda) = args.trellis_lambda {
        if !(0.0..=1.0).contains(&lambda) {
            return Err(Error::config(format!(
                "`--trellis-lambda` is `{lambda}`, expected a number from 0 to 1"
            )));
        }
        config.quantization.trellis_lambda = lambda;
    }
    if let Some(metric) = &args.trellis_metric {
        config.quantization.trellis_metric = Metric::from_name(metric)?;
    }
    Ok(())
}

/// Says how many entries of the config an option sets aside.
fn overridden(key: &str, count: usize, console: &mut Console) {
    match count {
        0 => {}
        1 => console.note(format!("1 entry of `{key}` is overridden by --type")),
        _ => console.note(format!("{count} entries of `{key}` are overridden by --type")),
    }
}
