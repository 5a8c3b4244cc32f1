//! How far quantized weights are from the original ones.

use crate::error::Result;
use crate::pipeline::Buffers;
use crate::quant::{QuantCx, QuantType};

/// Sums over the weights of a tensor, or a part of it, from which all figures follow.
///
/// They are taken in the order of the weights, unit by unit, so that they do not depend on the
/// number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Damage {
    /// Number of weights.
    pub elems: u64,
    /// Squares of the original weights.
    square: f64,
    /// Squares of the quantized ones.
    quantized_square: f64,
    /// Products of both.
    product: f64,
    /// Squares of the differences.
    error: f64,
    /// Squares of the original weights, each times how much it counts for the type.
    weighted_square: f64,
    /// Squares of the differences, likewise.
    weighted_error: f64,
    /// Largest difference.
    largest: f32,
}

/// Sums run in so many lanes, so that the compiler makes vectors of them.
const LANES: usize = 8;

impl Damage {
    /// Adds rows and what they were quantized to.
    pub(crate) fn add(
        &mut self,
        quant: &dyn QuantType,
        values: &[f32],
        cx: &QuantCx<'_>,
        bytes: &[u8],
        buffers: &Buffers,
    ) -> Result<()> {
        let mut found = buffers.values(values.len());
        let mut weights = buffers.values(values.len());
        quant.dequantize(bytes, &mut found)?;
        quant.weights(values, cx, &mut weights)?;
        self.add_values(values, &found, &weights);
        buffers.put_values(found);
        buffers.put_values(weights);
        Ok(())
    }

    /// Adds values and what became of them, all alike.
    pub(crate) fn add_plain(&mut self, values: &[f32], found: &[f32]) {
        const ONES: [f32; 1024] = [1.0; 1024];
        for (values, found) in values.chunks(ONES.len()).zip(found.chunks(ONES.len())) {
            self.add_values(values, found, ONES.get(..values.len()).unwrap_or_default());
        }
    }

    fn add_values(&mut self, values: &[f32], found: &[f32], weights: &[f32]) {
        let mut sums = [[0.0f64; LANES]; 6];
        let mut largest = [0.0f32; LANES];
        let lanes = values.chunks(LANES).zip(found.chunks(LANES)).zip(weights.chunks(LANES));
        for ((values, found), weights) in lanes {
            for (lane, ((x, y), w)) in values.iter().zip(found).zip(weights).enumerate() {
                let (x64, y64, w64) = (f64::from(*x), f64::from(*y), f64::from(*w));
                let difference = x64 - y64;
                let terms = [
                    x64 * x64,
                    y64 * y64,
                    x64 * y64,
                    difference * difference,
                    w64 * x64 * x64,
                    w64 * difference * difference,
                ];
                for (sum, term) in sums.iter_mut().zip(terms) {
                    if let Some(sum) = sum.get_mut(lane) {
                        *sum += term;
                    }
                }
                if let Some(largest) = largest.get_mut(lane) {
                    *largest = largest.max((x - y).abs());
                }
            }
        }
        let [square, quantized, product, error, weighted_square, weighted_error] =
            sums.map(|lanes| lanes.iter().sum());
        self.merge(&Self {
            elems: values.len() as u64,
            square,
            quantized_square: quantized,
            product,
            error,
            weighted_square,
            weighted_error,
            largest: largest.iter().fold(0.0, |most, lane| most.max(*lane)),
        });
    }

    /// Adds the sums of other weights.
    pub fn merge(&mut self, other: &Self) {
        self.elems += other.elems;
        self.square += other.square;
        self.quantized_square += other.quantized_square;
        self.product += other.product;
        self.error += other.error;
        self.weighted_square += other.weighted_square;
        self.weighted_error += other.weighted_error;
        self.largest = self.largest.max(other.largest);
    }

    /// Root mean square error over the root mean square of the weights; 0 if both are.
    #[must_use]
    pub fn relative_rmse(&self) -> f64 {
        ratio(self.error, self.square).sqrt()
    }

    /// The same, with every square counting as much as it does for the type: times its importance,
    /// or the weight that ggml's search has for the type.
    #[must_use]
    pub fn weighted_rmse(&self) -> f64 {
        ratio(self.weighted_error, self.weighted_square).sqrt()
    }

    /// Cosine of the angle between original and quantized weights; 1 if there are none but zeros.
    #[must_use]
    pub fn cosine(&self) -> f64 {
        if self.square == 0.0 && self.quantized_square == 0.0 {
            return 1.0;
        }
        ratio(self.product, (self.square * self.quantized_square).sqrt())
    }

    /// Largest difference between a weight and what it was quantized to.
    #[must_use]
    pub fn max_error(&self) -> f32 {
        self.largest
    }

    /// Root mean square of the original weights.
    #[must_use]
    pub fn rms(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count in a mean")]
        ratio(self.square, self.elems as f64).sqrt()
    }
}

/// A quotient, 0 if both are 0.
fn ratio(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_the_sums() {
        let mut damage = Damage::default();
        damage.add_values(&[3.0, -4.0], &[3.0, -3.0], &[1.0, 3.0]);
        assert!((damage.relative_rmse() - 0.2).abs() < 1e-12);
        assert!((damage.weighted_rmse() - (3.0f64 / 57.0).sqrt()).abs() < 1e-12);
        assert!((damage.cosine() - 21.0 / (5.0 * 18f64.sqrt())).abs() < 1e-12);
        assert_eq!((damage.max_error(), damage.elems), (1.0, 2));
        let parts: Vec<f32> = (0..1000u16).map(f32::from).collect();
        let other: Vec<f32> = parts.iter().map(|x| x + 0.5).collect();
        let mut whole = Damage::default();
        whole.add_values(&parts, &other, &parts);
        let mut halves = Damage::default();
        halves.add_values(&parts[..500], &other[..500], &parts[..500]);
        halves.add_values(&parts[500..], &other[500..], &parts[500..]);
        assert!((whole.relative_rmse() / halves.relative_rmse() - 1.0).abs() < 1e-12);
        assert_eq!(whole.max_error(), 0.5);
    }

    #[test]
    fn nothing_and_zeros() {
        let mut damage = Damage::default();
        assert_eq!((damage.relative_rmse(), damage.cosine(), damage.rms()), (0.0, 1.0, 0.0));
        damage.add_values(&[0.0; 4], &[0.0; 4], &[1.0; 4]);
        assert_eq!((damage.weighted_rmse(), damage.cosine(), damage.rms()), (0.0, 1.0, 0.0));
    }
}
