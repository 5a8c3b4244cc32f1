//! The error of every candidate type on a sample of a tensor's rows.

use crate::error::{Error, Result, ResultExt};
use crate::export::plan::ExportPlan;
use crate::export::rows::{Rows, Unit, unit_source_len};
use crate::pipeline::{Budget, Buffers, drive};
use crate::progress::{Event, Progress, notify};
use crate::quant::{QuantCx, QuantType, Search};
use crate::tensor::mem_len;

/// Row groups of a tensor that are looked into: some from its start, middle and end.
const GROUPS: usize = 4;
/// Weights taken from each of them: enough for an error within one or two percent.
const WEIGHTS: usize = 1 << 14;

/// Sums for one tensor: of the weighted squares of its weights, and of the errors of each type.
#[derive(Debug, Clone, Default)]
pub(super) struct Errors {
    square: f64,
    errors: Vec<f64>,
}

impl Errors {
    /// Relative mean square error of the candidate of that number.
    pub(super) fn relative(&self, candidate: usize) -> f64 {
        let error = self.errors.get(candidate).copied().unwrap_or(0.0);
        if error == 0.0 { 0.0 } else { error / self.square }
    }

    fn merge(&mut self, other: &Self) {
        self.square += other.square;
        self.errors.resize(other.errors.len().max(self.errors.len()), 0.0);
        for (sum, error) in self.errors.iter_mut().zip(&other.errors) {
            *sum += error;
        }
    }
}

/// Measures each tensor's own candidates; tensors without any are not read.
pub(super) fn measure(
    plan: &ExportPlan<'_>,
    candidates: &[Vec<&'static dyn QuantType>],
    budget: Budget,
    progress: &mut dyn Progress,
) -> Result<Vec<Errors>> {
    let (outputs, search) = (&plan.outputs, plan.search);
    let units = sample(plan, candidates);
    let in_flight = budget.units(plan.unit_cost())?;
    let tensors = candidates.iter().filter(|types| !types.is_empty()).count();
    let bytes =
        units.iter().filter_map(|unit| Some(unit_source_len(outputs.get(unit.output)?, unit)));
    notify(progress, Event::Start { tensors, bytes: bytes.sum() })?;
    let mut all = vec![Errors::default(); candidates.len()];
    let buffers = Buffers::default();
    let mut last = None;
    let mut done = 0;
    let places = plan.places();
    let place = |unit: &Unit| places.of(unit);
    drive(
        units,
        in_flight,
        |unit| plan.read(unit, &mut last).context(|| place(unit)),
        |unit, input| {
            let lost = || Error::shape("no such unit");
            let output = outputs.get(unit.output).ok_or_else(lost)?;
            let types = candidates.get(unit.output).ok_or_else(lost)?;
            let rows = Rows::of(output, unit, input.as_ref(), &buffers).context(|| place(unit))?;
            let errors = errors(&rows, types, search, &buffers).context(|| place(unit));
            buffers.put_values(rows.values);
            errors
        },
        |unit, errors| {
            if let (Some(sums), Some(output)) = (all.get_mut(unit.output), outputs.get(unit.output))
            {
                sums.merge(&errors);
                done += unit_source_len(output, &unit);
            }
            notify(progress, Event::Bytes(done))
        },
    )?;
    Ok(all)
}

/// Units spread evenly over each tensor.
fn sample(plan: &ExportPlan<'_>, candidates: &[Vec<&'static dyn QuantType>]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut own: Vec<Unit> = Vec::new();
    for unit in plan.units() {
        let last = unit.last;
        if candidates.get(unit.output).is_some_and(|types| !types.is_empty()) {
            own.push(unit);
        }
        if last {
            let (count, most) = (own.len(), GROUPS.min(own.len()));
            let wanted: Vec<usize> =
                (0..most).map(|at| at * (count - 1) / (most - 1).max(1)).collect();
            let chosen = own.drain(..).enumerate().filter(|(at, _)| wanted.contains(at));
            units.extend(chosen.map(|(_, unit)| unit));
        }
    }
    units
}

fn errors(
    rows: &Rows,
    types: &[&'static dyn QuantType],
    search: Search,
    buffers: &Buffers,
) -> Result<Errors> {
    let cols = rows.cols.max(1);
    let count = rows.values.len() / cols;
    let wanted = (WEIGHTS / cols).clamp(1, count.max(1));
    let mut out = Errors { square: 0.0, errors: vec![0.0; types.len()] };
    let mut first = 0;
    for part in rows.parts()? {
        let own = part.values.len() / cols;
        // Every `count / wanted`-th row of the unit, as far as it is in this part.
        let chosen = (0..wanted)
            .map(|at| at * count / wanted)
            .filter(|row| (first..first + own).contains(row));
        let mut values = Vec::new();
        for row in chosen {
            let start = (row - first) * cols;
            values.extend_from_slice(part.values.get(start..start + cols).unwrap_or_default());
        }
        first += own;
        if values.is_empty() {
            continue;
        }
        let weight = |at: usize| {
            part.importance
                .map_or(1.0, |weights| weights.get(at % cols).copied().map_or(0.0, f64::from))
        };
        out.square += values
            .iter()
            .enumerate()
            .map(|(at, x)| weight(at) * f64::from(*x) * f64::from(*x))
            .sum::<f64>();
        let mut found = buffers.values(values.len());
        for (quant, sum) in types.iter().zip(&mut out.errors) {
            let len = quant.block().len_of(values.len() as u64);
            let mut bytes =
                vec![0; mem_len(len.ok_or_else(|| Error::shape("rows are not whole blocks"))?)?];
            let cx = QuantCx { search, ..QuantCx::standard(cols, part.importance) };
            if let Err(error) = quant.quantize(&values, &cx, &mut bytes) {
                // Values that are too large for this type: it is none for this tensor.
                if values.iter().all(|x| x.is_finite()) {
                    *sum = f64::INFINITY;
                    continue;
                }
                return Err(error);
            }
            quant.dequantize(&bytes, &mut found)?;
            *sum += values
                .iter()
                .zip(&found)
                .enumerate()
                .map(|(at, (x, y))| {
                    let difference = f64::from(*x) - f64::from(*y);
                    weight(at) * difference * difference
                })
                .sum::<f64>();
        }
        buffers.put_values(found);
    }
    Ok(out)
}
