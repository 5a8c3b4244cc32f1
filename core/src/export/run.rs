//! Carrying out an export plan: read row groups, decode, rearrange rows, quantize, append.

use std::ops::Range;
use std::sync::Arc;

use crate::arch::RowMap;
use crate::block::BlockFormat;
use crate::error::{Error, Result, ResultExt};
use crate::export::importance::{Slices, Weights};
use crate::export::plan::{Data, ExportPlan, Output};
use crate::format::gguf::align_up;
use crate::format::store::{Index, checksum, damaged};
use crate::io::{Chunk, Sink};
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::quant::{QuantCx, Search};
use crate::store::tensor_file;
use crate::tensor::mem_len;

/// Consecutive rows of one output tensor, whole heads where rows are rearranged.
struct Unit {
    output: usize,
    rows: Range<u64>,
    last: bool,
}

/// What a unit needs: the bytes of some row groups, and the weights of its columns.
struct Input<'a> {
    groups: Range<usize>,
    bytes: Chunk<'a>,
    weights: Option<UnitWeights>,
}

/// Weights of columns, one set for each of some slices of a tensor.
#[derive(Clone)]
struct UnitWeights {
    output: usize,
    slices: Slices,
    range: Range<u64>,
    values: Arc<[f32]>,
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
        let (outputs, search) = (&self.outputs, self.search);
        let mut last = None;
        drive(
            self.units(),
            in_flight,
            |unit| self.read(unit, &mut last).context(|| place(unit)),
            |unit, input| {
                let output =
                    outputs.get(unit.output).ok_or_else(|| Error::shape("no such unit"))?;
                quantize(output, unit, input.as_ref(), search, &buffers).context(|| place(unit))
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
            // groups do not line up) and the output; weights, once as they are in their file.
            let weights = match output.weights {
                Weights::None => 0,
                Weights::Ones => cols.saturating_mul(4),
                Weights::Matrix(slices) => slices.cost(unit_rows(index, *head_rows).min(all)),
            };
            let data = values.saturating_mul(12).saturating_add(2 * stored);
            most = most.max(data.saturating_add(weights.saturating_mul(2)));
        }
        most
    }

    /// Reads what a unit needs; `last` keeps weights, as consecutive units mostly share them.
    fn read(&self, unit: &Unit, last: &mut Option<UnitWeights>) -> Result<Option<Input<'_>>> {
        let output = self.outputs.get(unit.output).ok_or_else(|| Error::shape("no such unit"))?;
        let Data::Stored { index, .. } = &output.data else { return Ok(None) };
        if unit.rows.is_empty() {
            return Ok(Some(Input { groups: 0..0, bytes: Box::new([0u8; 0]), weights: None }));
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
        let weights = self.weights(output, unit, last)?;
        Ok(Some(Input { groups: first..end, bytes, weights }))
    }

    fn weights(
        &self,
        output: &Output,
        unit: &Unit,
        last: &mut Option<UnitWeights>,
    ) -> Result<Option<UnitWeights>> {
        let (Weights::Matrix(slices), Some(importance)) = (output.weights, self.importance) else {
            return Ok(None);
        };
        let range = slices.range(&unit.rows);
        let same = |last: &UnitWeights| last.output == unit.output && last.range == range;
        if !last.as_ref().is_some_and(same) {
            let values = importance.read(&output.entry.name, &slices, &range)?.into();
            *last = Some(UnitWeights { output: unit.output, slices, range, values });
        }
        Ok(last.clone())
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
    search: Search,
    buffers: &Buffers,
) -> Result<Vec<u8>> {
    let (index, format, rows, input) = match (&output.data, input) {
        (Data::Generated(values), _) => {
            let cx = QuantCx { search, ..QuantCx::standard(values.len(), None) };
            return encode(output, values, 0, &cx, None, buffers);
        }
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
    let ones = (output.weights == Weights::Ones).then(|| vec![1.0; row_len]);
    let cx = QuantCx { search, ..QuantCx::standard(row_len, ones.as_deref()) };
    let weights = input.weights.as_ref();
    let bytes = encode(output, &rearranged, unit.rows.start, &cx, weights, buffers)
        .context(|| format!("rows {} to {}", unit.rows.start, unit.rows.end - 1))?;
    buffers.put_values(rearranged);
    Ok(bytes)
}

/// Quantizes rows, of which the first is row `first` of the tensor.
fn encode(
    output: &Output,
    values: &[f32],
    first: u64,
    cx: &QuantCx<'_>,
    weights: Option<&UnitWeights>,
    buffers: &Buffers,
) -> Result<Vec<u8>> {
    let block = output.quant.block();
    let len = |values: usize| {
        let len = block.len_of(values as u64);
        mem_len(len.ok_or_else(|| Error::shape("rows are not whole blocks"))?)
    };
    let mut bytes = buffers.bytes();
    bytes.resize(len(values.len())?, 0);
    let Some(weights) = weights else {
        output.quant.quantize(values, cx, &mut bytes)?;
        return Ok(bytes);
    };
    let (row_len, slice_rows) = (len(cx.cols)?, weights.slices.rows);
    let (mut values, mut out, mut row) = (values, bytes.as_mut_slice(), first);
    for (slice, own) in weights.range.clone().zip(weights.values.chunks(cx.cols.max(1))) {
        let rest = mem_len((slice * slice_rows + slice_rows).saturating_sub(row))?;
        let count = rest.min(values.len() / cx.cols.max(1));
        let wrong = || Error::shape("rows outside their slice");
        let (now, later) = values.split_at_checked(count * cx.cols).ok_or_else(wrong)?;
        let (to, after) =
            std::mem::take(&mut out).split_at_mut_checked(count * row_len).ok_or_else(wrong)?;
        let cx = QuantCx { importance: Some(own), ..*cx };
        output.quant.quantize(now, &cx, to).context(|| format!("importance set {slice}"))?;
        (values, out, row) = (later, after, row + count as u64);
    }
    match values.is_empty() {
        true => Ok(bytes),
        false => Err(Error::shape("rows without importance")),
    }
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
