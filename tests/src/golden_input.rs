//! The generator of the golden quantization inputs, as `tests/golden/quant/gen.py` defines it.
//!
//! Integer arithmetic and IEEE 754 operations only, so that it gives the same bits everywhere.

const SEED: u64 = 0x676D_6174_2D67_6F6C;
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A kind of larger input whose expected results are stored as hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Big {
    /// Normal distribution, standard deviation 0.02.
    Gauss,
    /// Student's t with three degrees of freedom, times 0.02.
    Student,
    /// As `Gauss`, rounded to bfloat16.
    Bf16,
}

impl Big {
    /// The input of that name in the manifest (`big_gauss`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "big_gauss" => Some(Self::Gauss),
            "big_student" => Some(Self::Student),
            "big_bf16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// `rows` times `cols` values.
    #[must_use]
    pub fn rows(self, rows: u64, cols: u64) -> Vec<f32> {
        let stream = match self {
            Self::Gauss => 2,
            Self::Student => 3,
            Self::Bf16 => 4,
        };
        let samples = (0..rows).flat_map(|row| (0..cols).map(move |j| Sample::new(stream, row, j)));
        samples
            .map(|sample| match self {
                Self::Gauss => to_f32(sample.normal * 0.02),
                Self::Student => to_f32(sample.student() * 0.02),
                Self::Bf16 => bf16_round(to_f32(sample.normal * 0.02)),
            })
            .collect()
    }
}

/// Rows of many kinds: of one sign, of mixed sizes, sparse, with outliers. Together with
/// [`wild_importance`] they drive the searches into corners that usual rows never reach, such as
/// scales below zero.
#[must_use]
pub fn wild(rows: u64, cols: u64) -> Vec<f32> {
    let sample = |row, j| {
        let sample = Sample::new(5, row, j);
        let g = sample.normal;
        to_f32(match row % 6 {
            0 => -(g.abs() * 0.0005 + 0.0015),
            1 => g * 0.02 / to_f64(1 << (j / 32 % 13)),
            2 if sample.others[0].abs() < 1.5 => 0.0,
            2 => g * 0.1,
            3 => g.abs() * 0.01 + 0.05,
            4 if sample.others[1].abs() > 2.3 => g * 0.03,
            4 => g * 0.0003,
            _ => -0.01 * to_f64(1 + i64::from(j / 16 % 7 > 2)) - g.abs() * 0.0033,
        })
    };
    (0..rows).flat_map(|row| (0..cols).map(move |j| sample(row, j))).collect()
}

/// Importance with many zeros, over many powers of ten in every other super-block.
#[must_use]
pub fn wild_importance(cols: u64) -> Vec<f32> {
    let sample = |j| {
        let sample = Sample::new(6, 0, j);
        let (zeros, width) = if j / 256 % 2 == 0 { (1.8, 16.0) } else { (0.7, 2.0) };
        let zero = sample.others[0] > zeros;
        if zero { 0.0 } else { to_f32(log_normal(sample.normal * width)) }
    };
    (0..cols).map(sample).collect()
}

/// Log-normal importance for the larger inputs.
#[must_use]
pub fn big_importance(cols: u64) -> Vec<f32> {
    (0..cols).map(|j| to_f32(log_normal(Sample::new(1, 2, j).normal))).collect()
}

/// The log-normal importance of the stored input (`importance_a.f32.bin`).
#[must_use]
pub fn importance_a(cols: u64) -> Vec<f32> {
    (0..cols).map(|j| to_f32(log_normal(Sample::new(1, 0, j).normal))).collect()
}

/// One sample: sixteen draws of the counter-based generator.
struct Sample {
    /// Sum of twelve uniform numbers, centred: nearly standard normal.
    normal: f64,
    /// Three more of them.
    others: [f64; 3],
}

impl Sample {
    fn new(stream: u64, row: u64, j: u64) -> Self {
        let draw = |n: u64| {
            let counter = ((stream << 56) | (row << 28)).wrapping_add(16 * j + n + 1);
            let mut z = SEED.wrapping_add(GOLDEN.wrapping_mul(counter));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let normal = |k: u64| {
            let pieces = (0..3).flat_map(|q| draw(3 * k + q).to_le_bytes());
            let sum =
                pieces.enumerate().map(|(at, byte)| i64::from(byte) << (8 * (at % 2))).sum::<i64>();
            to_f64(sum - 393_210) / 65_536.0
        };
        Self { normal: normal(0), others: [normal(1), normal(2), normal(3)] }
    }

    fn student(&self) -> f64 {
        let [a, b, c] = self.others;
        let chi = (a * a + b * b) + c * c;
        self.normal / (chi / 3.0).sqrt()
    }
}

/// A portable stand-in for `exp`: `(1 + g/1024)^1024` by squaring.
fn log_normal(g: f64) -> f64 {
    (0..10).fold(1.0 + g / 1024.0, |y, _| y * y)
}

fn bf16_round(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
fn to_f32(x: f64) -> f32 {
    x as f32
}

#[expect(clippy::cast_precision_loss, reason = "sums of twelve 16-bit numbers")]
fn to_f64(n: i64) -> f64 {
    n as f64
}
