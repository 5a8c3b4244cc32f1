//! Carrying out an export plan: read row groups, decode, rearrange rows, quantize, append.

use crate::error::{Error, Result, ResultExt};
use crate::export::damage::Damage;
use crate::export::finished::Finished;
use crate::export::output::{Data, Output};
use crate::export::plan::ExportPlan;
use crate::export::rows::{Input, Rows, Unit, unit_source_len};
use crate::io::Sink;
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::quant::{QuantCx, Search};
use crate::tensor::mem_len;

/// A unit as it is written.
struct Quantized {
    bytes: Vec<u8>,
    damage: Damage,
}

impl ExportPlan<'_> {
    /// Writes all files. With `damages`, also compares every value with what a reader of the file
    /// gets; there is one entry per tensor then, in the order of [`Self::decisions`].
    ///
    /// # Errors
    /// The first error in plan order, naming file, tensor and byte. What the sink has then is
    /// incomplete.
    pub fn run(
        &self,
        sink: &mut dyn Sink,
        budget: Budget,
        progress: &mut dyn Progress,
        damages: Option<&mut Vec<Damage>>,
    ) -> Result<Finished> {
        self.go_on(Finished::default(), sink, budget, progress, damages)
    }

    /// Like [`Self::run`], after the tensors that an interrupted run finished, which the sink still
    /// has: they have no damage. Returns the hashes of all tensors.
    ///
    /// # Errors
    /// Like [`Self::run`].
    pub fn go_on(
        &self,
        finished: Finished,
        sink: &mut dyn Sink,
        budget: Budget,
        progress: &mut dyn Progress,
        mut damages: Option<&mut Vec<Damage>>,
    ) -> Result<Finished> {
        let in_flight = budget.units(self.unit_cost())?;
        let bytes = self.outputs.iter().map(source_len).sum();
        notify(progress, Event::Start { tensors: self.outputs.len(), bytes })?;
        let places = self.places();
        let place = |unit: &Unit| places.of(unit);
        let buffers = Buffers::default();
        let first = finished.tensors();
        let mut files = self.files.iter().peekable();
        let (mut file_end, mut alignment) = (0, 1);
        while let Some(file) = files.next_if(|file| file.tensors.start < first) {
            (file_end, alignment) = (file.tensors.end, file.alignment);
            sink.reopen(&file.name, self.start_in(file, first.min(file_end)))?;
            if file_end <= first {
                sink.finish()?;
            }
        }
        let mut begun = None;
        let mut done = self.outputs.iter().take(first).map(source_len).sum();
        let mut hashes = finished.0;
        let mut hasher = blake3::Hasher::new();
        let (outputs, search, compare) = (&self.outputs, self.search, damages.is_some());
        if let Some(damages) = &mut damages {
            damages.clear();
            damages.resize(outputs.len(), Damage::default());
        }
        let mut last = None;
        drive(
            self.units().filter(|unit| unit.output >= first),
            in_flight,
            |unit| self.read(unit, &mut last).context(|| place(unit)),
            |unit, input| {
                let output =
                    outputs.get(unit.output).ok_or_else(|| Error::shape("no such unit"))?;
                if let (true, Some(input)) = (output.verbatim, &input) {
                    let copied = copy(output, unit, input, compare, &buffers);
                    return copied.context(|| place(unit));
                }
                let rows = Rows::of(output, unit, input.as_ref(), &buffers);
                let quantized = rows.and_then(|rows| {
                    let rows_of = || format!("rows {} to {}", unit.rows.start, unit.rows.end - 1);
                    let quantized = quantize(output, &rows, search, compare, &buffers);
                    buffers.put_values(rows.values);
                    quantized.context(rows_of)
                });
                quantized.context(|| place(unit))
            },
            |unit, quantized| {
                let Some(output) = outputs.get(unit.output) else { return Ok(()) };
                if unit.output == file_end && begun != Some(unit.output) {
                    let file = files.next().ok_or_else(|| Error::shape("no file left"))?;
                    sink.begin(&file.name, Some(file.len))?;
                    sink.append(&file.header)?;
                    (file_end, alignment) = (file.tensors.end, file.alignment);
                }
                if begun != Some(unit.output) {
                    begun = Some(unit.output);
                    let dims: Vec<u64> = output.entry.dims.iter().rev().copied().collect();
                    let (name, encoding) = (output.entry.name.as_str(), output.quant.name());
                    notify(
                        progress,
                        Event::Tensor { index: unit.output, name, dims: &dims, encoding },
                    )?;
                }
                hasher.update(&quantized.bytes);
                buffers.put(sink.give(quantized.bytes)?);
                if let Some(damage) = damages.as_mut().and_then(|all| all.get_mut(unit.output)) {
                    damage.merge(&quantized.damage);
                }
                done += unit_source_len(output, &unit);
                notify(progress, Event::Bytes(done))?;
                if unit.last {
                    let len = output.entry.len;
                    let padding = len.next_multiple_of(alignment) - len;
                    sink.append(&vec![0; mem_len(padding)?])?;
                    let hash = hasher.finalize();
                    hasher.reset();
                    hashes.push(hash);
                    sink.checkpoint(hash.to_hex().as_str())?;
                    if unit.output + 1 == file_end {
                        sink.finish()?;
                    }
                }
                Ok(())
            },
        )?;
        Ok(Finished(hashes))
    }
}

fn source_len(output: &Output) -> u64 {
    match &output.data {
        Data::Stored(pieces) => pieces.iter().map(|piece| piece.source_len(&piece.rows)).sum(),
        Data::Generated(_) => 0,
    }
}

/// The bytes of some rows as they are stored.
fn copy(
    output: &Output,
    unit: &Unit,
    input: &Input<'_>,
    compare: bool,
    buffers: &Buffers,
) -> Result<Quantized> {
    let bytes = input.stored(output, unit, buffers)?;
    let mut damage = Damage::default();
    // Values that are no weights have no error.
    if compare && output.holds_weights() {
        let rows = Rows::of(output, unit, Some(input), buffers)?;
        let cx = QuantCx::standard(rows.cols, None);
        damage.add(output.quant, &rows.values, &cx, &bytes, buffers)?;
        buffers.put_values(rows.values);
    }
    Ok(Quantized { bytes, damage })
}

/// The bytes of some rows in the output.
fn quantize(
    output: &Output,
    rows: &Rows,
    search: Search,
    compare: bool,
    buffers: &Buffers,
) -> Result<Quantized> {
    let (block, quant) = (output.quant.block(), output.quant);
    let len = |values: usize| {
        let len = block.len_of(values as u64);
        mem_len(len.ok_or_else(|| Error::shape("rows are not whole blocks"))?)
    };
    let mut bytes = buffers.bytes();
    bytes.resize(len(rows.values.len())?, 0);
    let mut out = bytes.as_mut_slice();
    let mut damage = Damage::default();
    for part in rows.parts()? {
        if part.values.is_empty() {
            continue;
        }
        let (now, after) = std::mem::take(&mut out)
            .split_at_mut_checked(len(part.values.len())?)
            .ok_or_else(|| Error::shape("more rows than their bytes"))?;
        let cx = QuantCx { search, ..QuantCx::standard(rows.cols, part.importance) };
        quant.quantize(part.values, &cx, now)?;
        if compare {
            damage.add(quant, part.values, &cx, now, buffers)?;
        }
        out = after;
    }
    Ok(Quantized { bytes, damage })
}
