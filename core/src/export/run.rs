//! Carrying out an export plan: read row groups, decode, rearrange rows, quantize, append.

use std::ops::Range;

use crate::arch::RowMap;
use crate::block::BlockFormat;
use crate::error::{Error, Result, ResultExt};
use crate::export::plan::{Data, ExportPlan, Output};
use crate::format::gguf::align_up;
use crate::format::store::{Index, checksum, damaged};
use crate::io::{Chunk, Sink};
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::quant::QuantCx;
use crate::store::tensor_file;
use crate::tensor::mem_len;

/// Consecutive rows of one output tensor, whole heads where rows are rearranged.
struct Unit {
    output: usize,
    rows: Range<u64>,
    last: bool,
}

/// What a unit needs from the store: the bytes of some row groups.
struct Input<'a> {
    groups: Range<usize>,
    bytes: Chunk<'a>,
}

impl ExportPlan<'_> {
    /// Writes all files.
    ///
    /// # Errors
    /// The first error in plan order, naming file, tensor and byte. What the sink has then is
    /// incomplete.
    pub fn run(
        &self,
        sink: &mut dyn Sink,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let in_flight = budget.units(self.unit_cost())?;
        let bytes = self.outputs.iter().map(source_len).sum();
        notify(progress, Event::Start { tensors: self.outputs.len(), bytes })?;
        let places: Vec<String> = self.outputs.iter().map(|output| self.place(output)).collect();
        let place = |unit: &Unit| places.get(unit.output).cloned().unwrap_or_default();
        let buffers = Buffers::default();
        let mut files = self.files.iter();
        let mut file_end = 0;
        let mut begun = None;
        let mut done = 0;
        let outputs = &self.outputs;
        drive(
            self.units(),
            in_flight,
            |unit| self.read(unit).context(|| place(unit)),
            |unit, input| {
                let output =
                    outputs.get(unit.output).ok_or_else(|| Error::shape("no such unit"))?;
                quantize(output, unit, input.as_ref(), &buffers).context(|| place(unit))
            },
            |unit, quantized| {
                let Some(output) = outputs.get(unit.output) else { return Ok(()) };
                if unit.output == file_end && begun != Some(unit.output) {
                    let file = files.next().ok_or_else(|| Error::shape("no file left"))?;
                    sink.begin(&file.name, Some(file.len))?;
                    sink.append(&file.header)?;
                    file_end = file.tensors.end;
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
                sink.append(&quantized)?;
                buffers.put(quantized);
                done += unit_source_len(output, &unit);
                notify(progress, Event::Bytes(done))?;
                if unit.last {
                    let padding = align_up(output.entry.len) - output.entry.len;
                    sink.append(&vec![0; mem_len(padding)?])?;
                    if unit.output + 1 == file_end {
                        sink.finish()?;
                    }
                }
                Ok(())
            },
        )
    }

    fn place(&self, output: &Output) -> String {
        match &output.data {
            Data::Stored { index, name, .. } => format!(
                "tensor `{}` (`{name}`), file `{}`",
                output.entry.name,
                self.store.files().place(&tensor_file(index.id))
            ),
            Data::Generated(_) => format!("tensor `{}`", output.entry.name),
        }
    }

    fn units(&self) -> impl Iterator<Item = Unit> + '_ {
        self.outputs.iter().enumerate().flat_map(|(number, output)| {
            let (rows, step) = match &output.data {
                Data::Stored { index, head_rows, .. } => {
                    (index.matrix().0, unit_rows(index, *head_rows))
                }
                Data::Generated(_) => (1, 1),
            };
            let units = rows.div_ceil(step).max(1);
            (0..units).map(move |unit| {
                let start = (unit * step).min(rows);
                let end = (start + step).min(rows);
                Unit { output: number, rows: start..end, last: unit + 1 == units }
            })
        })
    }

    /// Bytes that one unit under way needs at most.
    fn unit_cost(&self) -> u64 {
        let mut most = 0;
        for output in &self.outputs {
            let Data::Stored { index, head_rows, .. } = &output.data else { continue };
            let (all, cols) = index.matrix();
            let values = unit_rows(index, *head_rows).min(all).saturating_mul(cols);
            let stored = index.groups.iter().map(|group| group.len).max().unwrap_or(0);
            // Decoded values, their rearranged copy, the encoded groups (two, where units and
            // groups do not line up) and the output.
            most = most.max(values.saturating_mul(12).saturating_add(2 * stored));
        }
        most
    }

    fn read(&self, unit: &Unit) -> Result<Option<Input<'_>>> {
        let output = self.outputs.get(unit.output).ok_or_else(|| Error::shape("no such unit"))?;
        let Data::Stored { index, .. } = &output.data else { return Ok(None) };
        if unit.rows.is_empty() {
            return Ok(Some(Input { groups: 0..0, bytes: Box::new([0u8; 0]) }));
        }
        let first = mem_len(unit.rows.start / index.group_rows)?;
        let end = mem_len(unit.rows.end.div_ceil(index.group_rows))?;
        let groups =
            index.groups.get(first..end).ok_or_else(|| Error::shape("no such row group"))?;
        let (Some(head), Some(tail)) = (groups.first(), groups.last()) else {
            return Err(Error::shape("no such row group"));
        };
        let range = head.offset..tail.offset + tail.len;
        let bytes = self.store.files().read(&tensor_file(index.id), range)?;
        Ok(Some(Input { groups: first..end, bytes }))
    }
}

/// Rows of a unit: a row group, or more where heads must stay whole.
fn unit_rows(index: &Index, head_rows: u64) -> u64 {
    let (head, group) = (head_rows.max(1), index.group_rows.max(1));
    if group.is_multiple_of(head) { group } else { head * group.div_ceil(head) }
}

fn source_len(output: &Output) -> u64 {
    match &output.data {
        Data::Stored { index, .. } => index.shape.elems() * index.dtype.size() as u64,
        Data::Generated(_) => 0,
    }
}

fn unit_source_len(output: &Output, unit: &Unit) -> u64 {
    match &output.data {
        Data::Stored { index, .. } => {
            (unit.rows.end - unit.rows.start) * index.matrix().1 * index.dtype.size() as u64
        }
        Data::Generated(_) => 0,
    }
}

/// The bytes of one unit in the output.
fn quantize(
    output: &Output,
    unit: &Unit,
    input: Option<&Input<'_>>,
    buffers: &Buffers,
) -> Result<Vec<u8>> {
    let (index, format, rows, input) = match (&output.data, input) {
        (Data::Generated(values), _) => return encode(output, values, values.len(), buffers),
        (Data::Stored { index, format, rows, .. }, Some(input)) => (index, *format, rows, input),
        (Data::Stored { .. }, None) => return Err(Error::shape("a stored tensor without input")),
    };
    if unit.rows.is_empty() {
        return Ok(buffers.bytes());
    }
    let (all_rows, cols) = index.matrix();
    let cols = mem_len(cols)?;
    let decoded = decode(index, format, unit, input, cols, buffers)?;
    // Vectors are one long row to the quantizer; the store cuts them anywhere.
    let row_len = if index.shape.rank() <= 1 { decoded.len() } else { cols };
    let rearranged = match rows {
        RowMap::Identity => decoded,
        map => {
            let mut out = buffers.values(decoded.len());
            for (row, to) in (unit.rows.start..).zip(out.chunks_mut(cols)) {
                let from = map.source_row(row, all_rows)? - unit.rows.start;
                let start = mem_len(from)? * cols;
                let from = decoded.get(start..start + cols);
                to.copy_from_slice(from.ok_or_else(|| Error::shape("a row outside its unit"))?);
            }
            buffers.put_values(decoded);
            out
        }
    };
    let bytes = encode(output, &rearranged, row_len, buffers)
        .context(|| format!("rows {} to {}", unit.rows.start, unit.rows.end - 1))?;
    buffers.put_values(rearranged);
    Ok(bytes)
}

fn encode(output: &Output, values: &[f32], cols: usize, buffers: &Buffers) -> Result<Vec<u8>> {
    let len = output
        .quant
        .block()
        .len_of(values.len() as u64)
        .ok_or_else(|| Error::shape("rows are not whole blocks"))?;
    let mut bytes = buffers.bytes();
    bytes.resize(mem_len(len)?, 0);
    output.quant.quantize(values, &QuantCx::standard(cols, None), &mut bytes)?;
    Ok(bytes)
}

/// The rows of a unit as values; every row group touched is checked first.
fn decode(
    index: &Index,
    format: &dyn BlockFormat,
    unit: &Unit,
    input: &Input<'_>,
    cols: usize,
    buffers: &Buffers,
) -> Result<Vec<f32>> {
    let mut values = buffers.values(mem_len(unit.rows.end - unit.rows.start)? * cols);
    let mut bytes = input.bytes.as_ref().as_ref();
    let mut filled = 0;
    for number in input.groups.clone() {
        let group = index.groups.get(number).ok_or_else(|| Error::shape("no such row group"))?;
        let place = || format!("row group {number} at byte {}", group.offset);
        let (own, rest) = bytes
            .split_at_checked(mem_len(group.len)?)
            .ok_or_else(|| Error::malformed("the file is shorter than it was").context(place()))?;
        bytes = rest;
        if checksum(own) != group.sum {
            return Err(damaged(&format!("row group {number}"), group.offset));
        }
        let shape = index.group_shape(number)?;
        let group_rows = index.group_rows(number);
        let wanted = group_rows.start.max(unit.rows.start)..group_rows.end.min(unit.rows.end);
        let count = mem_len(wanted.end - wanted.start)? * cols;
        let to = values.get_mut(filled..filled + count);
        let to = to.ok_or_else(|| Error::shape("row groups overlap"))?;
        if wanted == group_rows {
            format.decode(own, shape, to).context(place)?;
        } else {
            let mut whole = buffers.values(shape.rows * shape.cols);
            format.decode(own, shape, &mut whole).context(place)?;
            let start = mem_len(wanted.start - group_rows.start)? * cols;
            let from = whole.get(start..start + count);
            to.copy_from_slice(from.ok_or_else(|| Error::shape("row outside its group"))?);
            buffers.put_values(whole);
        }
        filled += count;
    }
    Ok(values)
}
