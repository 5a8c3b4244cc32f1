//! What an export did to every tensor, in figures.

use serde::Serialize;

use crate::compare::{Compared, Pair};
use crate::config::pretty;
use crate::error::Result;
use crate::export::damage::Damage;
use crate::export::explain::{Decision, layer_of};
use crate::export::plan::ExportPlan;

mod html;

/// Version of the layout of [`Report`].
const VERSION: u32 = 1;

/// A whole export.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this layout.
    pub report_version: u32,
    /// Program that made it.
    pub generator: String,
    /// The files.
    pub files: Vec<File>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of weights.
    pub weights: u64,
    /// Bits per weight, without headers.
    pub bits_per_weight: f64,
    /// Error over all tensors.
    pub total: Figures,
    /// Every tensor, in the order of the files.
    pub tensors: Vec<Tensor>,
}

/// A file of the export.
#[derive(Debug, Clone, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// One tensor.
#[derive(Debug, Clone, Serialize)]
pub struct Tensor {
    /// GGUF name.
    pub name: String,
    /// Name in the source; none if the tensor is computed from the config.
    pub source: Option<String>,
    /// Dimensions, slowest first.
    pub shape: Vec<u64>,
    /// Its layer, if it is in one.
    pub layer: Option<u32>,
    /// Tensor type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bits per weight of the type.
    pub bits_per_weight: f64,
    /// Bytes in the file, without padding.
    pub bytes: u64,
    /// Whether an importance matrix weighs its columns.
    pub importance: bool,
    /// Kind of what decided on the type, see [`Decision::by`].
    pub by: String,
    /// The same in words.
    pub why: String,
    /// Root mean square of the weights.
    pub rms: f64,
    /// How far the quantized weights are from these.
    #[serde(flatten)]
    pub error: Figures,
}

/// How far quantized weights are from the stored ones, see [`Damage`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Root mean square error, relative to the weights.
    pub relative_rmse: f64,
    /// The same, weighted as the type's quantizer weighs.
    pub weighted_rmse: f64,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// Largest difference.
    pub max_error: f32,
}

impl Figures {
    pub(crate) fn of(damage: &Damage) -> Self {
        Self {
            relative_rmse: damage.relative_rmse(),
            weighted_rmse: damage.weighted_rmse(),
            cosine: damage.cosine(),
            max_error: damage.max_error(),
        }
    }
}

impl Report {
    /// The report as indented JSON.
    ///
    /// # Errors
    /// `Malformed` if a figure is not finite.
    pub fn to_json(&self) -> Result<String> {
        pretty(self)
    }

    /// The report as a page (HTML 5) with plots, that loads nothing.
    ///
    /// The same report gives the same bytes.
    ///
    /// # Errors
    /// `Shape` if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String> {
        html::page(self)
    }

    /// Of a plan that has been run with comparison, see [`ExportPlan::run`].
    #[must_use]
    pub fn new(plan: &ExportPlan<'_>, damages: &[Damage]) -> Self {
        let files = plan.files().map(|(name, bytes)| File { name: name.to_owned(), bytes });
        let files: Vec<File> = files.collect();
        let mut total = Damage::default();
        for damage in damages {
            total.merge(damage);
        }
        let weights = plan.decisions.iter().map(Decision::elems).fold(0, u64::saturating_add);
        let data: u64 = plan.decisions.iter().map(|decision| decision.bytes).sum();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let bits_per_weight = 8.0 * data as f64 / weights.max(1) as f64;
        let tensors = plan.decisions.iter().zip(damages);
        Self {
            report_version: VERSION,
            generator: concat!("gmat ", env!("CARGO_PKG_VERSION")).to_owned(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
            weights,
            bits_per_weight,
            total: Figures::of(&total),
            tensors: tensors.map(|(decision, damage)| tensor(decision, damage)).collect(),
        }
    }
}

impl Report {
    /// Of a comparison: how far the tensors of the second model are from those of the first.
    #[must_use]
    pub fn of_comparison(compared: &Compared) -> Self {
        let tensor = |pair: &Pair| {
            let elems: u64 = pair.shape.iter().product();
            #[expect(clippy::cast_precision_loss, reason = "a mean")]
            let bits_per_weight = 8.0 * pair.b.bytes as f64 / elems.max(1) as f64;
            Tensor {
                name: pair.b.name.clone(),
                source: Some(pair.a.name.clone()),
                shape: pair.shape.clone(),
                layer: layer_of(&pair.b.name),
                ty: pair.b.ty.clone(),
                bits_per_weight,
                bytes: pair.b.bytes,
                importance: false,
                by: "compared".to_owned(),
                why: format!("{} in {}", pair.a.ty, compared.a.path),
                rms: pair.damage.rms(),
                error: pair.error,
            }
        };
        let weights = compared.pairs.iter().map(|pair| pair.damage.elems).sum::<u64>();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let bits_per_weight = 8.0 * compared.b.bytes as f64 / weights.max(1) as f64;
        Self {
            report_version: VERSION,
            generator: concat!("gmat ", env!("CARGO_PKG_VERSION")).to_owned(),
            files: vec![File { name: compared.b.path.clone(), bytes: compared.b.bytes }],
            bytes: compared.b.bytes,
            weights,
            bits_per_weight,
            total: compared.total,
            tensors: compared.pairs.iter().map(tensor).collect(),
        }
    }
}

fn tensor(decision: &Decision, damage: &Damage) -> Tensor {
    Tensor {
        name: decision.name.clone(),
        source: decision.source.clone(),
        shape: decision.shape.clone(),
        layer: decision.layer(),
        ty: decision.ty.to_owned(),
        bits_per_weight: decision.bits,
        bytes: decision.bytes,
        importance: decision.weighted,
        by: decision.by.to_owned(),
        why: decision.why.clone(),
        rms: damage.rms(),
        error: Figures::of(damage),
    }
}
