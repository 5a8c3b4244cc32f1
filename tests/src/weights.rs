//! Weights to encode: reproducible random ones, and those of the trained model in `example/`.

use std::error::Error;
use std::path::Path;

use gmat_core::block::{EncodeInput, GroupShape};
use gmat_core::{DType, convert, fmath};
use safetensors::SafeTensors;

/// A reproducible stream of random numbers (SplitMix64).
pub struct Rng(u64);

impl Rng {
    /// The stream of that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 32 random bits.
    pub fn bits32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.bits().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// A random number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.bits() >> 33).unwrap_or(0) % bound.max(1)
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.bits().to_le_bytes()).flatten().take(len).collect()
    }

    /// Evenly distributed in 0..1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (self.uniform() * 2.0 - 1.0, self.uniform() * 2.0 - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return u * (-2.0 * fmath::ln_f64(s) / s).sqrt();
            }
        }
    }

    /// Student's t with five degrees of freedom: heavy tails.
    pub fn student_t(&mut self) -> f64 {
        let chi_squared: f64 = (0..5).map(|_| self.normal()).map(|z| z * z).sum();
        self.normal() / (chi_squared / 5.0).sqrt()
    }
}

/// The nearest `f32`.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the point")]
pub fn single(x: f64) -> f32 {
    x as f32
}

/// Some whole rows of a tensor, with their values and their source bytes.
#[derive(Debug, Clone)]
pub struct Rows {
    /// What to call it in messages.
    pub name: String,
    /// Element type and dimensions.
    pub shape: GroupShape,
    /// Little-endian elements.
    pub bytes: Vec<u8>,
    /// The same as `f32`; empty for integers.
    pub values: Vec<f32>,
}

impl Rows {
    /// Rows of F32 elements, `cols` each.
    #[must_use]
    pub fn f32(name: impl Into<String>, cols: usize, values: Vec<f32>) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let rows = values.len().checked_div(cols).unwrap_or(0);
        let shape = GroupShape { dtype: DType::F32, rows, cols };
        Self { name: name.into(), shape, bytes, values }
    }

    /// Rows of elements of any type, given as bytes.
    ///
    /// # Errors
    /// If the bytes are not that many elements.
    pub fn from_bytes(
        name: impl Into<String>,
        shape: GroupShape,
        bytes: Vec<u8>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut values = Vec::new();
        if shape.dtype.is_float() {
            values = vec![0.0; shape.rows * shape.cols];
            convert::to_f32(shape.dtype, &bytes, &mut values)?;
        }
        Ok(Self { name: name.into(), shape, bytes, values })
    }

    /// `rows` of `cols` F32 elements, made one by one.
    pub fn generate(
        name: impl Into<String>,
        rows: usize,
        cols: usize,
        mut element: impl FnMut() -> f64,
    ) -> Self {
        Self::f32(name, cols, (0..rows * cols).map(|_| single(element())).collect())
    }

    /// What an encoder gets.
    #[must_use]
    pub fn input(&self) -> EncodeInput<'_> {
        let GroupShape { dtype, rows, cols } = self.shape;
        EncodeInput { values: &self.values, bytes: &self.bytes, dtype, rows, cols }
    }

    /// The rows from `from` to `to` (or the end).
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let (from, to) = (from.min(self.shape.rows), to.min(self.shape.rows));
        let row_len = GroupShape { rows: 1, ..self.shape }.byte_len().unwrap_or(0);
        let part = |row: usize| from * row..to * row;
        Self {
            name: self.name.clone(),
            shape: GroupShape { rows: to - from, ..self.shape },
            bytes: self.bytes.get(part(row_len)).unwrap_or_default().to_vec(),
            values: self.values.get(part(self.shape.cols)).unwrap_or_default().to_vec(),
        }
    }

    /// Relative root-mean-square error of `decoded`.
    #[must_use]
    pub fn relative_rmse(&self, decoded: &[f32]) -> f64 {
        let square = |x: f64| x * x;
        let pairs = self.values.iter().zip(decoded);
        let error: f64 = pairs.map(|(&x, &y)| square(f64::from(x) - f64::from(y))).sum();
        let signal: f64 = self.values.iter().map(|&x| square(f64::from(x))).sum();
        if error == 0.0 { 0.0 } else { (error / signal).sqrt() }
    }
}

/// The same rows of BF16 after a training that moved them: normal noise, `drift` times their root mean
/// square.
///
/// # Errors
/// If they are not BF16.
pub fn drifted(rows: &Rows, drift: f64, seed: u64) -> Result<Rows, Box<dyn Error>> {
    if rows.shape.dtype != DType::Bf16 {
        return Err("only BF16 can drift".into());
    }
    let mut rng = Rng::new(seed);
    let squares: f64 = rows.values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let step = drift * (squares / rows.values.len().max(1) as f64).sqrt();
    let moved = rows.values.iter().map(|&x| single(f64::from(x) + step * rng.normal()));
    // To the nearest, ties to even.
    let short = moved.map(|x| (x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) >> 16);
    let bytes = short.flat_map(|bits| bits.to_le_bytes().into_iter().take(2)).collect();
    Rows::from_bytes(&rows.name, rows.shape, bytes)
}

/// The tensors of `example/tiny_llm`: a trained model of BF16 weights.
///
/// # Errors
/// If the file cannot be read.
pub fn trained() -> Result<Vec<Rows>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(root.join("../example/tiny_llm/hf-model/tiny_llm.safetensors"))?;
    let mut tensors = Vec::new();
    for (name, view) in SafeTensors::deserialize(&file)?.iter() {
        let dtype = DType::from_name(&view.dtype().to_string()).ok_or("unknown element type")?;
        let cols = view.shape().last().copied().unwrap_or(1);
        let rows = view.shape().iter().product::<usize>().checked_div(cols).unwrap_or(0);
        let shape = GroupShape { dtype, rows, cols };
        tensors.push(Rows::from_bytes(name, shape, view.data().to_vec())?);
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}
