//! Quantization types: how a GGUF file holds the rows of a tensor.

use std::marker::PhantomData;

use serde::Serialize;

use crate::convert::first_non_finite;
use crate::error::{Error, Result};
use crate::plugin::Plugin;
pub use crate::tensor::BlockSize;

/// What a type does with importance (one weight per column).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Has no use for it.
    Ignored,
    /// Uses it when given.
    Optional,
    /// Cannot do without.
    Required,
}

/// What goes with the rows to be quantized.
#[derive(Debug, Clone, Copy)]
pub struct QuantCx<'a> {
    /// Elements per row.
    pub cols: usize,
    /// One non-negative weight per column, `cols` of them.
    pub importance: Option<&'a [f32]>,
    /// How scales, minima and codes are chosen.
    pub search: Search,
}

impl<'a> QuantCx<'a> {
    /// Rows of `cols` elements, quantized like ggml's reference does.
    #[must_use]
    pub fn standard(cols: usize, importance: Option<&'a [f32]>) -> Self {
        Self { cols, importance, search: Search::Standard }
    }
}

/// How scales, minima and codes of a block are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Search {
    /// As ggml's reference quantizer does, to the byte.
    Standard,
    /// A joint search from there on, in the same layout and never worse under
    /// [`QuantType::weights`].
    Trellis(Goal),
}

/// What [`Search::Trellis`] looks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Price of differences between scales of neighbouring groups, in hundredths of the mean
    /// error of a group per step of the scale.
    pub lambda: f32,
    /// How much errors count.
    pub metric: Metric,
}

impl Goal {
    /// What exports look for unless told otherwise.
    pub const USUAL: Self = Self { lambda: 0.3, metric: Metric::Ggml };
}

/// How much the squared error of a weight counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// As in ggml's own search for the type: most give large weights more than small ones.
    #[default]
    Ggml,
    /// All weights alike but for their importance, which makes the error itself smallest. Not that of
    /// what models compute: for types of few bits it makes them worse.
    Squares,
}

/// One GGUF tensor type, or another way to fill one. Called once per group of rows.
pub trait QuantType: Sync {
    /// The name, lowercase (`q4_k`).
    fn name(&self) -> &'static str;

    /// The type id in GGUF files.
    fn ggml_type(&self) -> u32;

    /// Block size in weights and bytes.
    fn block(&self) -> BlockSize;

    /// What it does with importance.
    fn importance(&self) -> Need;

    /// Quantizes whole rows; `out` has exactly the right length.
    ///
    /// # Errors
    /// `Shape` if lengths do not fit; `Malformed` if a value is not finite or too large for the
    /// type, naming row and column; `Config` if importance is required and missing.
    fn quantize(&self, values: &[f32], cx: &QuantCx<'_>, out: &mut [u8]) -> Result<()>;

    /// How much a squared error counts at each value of whole rows: what [`Search::Trellis`]
    /// minimizes is the sum of `weight * (value - quantized)^2` over a block. `out` is as long as
    /// `values`.
    ///
    /// # Errors
    /// `Shape` if lengths do not fit.
    fn weights(&self, values: &[f32], cx: &QuantCx<'_>, out: &mut [f32]) -> Result<()>;

    /// Dequantizes whole blocks; `out` has exactly the right length.
    ///
    /// # Errors
    /// `Shape` if lengths do not fit. Never panics, whatever the bytes.
    fn dequantize(&self, bytes: &[u8], out: &mut [f32]) -> Result<()>;

    /// The plugin that it is from; none if it is built in.
    fn plugin(&self) -> Option<&'static Plugin> {
        None
    }

    /// The same type with parameters, the text of a JSON object.
    ///
    /// # Errors
    /// `Config` if it takes none; `Plugin` if it does not accept these.
    fn with_params(&self, params: &str) -> Result<&'static dyn QuantType> {
        let _ = params;
        Err(Error::config(format!("`{}` takes no parameters, but `params` are given", self.name()))
            .with_hint("only types of plugins have parameters"))
    }
}

/// The importance of a row, or 1 for every column.
pub fn importance_or_one(importance: Option<&[f32]>, out: &mut [f32]) {
    match importance {
        Some(importance) => out.copy_from_slice(importance),
        None => out.fill(1.0),
    }
}

/// What the file of a type provides: pure functions on one row, and constants.
///
/// [`RowWise`] lifts it to a [`QuantType`] and does all checking, so that kernels can rely on
/// lengths: `x.len()` is a multiple of `ELEMS`, `out.len() == x.len() / ELEMS * BYTES`, importance
/// has one entry per element of the row, and values are finite.
pub trait RowKernel: Sync + 'static {
    /// The name, lowercase.
    const NAME: &'static str;
    /// The type id in GGUF files.
    const GGML_TYPE: u32;
    /// Weights in a block.
    const ELEMS: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// What it does with importance.
    const NEED: Need;

    /// Quantizes one row.
    fn quantize_row(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]);

    /// Improves a row that [`Self::quantize_row`] has filled, see [`Search::Trellis`]: a block is
    /// replaced only by one with less weighted error. Types without a search leave it as it is.
    fn improve_row(_x: &[f32], _importance: Option<&[f32]>, _goal: Goal, _out: &mut [u8]) {}

    /// How much the squared error of each element of a row counts under [`Metric::Ggml`], see
    /// [`QuantType::weights`].
    fn weigh_row(_x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
        importance_or_one(importance, out);
    }

    /// Dequantizes any number of blocks.
    fn dequantize_blocks(bytes: &[u8], out: &mut [f32]);

    /// Whether every scale of one block is finite; values too large for a half-precision scale
    /// become infinite, and a file with such a block is broken.
    fn block_is_finite(block: &[u8]) -> bool;
}

/// A [`QuantType`] made of a [`RowKernel`].
pub struct RowWise<K>(PhantomData<fn() -> K>);

impl<K> RowWise<K> {
    /// The only value.
    #[expect(clippy::new_without_default, reason = "made in statics, where Default is no use")]
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K: RowKernel> QuantType for RowWise<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn ggml_type(&self) -> u32 {
        K::GGML_TYPE
    }

    fn block(&self) -> BlockSize {
        BlockSize { elems: K::ELEMS, bytes: K::BYTES }
    }

    fn importance(&self) -> Need {
        K::NEED
    }

    fn quantize(&self, values: &[f32], cx: &QuantCx<'_>, out: &mut [u8]) -> Result<()> {
        let row_len = check_rows(K::NAME, self.block(), K::NEED, values.len(), cx, out.len())?;
        refuse_non_finite(values, cx.cols)?;
        for (index, (row, out)) in values.chunks(cx.cols).zip(out.chunks_mut(row_len)).enumerate() {
            K::quantize_row(row, cx.importance, out);
            if let Search::Trellis(goal) = cx.search {
                K::improve_row(row, cx.importance, goal, out);
            }
            // Without an early exit first: that vectorizes, and almost every row passes.
            let blocks = out.chunks_exact(K::BYTES);
            if blocks.clone().fold(true, |finite, block| finite & K::block_is_finite(block)) {
                continue;
            }
            if let Some(block) = blocks.clone().position(|block| !K::block_is_finite(block)) {
                let column = block * K::ELEMS;
                return Err(Error::malformed(format!(
                    "values at row {index}, columns {column} to {} are too large for `{}`",
                    column + K::ELEMS - 1,
                    K::NAME
                ))
                .with_hint("use `f32` or `bf16` for this tensor"));
            }
        }
        Ok(())
    }

    fn weights(&self, values: &[f32], cx: &QuantCx<'_>, out: &mut [f32]) -> Result<()> {
        let fits = cx.cols > 0
            && cx.cols.is_multiple_of(K::ELEMS)
            && values.len().is_multiple_of(cx.cols)
            && cx.importance.is_none_or(|importance| importance.len() == cx.cols);
        if !fits || out.len() != values.len() {
            return Err(Error::shape(format!(
                "{} values and {} weights do not fit rows of {} in `{}`",
                values.len(),
                out.len(),
                cx.cols,
                K::NAME
            )));
        }
        for (row, out) in values.chunks(cx.cols).zip(out.chunks_mut(cx.cols)) {
            match cx.search {
                Search::Trellis(Goal { metric: Metric::Squares, .. }) => {
                    importance_or_one(cx.importance, out);
                }
                Search::Trellis(_) | Search::Standard => K::weigh_row(row, cx.importance, out),
            }
        }
        Ok(())
    }

    fn dequantize(&self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        if self.block().len_of(out.len() as u64) != Some(bytes.len() as u64) {
            return Err(Error::shape(format!(
                "{} bytes are not {} weights of `{}`",
                bytes.len(),
                out.len(),
                K::NAME
            )));
        }
        K::dequantize_blocks(bytes, out);
        Ok(())
    }
}

/// Refuses values that are no numbers, naming row and column.
pub(crate) fn refuse_non_finite(values: &[f32], cols: usize) -> Result<()> {
    let Some(at) = first_non_finite(values) else { return Ok(()) };
    let (value, row, column) = (values.get(at).copied(), at / cols, at % cols);
    Err(Error::malformed(format!(
        "value at row {row}, column {column} is `{}`, not a finite number",
        value.unwrap_or(f32::NAN)
    ))
    .with_hint("the checkpoint is broken: import a sound one, or leave the tensor out"))
}

/// Checks everything kernels rely on; returns the bytes of one row.
pub(crate) fn check_rows(
    name: &str,
    block: BlockSize,
    need: Need,
    values: usize,
    cx: &QuantCx<'_>,
    out: usize,
) -> Result<usize> {
    let cols = cx.cols;
    if cols == 0 || !cols.is_multiple_of(block.elems) {
        return Err(Error::shape(format!(
            "rows of {cols} are not a multiple of the {} weights in a block of `{name}`",
            block.elems
        )));
    }
    let row_len = (cols / block.elems).checked_mul(block.bytes);
    let out_len = row_len.and_then(|len| len.checked_mul(values / cols));
    let (Some(row_len), Some(true)) = (row_len, out_len.map(|len| len == out)) else {
        return Err(Error::shape(format!(
            "{values} values and {out} bytes do not fit rows of {cols} in `{name}`"
        )));
    };
    if !values.is_multiple_of(cols) {
        return Err(Error::shape(format!("{values} values are not whole rows of {cols}")));
    }
    match cx.importance {
        Some(weights) if weights.len() != cols => Err(Error::shape(format!(
            "importance has {} entries for rows of {cols}",
            weights.len()
        ))),
        Some(weights) if weights.iter().any(|w| !w.is_finite() || *w < 0.0) => {
            Err(Error::malformed("importance has an entry that is negative or not finite"))
        }
        None if need == Need::Required => {
            Err(Error::config(format!("type `{name}` needs importance data"))
                .with_hint("give one with --imatrix, or choose another type"))
        }
        _ => Ok(row_len),
    }
}
