//! Types for a size: what every tensor should become so that the files have a given size and the
//! model suffers least.
//!
//! The damage that a type does to a tensor is its relative mean square error, measured on a sample
//! of rows and weighted by importance where there is some, times how much the model depends on the
//! tensor ([`sensitivity`]). The sum of damages is what [`solve`] makes small.

mod measure;
mod sensitivity;
mod solve;

use std::collections::BTreeMap;

use self::solve::{Choice, solve};
use crate::config::{ExportConfig, SizeTarget};
use crate::error::{Error, Result};
use crate::export::explain::Decision;
use crate::export::importance::Weights;
use crate::export::output::Output;
use crate::export::plan::{ExportOptions, ExportPlan};
use crate::export::types::Wish;
use crate::format::gguf::ALIGNMENT;
use crate::pipeline::Budget;
use crate::progress::Progress;
use crate::quant::{Need, QuantType};
use crate::recipe::{self, FileType};
use crate::registry::Registry;
use crate::store::Store;
use crate::token::Vocab;

/// Types that were chosen for a size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fitted {
    /// By GGUF name; tensors that are not here stay as they would be.
    types: BTreeMap<String, &'static str>,
    /// What most weights are.
    pub(crate) file_type: FileType,
}

impl Fitted {
    /// The wish for a tensor of that name.
    pub(crate) fn wish(&self, name: &str) -> Option<Wish> {
        let ty = self.types.get(name)?;
        let text = "least damage within the size".to_owned();
        Some(Wish { ty, vendor: None, by: "target", text })
    }
}

/// What may be chosen, where the rows are whole blocks of it.
const TYPES: [&str; 16] = [
    "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "q2_k", "iq3_xxs", "q3_k", "iq3_s", "iq4_xs",
    "q4_k", "q5_k", "q6_k", "q8_0", "f16", "bf16",
];
/// What may be chosen besides where the rows are no whole super-blocks.
const SMALL_BLOCKS: [&str; 5] = ["iq4_nl", "q4_0", "q4_1", "q5_0", "q5_1"];
/// Weights of a super-block.
const SUPER_BLOCK: u64 = 256;

/// Whether nobody asked for the type of a tensor by name.
fn is_free(decision: &Decision) -> bool {
    matches!(decision.by, "recipe" | "fallback")
}

impl<'a> ExportPlan<'a> {
    /// Number of weights in all tensors.
    #[must_use]
    pub fn elems(&self) -> u64 {
        let elems = |output: &Output| output.entry.dims.iter().product::<u64>();
        self.outputs.iter().map(elems).sum()
    }

    /// Plans an export of a given size: measures what every type would do to every tensor whose
    /// type nobody asked for by name, and takes those that do least damage in all.
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::run`]; `Config` if the size cannot be reached.
    #[expect(clippy::too_many_arguments, reason = "those of a plan, and those of a run")]
    pub fn for_size(
        target: SizeTarget,
        store: &'a Store<'a>,
        vocab: Option<&Vocab>,
        config: &ExportConfig,
        options: ExportOptions<'a>,
        registry: &Registry,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        // Whatever type stands here is replaced, but it has a use for importance.
        let mut fitted = Fitted { types: BTreeMap::new(), file_type: FileType::Q4KM };
        let plan = |fitted: &Fitted| {
            Self::with_types(store, vocab, config, options, Some(fitted), registry)
        };
        let base = plan(&fitted)?;
        let wanted = base.bytes(target);
        if base.decisions.iter().all(|decision| !is_free(decision)) {
            return Err(Error::config("there is no tensor left to choose a type for")
                .with_hint("rules and `per_tensor` decide on all of them: leave some out"));
        }
        let fit = base.fit(registry, budget, progress)?;
        let mut size = wanted;
        loop {
            fitted = fit.types(size).ok_or_else(|| fit.too_small(wanted))?;
            let plan = plan(&fitted)?;
            // Other types may be split in other places, and every file has a header.
            match plan.bytes_in_all().checked_sub(wanted) {
                None | Some(0) => return Ok(plan),
                Some(excess) => {
                    size = size.checked_sub(excess).ok_or_else(|| fit.too_small(wanted))?;
                }
            }
        }
    }

    fn fit(
        &self,
        registry: &Registry,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Fit<'_>> {
        let candidates: Vec<Vec<&'static dyn QuantType>> = self
            .outputs
            .iter()
            .zip(&self.decisions)
            .map(|(output, decision)| match is_free(decision) {
                true => self.candidates(output, registry),
                false => Vec::new(),
            })
            .collect();
        let errors = measure::measure(self, &candidates, budget, progress)?;
        let layers = self.decisions.iter().filter_map(Decision::layer).max();
        let layers = layers.map_or(1, |last| last.saturating_add(1));
        let has_output = self.outputs.iter().any(|output| output.entry.name == "output.weight");
        let choices = |number: usize, output: &Output| {
            let layer = self.decisions.get(number).and_then(Decision::layer);
            let cost = sensitivity::sensitivity(&output.entry.name, layer, layers, has_output);
            let types = candidates.get(number).into_iter().flatten().enumerate();
            let choices = types.filter_map(|(at, quant)| {
                let len = quant.block().len_of(output.entry.dims.iter().product())?;
                let bytes = len.next_multiple_of(self.alignment());
                Some(Choice { bytes, damage: cost * errors.get(number)?.relative(at) })
            });
            choices.collect::<Vec<_>>()
        };
        let items = self.outputs.iter().enumerate().map(|(at, output)| choices(at, output));
        Ok(Fit { plan: self, items: items.collect(), candidates })
    }

    /// What offsets of tensors are multiples of.
    fn alignment(&self) -> u64 {
        self.files.first().map_or(ALIGNMENT, |file| file.alignment)
    }

    /// Bytes of all files together.
    fn bytes_in_all(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    fn bytes(&self, target: SizeTarget) -> u64 {
        match target {
            SizeTarget::Bytes(bytes) => bytes,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "below 2^53, and rounded down on purpose"
            )]
            SizeTarget::BitsPerWeight(bits) => (bits * self.elems() as f64 / 8.0).floor() as u64,
        }
    }

    fn candidates(&self, output: &Output, registry: &Registry) -> Vec<&'static dyn QuantType> {
        let cols = output.entry.dims.first().copied().unwrap_or(0);
        let small = if cols.is_multiple_of(SUPER_BLOCK) { &[][..] } else { &SMALL_BLOCKS[..] };
        let types = TYPES.iter().chain(small).filter_map(|name| registry.quant(name));
        types
            .filter(|quant| {
                let needs = quant.importance() == Need::Required
                    || recipe::needs_importance(self.file_type, &output.entry.name, quant.name());
                let whole = quant.block().len_of(cols).is_some();
                whole && (!needs || matches!(output.weights, Weights::Matrix(_)))
            })
            .collect()
    }
}

/// What is known about a plan's tensors before their types are chosen.
struct Fit<'p> {
    plan: &'p ExportPlan<'p>,
    candidates: Vec<Vec<&'static dyn QuantType>>,
    items: Vec<Vec<Choice>>,
}

impl Fit<'_> {
    /// Bytes that do not depend on the choice.
    fn fixed(&self) -> u64 {
        let free = |(output, types): (&Output, &Vec<_>)| match types.is_empty() {
            true => 0,
            false => output.entry.len.next_multiple_of(self.plan.alignment()),
        };
        let freed: u64 = self.plan.outputs.iter().zip(&self.candidates).map(free).sum();
        self.plan.bytes_in_all().saturating_sub(freed)
    }

    /// Types within a size, if there are any that small.
    fn types(&self, bytes: u64) -> Option<Fitted> {
        let taken = solve(&self.items, bytes.checked_sub(self.fixed())?)?;
        let mut types = BTreeMap::new();
        let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
        for ((output, candidates), at) in self.plan.outputs.iter().zip(&self.candidates).zip(taken)
        {
            if let Some(quant) = candidates.get(at) {
                types.insert(output.entry.name.clone(), quant.name());
                *weights.entry(quant.name()).or_default() +=
                    output.entry.dims.iter().product::<u64>();
            }
        }
        let most = weights.into_iter().max_by_key(|&(_, weights)| weights);
        let file_type = most.and_then(|(name, _)| FileType::from_name(name));
        Some(Fitted { types, file_type: file_type.unwrap_or(FileType::Q4KM) })
    }

    fn too_small(&self, wanted: u64) -> Error {
        let least = |choices: &Vec<Choice>| choices.iter().map(|c| c.bytes).min().unwrap_or(0);
        let least = self.fixed() + self.items.iter().map(least).sum::<u64>();
        #[expect(clippy::cast_precision_loss, reason = "for a message")]
        let bits = 8.0 * least as f64 / self.plan.elems().max(1) as f64;
        let hint = match self.plan.importance {
            Some(_) => "raise the target, or leave fewer tensors to rules and per_tensor",
            None => "raise the target; with --imatrix there are smaller types",
        };
        Error::config(format!(
            "the files cannot be as small as {wanted} bytes: the least is {least}, {bits:.3} bits per weight"
        ))
        .with_hint(hint)
    }
}
