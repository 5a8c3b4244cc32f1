//! The rows of an export: read from the store, decoded, in the order of the output, and with the
//! weights of their columns.

use std::ops::Range;
use std::sync::Arc;

use crate::decode::Stored;
use crate::error::{Error, Result, ResultExt};
use crate::export::importance::{Slices, Weights};
use crate::export::output::{Data, Output};
use crate::export::pieces::Piece;
use crate::export::plan::ExportPlan;
use crate::format::store::Index;
use crate::io::Chunk;
use crate::pipeline::Buffers;
use crate::plugin::{decoder_memory, quant_memory};
use crate::store::Location;
use crate::tensor::mem_len;

/// Consecutive rows of one output tensor that come from one stored tensor.
pub(crate) struct Unit {
    pub(crate) output: usize,
    /// Number of the piece that they come from.
    pub(crate) piece: usize,
    pub(crate) rows: Range<u64>,
    pub(crate) last: bool,
}

/// What a unit needs: the bytes of some row groups, and the weights of its columns.
pub(crate) struct Input<'a> {
    groups: Range<usize>,
    bytes: Chunk<'a>,
    /// The same row groups of the base.
    base: Option<Chunk<'a>>,
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

impl Input<'_> {
    fn chunks(&self) -> Stored<'_> {
        let base = self.base.as_ref().map(|base| base.as_ref().as_ref());
        Stored { own: self.bytes.as_ref().as_ref(), base }
    }

    /// The bytes of a unit's rows as they are stored, in the order of the output.
    ///
    /// # Errors
    /// `Malformed` if a row group is damaged, naming it.
    pub(crate) fn stored(
        &self,
        output: &Output,
        unit: &Unit,
        buffers: &Buffers,
    ) -> Result<Vec<u8>> {
        let Data::Stored(pieces) = &output.data else { return Err(no_such()) };
        let piece = pieces.get(unit.piece).ok_or_else(no_such)?;
        piece.stored(&unit.rows, &self.groups, self.chunks(), buffers)
    }
}

impl Rows {
    /// The rows of a unit, in the order of the output.
    pub(crate) fn of(
        output: &Output,
        unit: &Unit,
        input: Option<&Input<'_>>,
        buffers: &Buffers,
    ) -> Result<Self> {
        let (pieces, input) = match (&output.data, input) {
            (Data::Generated(values), _) => {
                let mut copy = buffers.values(values.len());
                copy.copy_from_slice(values);
                let cols = values.len();
                return Ok(Self { values: copy, cols, first: 0, weights: None, ones: None });
            }
            (Data::Stored(pieces), Some(input)) => (pieces, input),
            (Data::Stored(_), None) => {
                return Err(Error::shape("a stored tensor without input"));
            }
        };
        let piece = pieces.get(unit.piece).ok_or_else(no_such)?;
        let values = piece.values(&unit.rows, &input.groups, input.chunks(), buffers)?;
        let cols = match output.entry.dims.as_slice() {
            [] | [_] => values.len(),
            [cols, ..] => mem_len(*cols)?,
        };
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

/// What messages call the tensors; files cannot be asked from every thread.
pub(crate) struct Places(Vec<Vec<String>>);

impl Places {
    /// The tensor of the output, the stored one that the rows come from, and its file.
    pub(crate) fn of(&self, unit: &Unit) -> String {
        let place = self.0.get(unit.output).and_then(|pieces| pieces.get(unit.piece));
        place.cloned().unwrap_or_default()
    }
}

impl ExportPlan<'_> {
    /// What messages call the tensors.
    pub(crate) fn places(&self) -> Places {
        let of = |output: &Output| {
            let name = &output.entry.name;
            match &output.data {
                Data::Stored(pieces) => {
                    let file = |piece: &Piece| self.store.place(piece.location);
                    let place = |piece: &Piece| {
                        format!("tensor `{name}` (`{}`), file `{}`", piece.name, file(piece))
                    };
                    pieces.iter().map(place).collect()
                }
                Data::Generated(_) => vec![format!("tensor `{name}`")],
            }
        };
        Places(self.outputs.iter().map(of).collect())
    }

    /// All rows of the output, in its order; a tensor or piece without elements has one empty unit.
    pub(crate) fn units(&self) -> impl Iterator<Item = Unit> + '_ {
        self.outputs.iter().enumerate().flat_map(|(number, output)| {
            let pieces: &[Piece] = match &output.data {
                Data::Stored(pieces) => pieces,
                Data::Generated(_) => &[],
            };
            let generated = pieces.is_empty().then_some(Unit {
                output: number,
                piece: 0,
                rows: 0..1,
                last: true,
            });
            let stored = pieces.iter().enumerate().flat_map(move |(at, piece)| {
                let next =
                    |rows: &Range<u64>| (rows.end < piece.rows.end).then(|| piece.unit(rows.end));
                let ranges = std::iter::successors(Some(piece.unit(piece.rows.start)), next);
                ranges.map(move |rows| {
                    let last = rows.end == piece.rows.end && at + 1 == pieces.len();
                    Unit { output: number, piece: at, rows, last }
                })
            });
            generated.into_iter().chain(stored)
        })
    }

    /// Bytes that one unit under way needs at most.
    pub(crate) fn unit_cost(&self) -> u64 {
        let mut most = 0;
        for output in &self.outputs {
            let Data::Stored(pieces) = &output.data else { continue };
            for piece in pieces {
                let rows = piece.unit_rows();
                let cols = output.entry.dims.first().copied().unwrap_or(1);
                // Weights, once as they are in their file.
                let weights = match output.weights {
                    Weights::None => 0,
                    Weights::Ones => cols.saturating_mul(4),
                    Weights::Matrix(slices) => slices.cost(rows),
                };
                let out = rows.saturating_mul(cols).saturating_mul(4);
                let data = piece.unit_cost().saturating_add(out);
                let data = data.saturating_add(weights.saturating_mul(2));
                // Instances of plugins follow each other.
                let instance = decoder_memory(&piece.index).max(quant_memory(output.quant, cols));
                most = most.max(data.saturating_add(instance));
            }
        }
        most
    }

    /// Reads what a unit needs; `last` keeps weights, as consecutive units mostly share them.
    pub(crate) fn read(
        &self,
        unit: &Unit,
        last: &mut Option<UnitWeights>,
    ) -> Result<Option<Input<'_>>> {
        let output = self.outputs.get(unit.output).ok_or_else(no_such)?;
        let Data::Stored(pieces) = &output.data else { return Ok(None) };
        let piece = pieces.get(unit.piece).ok_or_else(no_such)?;
        let range = piece.groups(&unit.rows)?;
        if range.is_empty() {
            let base = piece.base.as_ref().map(|_| Box::new([0u8; 0]) as Chunk<'_>);
            return Ok(Some(Input {
                groups: 0..0,
                bytes: Box::new([0u8; 0]),
                base,
                weights: None,
            }));
        }
        let bytes = self.read_groups(piece.location, &piece.index, &range)?;
        let base = piece.base.as_ref().map(|base| self.read_groups(base.0, &base.1, &range));
        let base = base.transpose().context(|| "base")?;
        let weights = self.weights(output, unit, last)?;
        Ok(Some(Input { groups: range, bytes, base, weights }))
    }

    fn read_groups(
        &self,
        location: Location,
        index: &Index,
        range: &Range<usize>,
    ) -> Result<Chunk<'_>> {
        let groups = index.groups.get(range.clone()).ok_or_else(no_such)?;
        let (Some(head), Some(tail)) = (groups.first(), groups.last()) else {
            return Err(no_such());
        };
        self.store.read(location, head.offset..tail.offset + tail.len)
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

/// Bytes that a unit has in the source.
pub(crate) fn unit_source_len(output: &Output, unit: &Unit) -> u64 {
    match &output.data {
        Data::Stored(pieces) => {
            pieces.get(unit.piece).map_or(0, |piece| piece.source_len(&unit.rows))
        }
        Data::Generated(_) => 0,
    }
}

fn no_such() -> Error {
    Error::shape("no such unit")
}
