//! What holds for every type and format of a plugin, tried out.

use super::fault;
use crate::block::{BlockFormat, EncodeInput, GroupShape};
use crate::error::{Error, Result};
use crate::quant::{Need, QuantCx, QuantType};
use crate::tensor::DType;

/// A law and whether it holds.
pub struct Law {
    /// The law, in words.
    pub text: &'static str,
    /// What is against it.
    pub result: Result<()>,
}

/// What came of trying something out.
pub struct Verdict {
    /// All laws.
    pub laws: Vec<Law>,
    /// Root mean square error over that of the values, on normally distributed ones.
    pub error: Option<f64>,
}

/// Values a piece of rows has that goes to a plugin twice in one instance, and then some.
const MANY: usize = 1 << 17;

/// Tries a quantization type.
#[must_use]
pub fn check_type(quant: &dyn QuantType) -> Verdict {
    let cols = quant.block().elems * (1024 / quant.block().elems).max(2);
    let rows = Rows { cols, x: normal(8 * cols) };
    let as_is = |x: Vec<f32>| Rows { cols, x };
    let mut laws = Vec::new();
    let mut law = |text, result| laws.push(Law { text, result });
    let found = error_of(quant, &rows);
    let error = found.as_ref().ok().copied();
    law("normally distributed rows come back", found.map(drop));
    law("zeros come back as zeros", zeros(quant, cols));
    let unusual =
        unusual(8 * cols).into_iter().try_for_each(|x| error_of(quant, &as_is(x)).map(drop));
    law("unusual rows come back as finite numbers", unusual);
    let again = || same(&quantize(quant, &rows, true)?, &quantize(quant, &rows, true)?);
    law("the same rows become the same bytes", again());
    law("rows do not know each other", independent(quant, &rows));
    let many = Rows { cols, x: rows.x.iter().copied().cycle().take(MANY / cols * cols).collect() };
    law("nothing is remembered from one call to the next", stateless(quant, &rows, &many));
    if quant.importance() == Need::Ignored {
        let ignored = || same(&quantize(quant, &rows, true)?, &quantize(quant, &rows, false)?);
        law("importance is ignored, as declared", ignored());
    } else {
        law("importance is taken, as declared", quantize(quant, &rows, true).map(drop));
    }
    Verdict { laws, error }
}

/// Tries a block format.
#[must_use]
pub fn check_block(block: &dyn BlockFormat) -> Verdict {
    let (rows, cols) = (8 * block.granule_rows(), 1000);
    let shape = GroupShape { dtype: DType::F32, rows, cols };
    let x = normal(rows * cols);
    let mut laws = Vec::new();
    let mut law = |text, result| laws.push(Law { text, result });
    let back = |x: &[f32]| -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len()];
        block.decode(&encode(block, x, rows, cols)?, shape, &mut out)?;
        Ok(out)
    };
    let found = back(&x).map(|y| relative(&x, &y));
    let error = found.as_ref().ok().copied();
    law("normally distributed rows come back", found.map(drop));
    let zeros = back(&vec![0.0; x.len()]).and_then(|y| all_zero(&y));
    law("zeros come back as zeros", zeros);
    let unusual = unusual(x.len()).into_iter().try_for_each(|x| back(&x).map(drop));
    law("unusual rows come back as finite numbers", unusual);
    let again = || same(&encode(block, &x, rows, cols)?, &encode(block, &x, rows, cols)?);
    law("the same rows become the same bytes", again());
    law("encoding what was decoded changes nothing", second(block, &x, shape));
    law("cut and damaged bytes do no harm", damaged(block, &x, shape));
    Verdict { laws, error }
}

struct Rows {
    cols: usize,
    x: Vec<f32>,
}

/// Values from a fixed sequence, about normally distributed.
fn normal(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // At most 16 bits: exact.
        f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 65536.0
    };
    (0..count).map(|_| ((0..12).map(|_| next()).sum::<f32>() - 6.0) * 0.02).collect()
}

/// Rows that are not like those of models.
fn unusual(count: usize) -> Vec<Vec<f32>> {
    let every = |at: usize, number: usize, one: f32, other: f32| {
        if at.is_multiple_of(number) { one } else { other }
    };
    let of = |value: &dyn Fn(usize) -> f32| (0..count).map(value).collect::<Vec<f32>>();
    let tiny = |at: usize| f32::from_bits(u32::try_from(at).unwrap_or_default());
    vec![
        vec![0.37; count],
        vec![-0.37; count],
        of(&|at| every(at, 997, 100.0, 0.01)),
        of(&|at| every(at, 64, -3.0, 0.01)),
        of(&|at| every(at, 2, 60_000.0, -60_000.0)),
        of(&tiny),
    ]
}

fn quantize(quant: &dyn QuantType, rows: &Rows, weighted: bool) -> Result<Vec<u8>> {
    let weights: Vec<f32> = (0..rows.cols).map(|at| if at % 3 == 0 { 4.0 } else { 1.0 }).collect();
    let importance = (weighted || quant.importance() == Need::Required).then_some(&weights[..]);
    let len = quant.block().len_of(rows.x.len() as u64).and_then(|len| usize::try_from(len).ok());
    let mut out = vec![0; len.ok_or_else(|| Error::shape("rows are not whole blocks"))?];
    quant.quantize(&rows.x, &QuantCx::standard(rows.cols, importance), &mut out)?;
    Ok(out)
}

fn error_of(quant: &dyn QuantType, rows: &Rows) -> Result<f64> {
    let bytes = quantize(quant, rows, false)?;
    let mut back = vec![0.0; rows.x.len()];
    quant.dequantize(&bytes, &mut back)?;
    Ok(relative(&rows.x, &back))
}

fn zeros(quant: &dyn QuantType, cols: usize) -> Result<()> {
    let bytes = quantize(quant, &Rows { cols, x: vec![0.0; cols] }, false)?;
    let mut back = vec![1.0; cols];
    quant.dequantize(&bytes, &mut back)?;
    all_zero(&back)
}

fn all_zero(values: &[f32]) -> Result<()> {
    match values.iter().find(|value| **value != 0.0) {
        None => Ok(()),
        Some(value) => Err(fault(format!("a zero came back as `{value}`"))),
    }
}

fn independent(quant: &dyn QuantType, rows: &Rows) -> Result<()> {
    let whole = quantize(quant, rows, true)?;
    let mut single = Vec::new();
    for x in rows.x.chunks(rows.cols) {
        single.extend(quantize(quant, &Rows { cols: rows.cols, x: x.to_vec() }, true)?);
    }
    same(&whole, &single)
}

fn stateless(quant: &dyn QuantType, rows: &Rows, many: &Rows) -> Result<()> {
    let once = quantize(quant, rows, true)?;
    let often = quantize(quant, many, true)?;
    often
        .chunks(once.len())
        .try_for_each(|part| same(part, once.get(..part.len()).unwrap_or(&once)))
}

fn encode(block: &dyn BlockFormat, x: &[f32], rows: usize, cols: usize) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = x.iter().flat_map(|value| value.to_le_bytes()).collect();
    let input = EncodeInput { values: x, bytes: &bytes, dtype: DType::F32, rows, cols };
    let mut out = Vec::new();
    block.encode(input, &mut out)?;
    Ok(out)
}

fn second(block: &dyn BlockFormat, x: &[f32], shape: GroupShape) -> Result<()> {
    let first = encode(block, x, shape.rows, shape.cols)?;
    let mut back = vec![0.0; x.len()];
    block.decode(&first, shape, &mut back)?;
    let again = encode(block, &back, shape.rows, shape.cols)?;
    let mut twice = vec![0.0; x.len()];
    block.decode(&again, shape, &mut twice)?;
    // The factor of a row may move by a rounding.
    match relative(&back, &twice) {
        off if off < 1e-5 => Ok(()),
        off => Err(fault(format!("values move by {off} when they are encoded again"))),
    }
}

/// Failing is fine; whatever else goes wrong is found by the host, which lives on.
fn damaged(block: &dyn BlockFormat, x: &[f32], shape: GroupShape) -> Result<()> {
    let bytes = encode(block, x, shape.rows, shape.cols)?;
    let mut out = vec![0.0; x.len()];
    for cut in [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let _ = block.decode(bytes.get(..cut).unwrap_or_default(), shape, &mut out);
    }
    let flipped: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    let _ = block.decode(&flipped, shape, &mut out);
    block.decode(&bytes, shape, &mut out)
}

fn same(one: &[u8], other: &[u8]) -> Result<()> {
    match one.iter().zip(other).position(|(one, other)| one != other) {
        None if one.len() == other.len() => Ok(()),
        at => Err(fault(format!("byte {} differs", at.unwrap_or(one.len().min(other.len()))))),
    }
}

/// Root of the mean square error over that of the values.
fn relative(x: &[f32], y: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = x.iter().zip(y).map(|(x, y)| square(f64::from(*x) - f64::from(*y))).sum();
    let size: f64 = x.iter().map(|x| square(f64::from(*x))).sum();
    if size == 0.0 { 0.0 } else { (error / size).sqrt() }
}
