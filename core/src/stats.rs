//! What import learns about a tensor while it passes by: enough to choose quantization types later
//! without reading the tensor again.

/// Elements whose largest magnitude is counted together in [`LaneTops`].
const LANE: usize = 8;

/// Sums over one row group.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupStats {
    /// Elements that are not zero.
    pub nonzero: u64,
    /// Elements that are NaN or infinite (only formats that keep source bytes let them through).
    pub non_finite: u64,
    /// Largest finite magnitude.
    pub max_abs: f32,
    /// Sum of squares of the finite values, in double precision.
    pub sum_sq: f64,
}

impl GroupStats {
    /// Counts `values`.
    #[must_use]
    pub fn of(values: &[f32]) -> Self {
        let mut nonzero = 0u64;
        let mut non_finite = 0u64;
        // Eight independent columns of accumulators: the loop vectorizes, and the order of every
        // sum is fixed by the position in the group alone.
        let mut top = [0f32; LANE];
        let mut sums = [0f64; LANE];
        let mut add = |lane: &[f32]| {
            for ((&value, top), sum) in lane.iter().zip(&mut top).zip(&mut sums) {
                let finite = value.is_finite();
                let value = if finite { value } else { 0.0 };
                non_finite += u64::from(!finite);
                nonzero += u64::from(!finite || value != 0.0);
                *top = if value.abs() > *top { value.abs() } else { *top };
                *sum += f64::from(value) * f64::from(value);
            }
        };
        let (lanes, rest) = values.as_chunks::<LANE>();
        for lane in lanes {
            add(lane);
        }
        add(rest);
        Self {
            nonzero,
            non_finite,
            max_abs: top.into_iter().fold(0.0, f32::max),
            sum_sq: sums.into_iter().sum(),
        }
    }

    /// Statistics of two groups together; groups are merged in file order.
    #[must_use]
    pub fn merge(self, next: Self) -> Self {
        Self {
            nonzero: self.nonzero + next.nonzero,
            non_finite: self.non_finite + next.non_finite,
            max_abs: self.max_abs.max(next.max_abs),
            sum_sq: self.sum_sq + next.sum_sq,
        }
    }
}

/// Histogram of lane tops: the largest magnitude of every 8 consecutive elements of a row.
///
/// Bins are the exponent and the top three mantissa bits, eight to an octave, so filling it needs
/// integer operations only and gives the same counts everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneTops {
    bins: Vec<u64>,
}

/// Bins of one octave.
const OCTAVE: usize = 8;

impl Default for LaneTops {
    fn default() -> Self {
        Self { bins: vec![0; 256 * OCTAVE] }
    }
}

impl LaneTops {
    /// Counts the lanes of whole rows of `cols` elements.
    pub fn add(&mut self, values: &[f32], cols: usize) {
        for row in values.chunks(cols.max(1)) {
            for lane in row.chunks(LANE) {
                let top = lane.iter().fold(0, |top, v| top.max(v.to_bits() & 0x7fff_ffff));
                if let Some(bin) = self.bins.get_mut((top >> 20) as usize) {
                    *bin += 1;
                }
            }
        }
    }

    /// Adds the counts of other rows of the same tensor.
    pub fn merge(&mut self, other: &Self) {
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            *bin += more;
        }
    }

    /// The **importance** of the tensor: the share of its lanes (all-zero ones left out) whose top
    /// is at least one octave above the median lane top. About 0.004 for Gaussian weights, 0.05 to
    /// 0.15 for heavy tails, more with outlier channels.
    #[must_use]
    pub fn importance(&self) -> f64 {
        let lanes: u64 = self.bins.iter().skip(1).sum();
        if lanes == 0 {
            return 0.0;
        }
        let mut below = 0;
        let median = self.bins.iter().skip(1).take_while(|&&count| {
            below += count;
            below * 2 < lanes
        });
        // `skip(1)` leaves out the bin of zero tops; the median bin follows those taken.
        let median = median.count() + 1;
        let high: u64 = self.bins.iter().skip(median + OCTAVE).sum();
        ratio(high, lanes)
    }
}

/// `part / whole` of two counts; exact as long as both are below 2^53.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let stats = GroupStats::of(&[0.0, -2.0, 1.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, 3.0]);
        assert_eq!((stats.nonzero, stats.non_finite), (4, 1));
        assert_eq!(stats.max_abs, 3.0);
        assert_eq!(stats.sum_sq, 14.0);
        let twice = stats.merge(stats);
        assert_eq!((twice.nonzero, twice.sum_sq), (8, 28.0));
    }

    #[test]
    fn importance_is_the_share_an_octave_above_the_median() {
        let mut tops = LaneTops::default();
        // 90 lanes with top 1, 10 lanes with top 2.
        let mut values = vec![0.5f32; 800];
        for lane in 0..100 {
            values[lane * 8 + lane % 8] = if lane < 90 { 1.0 } else { 2.0 };
        }
        tops.add(&values, 80);
        assert_eq!(tops.importance(), 0.1);
        // Zero lanes do not count.
        tops.add(&[0.0; 800], 80);
        assert_eq!(tops.importance(), 0.1);
        assert_eq!(LaneTops::default().importance(), 0.0);
    }

    #[test]
    fn importance_does_not_depend_on_scale_or_split() {
        let values: Vec<f32> = (0..4096u32).map(|i| ((i * 7919) % 1009) as f32 - 500.0).collect();
        let mut whole = LaneTops::default();
        whole.add(&values, 64);
        let mut halves = LaneTops::default();
        for half in values.chunks(2048) {
            let mut part = LaneTops::default();
            part.add(half, 64);
            halves.merge(&part);
        }
        assert_eq!(whole, halves);
        let mut scaled = LaneTops::default();
        scaled.add(&values.iter().map(|v| v / 1024.0).collect::<Vec<_>>(), 64);
        assert_eq!(whole.importance(), scaled.importance());
    }
}
