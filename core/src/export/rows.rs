//! The rows of an export: read from the store, decoded, in the order of the output, and with the
//! weights of their columns.

use std::ops::Range;
use std::sync::Arc;

use crate::arch::RowMap;
use crate::decode::RowDecoder;
use crate::error::{Error, Result, ResultExt};
use crate::export::importance::{Slices, Weights};
use crate::export::plan::{Data, ExportPlan, Output};
use crate::format::store::{Index, checksum, damaged};
use crate::io::Chunk;
use crate::pipeline::Buffers;
use crate::store::tensor_file;
use crate::tensor::mem_len;

/// Consecutive rows of one output tensor, whole heads where rows are rearranged.
pub(crate) struct Unit {
    pub(crate) output: usize,
    pub(crate) rows: Range<u64>,
    pub(crate) last: bool,
}

/// What a unit needs: the bytes of some row groups, and the weights of its columns.
pub(crate) struct Input<'a> {
    groups: Range<usize>,
    bytes: Chunk<'a>,
    weights: Option<UnitWeights>,
}

/// Weights of columns, one set for each of some slices of a tensor.
#[derive(Clone)]
pub(crate) struct UnitWeights {
    output: usize,
    slices: Slices,
    range: Range<u64>,
    values: Arc<[f32]>,
}

/// The rows of a unit.
pub(crate) struct Rows {
    /// All values, row after row.
    pub(crate) values: Vec<f32>,
    /// Elements of a row. Vectors are one long row to the quantizer; the store cuts them anywhere.
    pub(crate) cols: usize,
    first: u64,
    weights: Option<UnitWeights>,
    /// Weights of all columns, if they are alike.
    ones: Option<Vec<f32>>,
}

/// Consecutive rows that have the weights of their columns in common.
pub(crate) struct Part<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) importance: Option<&'a [f32]>,
}

impl Rows {
    /// The rows of a unit, in the order of the output.
    pub(crate) fn of(
        output: &Output,
        unit: &Unit,
        input: Option<&Input<'_>>,
        buffers: &Buffers,
    ) -> Result<Self> {
        let (index, format, map, input) = match (&output.data, input) {
            (Data::Generated(values), _) => {
                let mut copy = buffers.values(values.len());
                copy.copy_from_slice(values);
                let cols = values.len();
                return Ok(Self { values: copy, cols, first: 0, weights: None, ones: None });
            }
            (Data::Stored { index, format, rows, .. }, Some(input)) => {
                (index, *format, rows, input)
            }
            (Data::Stored { .. }, None) => {
                return Err(Error::shape("a stored tensor without input"));
            }
        };
        let (all_rows, cols) = index.matrix();
        let cols = mem_len(cols)?;
        let mut values = decode(index, format, unit, input, cols, buffers)?;
        if *map != RowMap::Identity && !values.is_empty() {
            let mut out = buffers.values(values.len());
            for (row, to) in (unit.rows.start..).zip(out.chunks_mut(cols)) {
                let from = map.source_row(row, all_rows)? - unit.rows.start;
                let start = mem_len(from)? * cols;
                let from = values.get(start..start + cols);
                to.copy_from_slice(from.ok_or_else(|| Error::shape("a row outside its unit"))?);
            }
            buffers.put_values(std::mem::replace(&mut values, out));
        }
        let cols = if index.shape.rank() <= 1 { values.len() } else { cols };
        let ones = (output.weights == Weights::Ones).then(|| vec![1.0; cols]);
        let weights = input.weights.clone();
        Ok(Self { values, cols, first: unit.rows.start, weights, ones })
    }

    /// The rows in parts with common weights, in order.
    pub(crate) fn parts(&self) -> Result<Vec<Part<'_>>> {
        let Some(weights) = &self.weights else {
            return Ok(vec![Part { values: &self.values, importance: self.ones.as_deref() }]);
        };
        let cols = self.cols.max(1);
        let (mut values, mut row) = (self.values.as_slice(), self.first);
        let mut parts = Vec::new();
        for (slice, own) in weights.range.clone().zip(weights.values.chunks(cols)) {
            let end = (slice + 1).saturating_mul(weights.slices.rows);
            let count = mem_len(end.saturating_sub(row))?.min(values.len() / cols);
            let (now, later) = values
                .split_at_checked(count * cols)
                .ok_or_else(|| Error::shape("rows outside their slice"))?;
            parts.push(Part { values: now, importance: Some(own) });
            (values, row) = (later, row + count as u64);
        }
        match values.is_empty() {
            true => Ok(parts),
            false => Err(Error::shape("rows without importance")),
        }
    }
}

impl ExportPlan<'_> {
    pub(crate) fn place(&self, output: &Output) -> String {
        match &output.data {
            Data::Stored { index, name, .. } => format!(
                "tensor `{}` (`{name}`), file `{}`",
                output.entry.name,
                self.store.files().place(&tensor_file(index.id))
            ),
            Data::Generated(_) => format!("tensor `{}`", output.entry.name),
        }
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = Unit> + '_ {
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
    pub(crate) fn unit_cost(&self) -> u64 {
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
    pub(crate) fn read(
        &self,
        unit: &Unit,
        last: &mut Option<UnitWeights>,
    ) -> Result<Option<Input<'_>>> {
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

/// Bytes that a unit has in the source.
pub(crate) fn unit_source_len(output: &Output, unit: &Unit) -> u64 {
    match &output.data {
        Data::Stored { index, .. } => index.source_len(unit.rows.end - unit.rows.start),
        Data::Generated(_) => 0,
    }
}

/// The rows of a unit as values; every row group touched is checked first.
fn decode(
    index: &Index,
    format: RowDecoder,
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
