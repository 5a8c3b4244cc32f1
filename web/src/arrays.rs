//! Arrays for NumPy and JAX, as `gmat convert` writes them.

use gmat_core::arrays::{
    ArrayOptions as Choices, ArrayPlan, Done, Mxfp4, NOTES, Origin, Precision,
};
use gmat_core::io::Sink;
use gmat_core::progress::Progress;
use gmat_core::registry::unknown;
use gmat_core::{Error, Registry, Result, ResultExt};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use crate::host::PageFiles;
use crate::inspect::Kind;
use crate::options::ArrayOptions;
use crate::run::budget;
use crate::source::{Source, store};

/// Bytes of a shard if nothing else is wished, as on the command line.
const SHARD: u64 = 1_800_000_000;

/// What would be written.
pub(crate) fn plan(
    source: &Source,
    base: Option<&PageFiles>,
    options: &ArrayOptions,
    registry: &Registry,
) -> Result<Json> {
    with_plan(source, base, options, registry, &mut |plan, _, notes| Ok(shown(plan, notes)))
}

/// Writes it.
pub(crate) fn write(
    source: &Source,
    base: Option<&PageFiles>,
    options: &ArrayOptions,
    registry: &Registry,
    sink: &mut dyn Sink,
    progress: &mut dyn Progress,
) -> Result<Json> {
    with_plan(source, base, options, registry, &mut |plan, config, notes| {
        let mut sink = WithoutNotes { sink: &mut *sink, skips: false };
        let manifest = plan.run(Done::default(), config, &mut sink, budget(), &mut *progress)?;
        let mut answer = shown(plan, notes);
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("clamped".to_owned(), manifest.clamped.into());
        }
        Ok(answer)
    })
}

type Work<'w> = dyn FnMut(&ArrayPlan<'_>, Option<Box<RawValue>>, &[String]) -> Result<Json> + 'w;

/// Plans, and hands the plan with the `config.json` of the model to `work`.
fn with_plan(
    source: &Source,
    base: Option<&PageFiles>,
    options: &ArrayOptions,
    registry: &Registry,
    work: &mut Work<'_>,
) -> Result<Json> {
    let choices = choices(options, registry)?;
    if source.kind == Kind::Store {
        let store = store(&source.files, base)?;
        let config = store.metadata.model.config.clone();
        let plan = ArrayPlan::new(Origin::Store(&store), choices, registry)?;
        return work(&plan, config, &[]);
    }
    let opened = source.open()?;
    let parse = |json: &[u8]| serde_json::from_slice::<Box<RawValue>>(json);
    let config = opened.config_json.as_deref().map(parse).transpose();
    let config = config
        .map_err(|e| Error::malformed("not JSON").with_source(e))
        .context(|| "file `config.json`")?;
    let plan = ArrayPlan::new(Origin::Model(&opened.model, &source.files), choices, registry)?;
    work(&plan, config, &opened.model.notes)
}

fn choices(options: &ArrayOptions, registry: &Registry) -> Result<Choices> {
    let ArrayOptions { format, precision, mxfp4, shard_size } = options;
    Ok(Choices {
        container: registry.container(format)?,
        precision: Precision::from_name(precision)
            .ok_or_else(|| unknown("precision", precision, ["float16", "float32"].into_iter()))?,
        mxfp4: Mxfp4::from_name(mxfp4)
            .ok_or_else(|| unknown("choice", mxfp4, ["decode", "raw"].into_iter()))?,
        shard_size: shard_size.unwrap_or(SHARD),
    })
}

fn shown(plan: &ArrayPlan<'_>, notes: &[String]) -> Json {
    json!({
        "arrays": plan.arrays(),
        "shards": plan.shards(),
        "bytes": plan.output_bytes(),
        "parameters": plan.parameters().0,
        "notes": notes,
        "warnings": [],
    })
}

/// Leaves out the notes for a run that goes on, which a page has not.
struct WithoutNotes<'a> {
    sink: &'a mut dyn Sink,
    skips: bool,
}

impl Sink for WithoutNotes<'_> {
    fn begin(&mut self, name: &str, len: Option<u64>) -> Result<()> {
        self.skips = name.strip_prefix(NOTES).is_some_and(|rest| rest.starts_with('/'));
        if self.skips { Ok(()) } else { self.sink.begin(name, len) }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.skips { Ok(()) } else { self.sink.append(bytes) }
    }

    fn finish(&mut self) -> Result<()> {
        if self.skips { Ok(()) } else { self.sink.finish() }
    }
}
