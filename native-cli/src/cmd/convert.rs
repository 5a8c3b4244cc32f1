//! `gmat convert`.

use std::path::{Path, PathBuf};

use gmat_core::arrays::{
    ArrayOptions, ArrayPlan, Difference, Done, Manifest, Mxfp4, Origin, Precision, verify,
};
use gmat_core::registry::unknown;
use gmat_core::store::Store;
use gmat_core::{Error, ErrorKind, Registry, Result, ResultExt};
use serde_json::value::RawValue;

use super::source::Source;
use super::{base, budget, store_at};
use crate::args::{Common, Convert};
use crate::behind::write_behind;
use crate::folder::Folder;
use crate::report::Console;
use crate::size::{show_count, show_size};
use crate::staging::StagedArrays;

pub(crate) fn run(
    args: &Convert,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    let options = options(args, registry)?;
    let target = target(&args.output);
    if let Some(path) = store_at(&args.input) {
        let folder = Folder::new(&path);
        let store = Store::open(&folder)?;
        let base = base::require(&store, folder.path(), args.base.as_deref())?;
        let store = base::attach(store, base.as_ref())?;
        let config = store.metadata.model.config.clone();
        let plan = ArrayPlan::new(Origin::Store(&store), options, registry)?;
        let inputs: Vec<PathBuf> =
            [path].into_iter().chain(base.iter().map(|base| base.path().to_owned())).collect();
        let folders: Vec<&Folder> = [&folder].into_iter().chain(&base).collect();
        return convert(&plan, config, &folders, &inputs, &target, args, common, registry, console);
    }
    let source = Source::open(&args.input)?;
    for note in &source.model.notes {
        console.note(note);
    }
    let config = source.config_json.as_deref().map(config).transpose()?;
    let plan = ArrayPlan::new(Origin::Model(&source.model, &source.folder), options, registry)?;
    let inputs = source.input.paths(&source.model);
    let folders = [&source.folder];
    convert(&plan, config, &folders, &inputs, &target, args, common, registry, console)
}

/// The text of a `config.json`, which has been read before.
fn config(json: &[u8]) -> Result<Box<RawValue>> {
    serde_json::from_slice(json)
        .map_err(|e| Error::malformed("not JSON").with_source(e))
        .context(|| "file `config.json`")
}

fn options(args: &Convert, registry: &Registry) -> Result<ArrayOptions> {
    if args.format == "gguf" {
        return Err(Error::config("`--format gguf` takes two commands").with_hint(format!(
            "gmat import -m {} -o STORE, then gmat export -m STORE/model.gmat -o {}",
            args.input.display(),
            args.output.display()
        )));
    }
    let precision = Precision::from_name(&args.precision);
    let mxfp4 = Mxfp4::from_name(&args.mxfp4);
    Ok(ArrayOptions {
        container: registry.container(&args.format).context(|| "`--format`")?,
        precision: precision.ok_or_else(|| {
            unknown("precision", &args.precision, ["float16", "float32"].into_iter())
                .context("`--precision`")
        })?,
        mxfp4: mxfp4.ok_or_else(|| {
            unknown("choice", &args.mxfp4, ["decode", "raw"].into_iter()).context("`--mxfp4`")
        })?,
        shard_size: args.shard_size,
    })
}

/// The output folder, without a slash at the end: suffixes are added to the name. A link to a folder
/// is written through, not replaced.
fn target(output: &Path) -> PathBuf {
    let output: PathBuf = output.components().collect();
    match output.canonicalize() {
        Ok(real) if output.is_symlink() => real,
        _ => output,
    }
}

#[expect(clippy::too_many_arguments, reason = "two callers, just above")]
fn convert(
    plan: &ArrayPlan<'_>,
    config: Option<Box<RawValue>>,
    folders: &[&Folder],
    inputs: &[PathBuf],
    target: &Path,
    args: &Convert,
    common: &Common,
    registry: &Registry,
    console: &mut Console,
) -> Result<()> {
    let budget = budget(common)?;
    let mut staging = StagedArrays::new(target, inputs, args.restart)?;
    let mut done = Done::default();
    if let Some(earlier) = staging.earlier(args.resume) {
        let found = plan.done(&earlier, console);
        console.end();
        done = found?;
        let whole = staging.is_complete() && done.len() == plan.shards();
        if whole && verify(&earlier, None, registry, budget, console)?.is_empty() {
            console.end();
            console.line(format!("Nothing is left to do: {} is complete", target.display()));
            return Ok(());
        }
        console.end();
        if !done.is_empty() || args.resume {
            let (kept, all) = (done.len(), plan.shards());
            console.line(format!("{kept} of {all} shards are complete and kept"));
        }
    }
    staging.prepare(&done, plan.output_bytes())?;
    console.line(format!(
        "Converting {} to {} ({}, {} shards, {})",
        super::tensors(plan.arrays()),
        args.format,
        args.precision,
        plan.shards(),
        show_size(plan.output_bytes())
    ));
    let written = write_behind(&mut staging, |sink| plan.run(done, config, sink, budget, console));
    console.end();
    let written = folders.iter().fold(written, |result, folder| folder.unchanged(result));
    let manifest = written.inspect_err(|_| left(&staging, console))?;
    if !args.skip_verify {
        console.line("Verifying what was written...");
        let differences = verify(&staging.folder(), None, registry, budget, console);
        console.end();
        refuse(&differences?)?;
    }
    staging.commit()?;
    summary(&manifest, plan, target, console);
    Ok(())
}

/// Tells that an interrupted run can be continued.
fn left(staging: &StagedArrays, console: &mut Console) {
    if staging.has_shards() {
        console.note(format!(
            "complete shards are kept in `{}`: give the same command again to go on, with --restart \
             to start over",
            staging.folder().path().display()
        ));
    }
}

fn refuse(differences: &[Difference]) -> Result<()> {
    let Some(first) = differences.first() else { return Ok(()) };
    let text = format!("`{}` {}", first.file, first.what);
    Err(Error::new(ErrorKind::Mismatch, text)
        .context("what was written cannot be read again as it was")
        .with_hint("check the disk, and give the same command again"))
}

fn summary(manifest: &Manifest, plan: &ArrayPlan<'_>, target: &Path, console: &mut Console) {
    let count = |number: u64| {
        show_count(number).map_or_else(|| number.to_string(), |text| text.replace(' ', ""))
    };
    console.line(format!("✅ {} conversion complete!", plan.title()));
    console.line(format!("   Total shards: {}", manifest.total_shards));
    let parameters = count(manifest.total_parameters);
    console.line(match manifest.total_scales {
        0 => format!("   Total parameters: {parameters}"),
        scales => format!(
            "   Total parameters: {parameters} ({} and {} scales)",
            count(manifest.total_parameters - scales),
            count(scales)
        ),
    });
    if manifest.clamped > 0 {
        console.line(format!("   Clamped to ±65504: {} values", manifest.clamped));
        let affected = manifest.tensors.iter().filter(|tensor| tensor.clamped > 0);
        for tensor in affected {
            console.detail(format!("     {}: {}", tensor.name, tensor.clamped));
        }
    }
    console.line(format!("   Output: {}", target.display()));
}
