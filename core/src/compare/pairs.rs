//! Which tensors of two models belong together, and how far apart their values are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::reader::Values;
use super::side::{Entry, Side, stored_type};
use super::{Kind, Pair};
use crate::config::ExportConfig;
use crate::error::{Error, Result, ResultExt};
use crate::export::{
    Damage, Data, ExportOptions, ExportPlan, Figures, Input, Output, Rows, Unit, UnitWeights,
};
use crate::io::Chunk;
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::registry::Registry;

/// What is compared with what.
pub(super) struct Pairing<'s> {
    way: Way<'s>,
    pub(super) only_a: Vec<String>,
    pub(super) only_b: Vec<String>,
    pub(super) other_shape: Vec<String>,
}

enum Way<'s> {
    /// Tensors of one name.
    Names(Vec<(Entry<'s>, Entry<'s>)>),
    /// What tensors of a store become in an export, and the tensors of a GGUF file.
    Export { plan: Box<ExportPlan<'s>>, pairs: Vec<(usize, Entry<'s>)>, store_is_a: bool },
}

impl<'s> Pairing<'s> {
    /// Whether any tensor has the same name in both.
    pub(super) fn share_names(a: &Side<'_>, b: &Side<'_>) -> Result<bool> {
        let (first, second) = (a.entries()?, b.entries()?);
        let names: BTreeSet<&str> = first.iter().map(|entry| entry.kind.name.as_str()).collect();
        Ok(second.iter().any(|entry| names.contains(entry.kind.name.as_str())))
    }

    pub(super) fn new(a: &'s Side<'_>, b: &'s Side<'_>, registry: &Registry) -> Result<Self> {
        let (first, second) = (a.entries()?, b.entries()?);
        let names: BTreeMap<String, usize> = first
            .iter()
            .enumerate()
            .map(|(number, entry)| (entry.kind.name.clone(), number))
            .collect();
        let common = second.iter().any(|entry| names.contains_key(&entry.kind.name));
        match (a.as_store(), b.as_store()) {
            _ if common => Ok(Self::by_name(first, second, &names)),
            (Some(store), None) if b.is_gguf() => Self::by_export(store, second, true, registry),
            (None, Some(store)) if a.is_gguf() => Self::by_export(store, first, false, registry),
            _ => Err(Error::unsupported(format!(
                "no tensor of the {} has the name of one of the {}",
                a.format(),
                b.format()
            ))
            .with_hint("give two forms of one model, or models of one architecture")),
        }
    }

    fn by_name(
        first: Vec<Entry<'s>>,
        second: Vec<Entry<'s>>,
        names: &BTreeMap<String, usize>,
    ) -> Self {
        let mut first: Vec<Option<Entry<'s>>> = first.into_iter().map(Some).collect();
        let (mut pairs, mut only_b, mut other_shape) = (Vec::new(), Vec::new(), Vec::new());
        for entry in second {
            let number = names.get(&entry.kind.name);
            let other = number.and_then(|&number| first.get_mut(number)?.take());
            match other {
                // Of numbers and what is none, nothing can be said.
                Some(other)
                    if other.shape == entry.shape
                        && other.reader.dtype().holds_weights()
                            == entry.reader.dtype().holds_weights() =>
                {
                    pairs.push((other, entry));
                }
                Some(_) => other_shape.push(entry.kind.name),
                None => only_b.push(entry.kind.name),
            }
        }
        let only_a = first.into_iter().flatten().map(|entry| entry.kind.name).collect();
        Self { way: Way::Names(pairs), only_a, only_b, other_shape }
    }

    fn by_export(
        store: &'s crate::store::Store<'s>,
        gguf: Vec<Entry<'s>>,
        store_is_a: bool,
        registry: &Registry,
    ) -> Result<Self> {
        let mut config = ExportConfig::default();
        config.quantization.default_type = "f32".into();
        let options = ExportOptions { file_name: "model.gguf", ..ExportOptions::default() };
        let plan = ExportPlan::new(store, None, &config, options, registry)?;
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, output) in plan.outputs.iter().enumerate() {
            names.insert(&output.entry.name, number);
        }
        let (mut pairs, mut only_gguf, mut other_shape) = (Vec::new(), Vec::new(), Vec::new());
        for entry in gguf {
            let Some(number) = names.remove(entry.kind.name.as_str()) else {
                only_gguf.push(entry.kind.name);
                continue;
            };
            let dims = plan.outputs.get(number).map(|output| &output.entry.dims);
            let same = dims.is_some_and(|dims| dims.iter().rev().eq(entry.shape.dims()));
            match same && entry.reader.dtype().holds_weights() {
                true => pairs.push((number, entry)),
                false => other_shape.push(entry.kind.name),
            }
        }
        let only_store: Vec<String> = names.into_keys().map(str::to_owned).collect();
        let (only_a, only_b) =
            if store_is_a { (only_store, only_gguf) } else { (only_gguf, only_store) };
        let way = Way::Export { plan: Box::new(plan), pairs, store_is_a };
        Ok(Self { way, only_a, only_b, other_shape })
    }

    /// What decoding needs: unlike the plan, it may go to other threads.
    fn decoding(&self) -> Decoding<'_, 's> {
        match &self.way {
            Way::Names(pairs) => Decoding::Names(pairs),
            Way::Export { plan, pairs, store_is_a } => {
                Decoding::Export { outputs: &plan.outputs, pairs, store_is_a: *store_is_a }
            }
        }
    }

    fn pairs(&self) -> Vec<(Kind, Kind, Vec<u64>)> {
        match &self.way {
            Way::Names(pairs) => pairs
                .iter()
                .map(|(a, b)| (a.kind.clone(), b.kind.clone(), b.shape.dims().to_vec()))
                .collect(),
            Way::Export { plan, pairs, store_is_a } => pairs
                .iter()
                .map(|(number, entry)| {
                    let (of_store, shape) =
                        (stored_kind(plan, *number), entry.shape.dims().to_vec());
                    match store_is_a {
                        true => (of_store, entry.kind.clone(), shape),
                        false => (entry.kind.clone(), of_store, shape),
                    }
                })
                .collect(),
        }
    }

    fn units(&self) -> Vec<Piece> {
        let mut out = Vec::new();
        match &self.way {
            Way::Names(pairs) => {
                for (pair, (a, b)) in pairs.iter().enumerate() {
                    let (rows, _) = a.reader.matrix();
                    let step = a.reader.step().max(b.reader.step()).max(1);
                    let mut start = 0;
                    while start < rows {
                        let end = rows.min(start.saturating_add(step));
                        out.push(Piece { pair, rows: start..end, unit: None });
                        start = end;
                    }
                }
            }
            Way::Export { plan, pairs, .. } => {
                let of_output: BTreeMap<usize, usize> =
                    pairs.iter().enumerate().map(|(pair, (output, _))| (*output, pair)).collect();
                for unit in plan.units() {
                    let Some(&pair) = of_output.get(&unit.output) else { continue };
                    let rows = match plan.outputs.get(unit.output).map(|output| &output.data) {
                        Some(Data::Generated(values)) => 0..values.len() as u64,
                        _ => unit.rows.clone(),
                    };
                    out.push(Piece { pair, rows, unit: Some(unit) });
                }
            }
        }
        out
    }

    fn cost(&self) -> Result<u64> {
        let mut most = 1u64;
        match &self.way {
            Way::Names(pairs) => {
                for (a, b) in pairs {
                    let step = a.reader.step().max(b.reader.step()).min(a.reader.matrix().0);
                    most = most.max(a.reader.cost(step)?.saturating_add(b.reader.cost(step)?));
                }
                Ok(most)
            }
            Way::Export { plan, .. } => Ok(plan.unit_cost().saturating_mul(3)),
        }
    }
}

/// What a tensor of an export is in the store.
fn stored_kind(plan: &ExportPlan<'_>, number: usize) -> Kind {
    let output = plan.outputs.get(number);
    match output.map(|output| &output.data) {
        Some(Data::Stored(pieces)) => {
            let first = pieces.first();
            let mut bytes: BTreeMap<_, u64> = BTreeMap::new();
            for piece in pieces {
                bytes.insert(piece.index.id, piece.index.end());
            }
            Kind {
                name: first.map(|piece| piece.name.clone()).unwrap_or_default(),
                ty: first.map(|piece| stored_type(&piece.index)).unwrap_or_default(),
                bytes: bytes.values().sum(),
            }
        }
        _ => Kind { name: String::new(), ty: "computed".to_owned(), bytes: 0 },
    }
}

/// The part of a pairing that decodes.
enum Decoding<'p, 's> {
    Names(&'p [(Entry<'s>, Entry<'s>)]),
    Export { outputs: &'p [Output], pairs: &'p [(usize, Entry<'s>)], store_is_a: bool },
}

/// Some rows of a pair.
struct Piece {
    pair: usize,
    rows: Range<u64>,
    unit: Option<Unit>,
}

/// What was read for a piece.
enum Read<'f> {
    Both(Vec<Chunk<'f>>, Vec<Chunk<'f>>),
    Export(Option<Input<'f>>, Vec<Chunk<'f>>),
}

/// Reads all pairs.
pub(super) fn measure(
    pairing: &Pairing<'_>,
    a: &Side<'_>,
    b: &Side<'_>,
    registry: &Registry,
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<(Vec<Pair>, Damage)> {
    let kinds = pairing.pairs();
    let bytes = kinds.iter().map(|(a, b, _)| a.bytes + b.bytes).sum();
    notify(progress, Event::Start { tensors: kinds.len(), bytes })?;
    let place = |piece: &Piece| {
        let name = kinds.get(piece.pair).map_or("", |(_, b, _)| b.name.as_str());
        format!("tensor `{name}`")
    };
    let mut results: Vec<(Damage, bool)> = vec![(Damage::default(), true); kinds.len()];
    let buffers = Buffers::default();
    let decoding = pairing.decoding();
    let mut last: Option<UnitWeights> = None;
    let (mut done, mut current) = (0, None);
    drive(
        pairing.units(),
        budget.units(pairing.cost()?)?,
        |piece| read(pairing, a, b, piece, &mut last).context(|| place(piece)),
        |piece, read| {
            let both = decoding.values(piece, read, registry, &buffers);
            both.and_then(|(a, b)| difference(&a, &b)).context(|| place(piece))
        },
        |piece, (damage, same)| {
            if let Some(result) = results.get_mut(piece.pair) {
                result.0.merge(&damage);
                result.1 &= same;
            }
            if current != Some(piece.pair) {
                if let Some((a, b, _)) = current.and_then(|pair: usize| kinds.get(pair)) {
                    done += a.bytes + b.bytes;
                }
                current = Some(piece.pair);
            }
            notify(progress, Event::Bytes(done))
        },
    )?;
    let mut total = Damage::default();
    let pairs = kinds.iter().zip(results).map(|((a, b, shape), (damage, same))| {
        total.merge(&damage);
        let error = Figures::of(&damage);
        Pair { a: a.clone(), b: b.clone(), shape: shape.clone(), same, error, damage }
    });
    Ok((pairs.collect(), total))
}

fn read<'f>(
    pairing: &'f Pairing<'_>,
    a: &'f Side<'_>,
    b: &'f Side<'_>,
    piece: &Piece,
    last: &mut Option<UnitWeights>,
) -> Result<Read<'f>> {
    let none = || Error::shape("no such pair");
    match (&pairing.way, &piece.unit) {
        (Way::Names(pairs), _) => {
            let (first, second) = pairs.get(piece.pair).ok_or_else(none)?;
            Ok(Read::Both(first.reader.read(a, &piece.rows)?, second.reader.read(b, &piece.rows)?))
        }
        (Way::Export { plan, pairs, store_is_a }, Some(unit)) => {
            let (_, entry) = pairs.get(piece.pair).ok_or_else(none)?;
            let gguf = if *store_is_a { b } else { a };
            let chunks = entry.reader.read(gguf, &piece.rows)?;
            Ok(Read::Export(plan.read(unit, last)?, chunks))
        }
        (Way::Export { .. }, None) => Err(none()),
    }
}

impl Decoding<'_, '_> {
    fn values(
        &self,
        piece: &Piece,
        read: Read<'_>,
        registry: &Registry,
        buffers: &Buffers,
    ) -> Result<(Values, Values)> {
        let none = || Error::shape("no such pair");
        match (self, &piece.unit, read) {
            (Self::Names(pairs), _, Read::Both(a, b)) => {
                let (first, second) = pairs.get(piece.pair).ok_or_else(none)?;
                let first = first.reader.values(&piece.rows, &a, registry)?;
                Ok((first, second.reader.values(&piece.rows, &b, registry)?))
            }
            (
                Self::Export { outputs, pairs, store_is_a },
                Some(unit),
                Read::Export(input, chunks),
            ) => {
                let (number, entry) = pairs.get(piece.pair).ok_or_else(none)?;
                let output = outputs.get(*number).ok_or_else(none)?;
                let rows = Rows::of(output, unit, input.as_ref(), buffers)?;
                let stored = Values::Numbers(rows.values);
                let other = entry.reader.values(&piece.rows, &chunks, registry)?;
                Ok(if *store_is_a { (stored, other) } else { (other, stored) })
            }
            _ => Err(none()),
        }
    }
}

/// How far values are apart, and whether they are the same.
fn difference(a: &Values, b: &Values) -> Result<(Damage, bool)> {
    let mut damage = Damage::default();
    match (a, b) {
        (Values::Numbers(a), Values::Numbers(b)) if a.len() == b.len() => {
            damage.add_plain(a, b);
            // Numbers that are none are the same if their bits are.
            let same = a.iter().zip(b).all(|(a, b)| a == b || a.to_bits() == b.to_bits());
            Ok((damage, same))
        }
        (Values::Bytes(a), Values::Bytes(b)) => Ok((damage, a == b)),
        _ => Err(Error::shape("rows of different lengths")),
    }
}
