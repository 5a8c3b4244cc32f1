//! Blocks of `q4_k` with a small squared error, by alternation.
//!
//! A block of 256 weights has 8 groups of 32. A weight is `d * scale * code - dmin * min`: `d` and `dmin`
//! are half-precision numbers of the block, `scale` and `min` six-bit numbers of the group, `code` has
//! four bits. (Layout: `block_q4_K` of ggml.)
//!
//! First every group is fitted alone by a line through its values, for several widths of the range of
//! codes; codes by rounding and the line by least squares take turns. Then scales and minima are rounded
//! to six bits. From then on, what is fixed takes turns with what is free: `d` and `dmin` by least
//! squares, then for each group its scale and minimum among the neighbours of what they are. A step is
//! kept only if the error becomes smaller.

/// Weights of a block.
pub const LEN: usize = 256;
/// Bytes of a block.
pub const BYTES: usize = 144;
/// Weights of a group.
const GROUP: usize = 32;
/// Groups of a block.
const GROUPS: usize = LEN / GROUP;
/// The largest code, and the largest scale and minimum.
const TOP: i32 = 15;
const LEVELS: f32 = 63.0;

/// Quantizes a row, a multiple of [`LEN`] weights. `importance` weighs the squared error of each column.
pub fn quantize(x: &[f32], importance: Option<&[f32]>, rounds: u32, out: &mut [u8]) {
    let ones = [1.0; LEN];
    for (at, (x, out)) in
        x.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0).enumerate()
    {
        let weights = importance
            .and_then(|all| all.get(at * LEN..)?.first_chunk::<LEN>())
            // Where nothing counts, everything counts the same.
            .filter(|weights| weights.iter().any(|weight| *weight > 0.0))
            .unwrap_or(&ones);
        quantize_block(x, weights, rounds, out);
    }
}

/// The values of a group, their weights, and what is needed of both again and again.
struct Values {
    x: [f32; GROUP],
    w: [f32; GROUP],
    wx: [f32; GROUP],
    sum_w: f32,
    sum_wx: f32,
}

impl Values {
    fn new(x: &[f32; GROUP], w: &[f32; GROUP]) -> Self {
        let mut wx = *w;
        for (w, x) in wx.iter_mut().zip(x) {
            *w *= x;
        }
        Self { x: *x, w: *w, wx, sum_w: w.iter().sum(), sum_wx: wx.iter().sum() }
    }
}

/// Scale and minimum of a group.
#[derive(Clone, Copy)]
struct Group {
    scale: f32,
    min: f32,
}

fn quantize_block(x: &[f32; LEN], weights: &[f32; LEN], rounds: u32, out: &mut [u8; BYTES]) {
    let (x, w) = (x.as_chunks::<GROUP>().0, weights.as_chunks::<GROUP>().0);
    let values: [Values; GROUPS] = std::array::from_fn(|group| Values::new(&x[group], &w[group]));
    let lines = values.each_ref().map(fit_line);
    let largest = |of: fn(&Group) -> f32| lines.iter().map(of).fold(0.0f32, most);
    let mut best = Block {
        d: half(largest(|line| line.scale) / LEVELS),
        dmin: half(largest(|line| line.min) / LEVELS),
        groups: [Group { scale: 0.0, min: 0.0 }; GROUPS],
        error: 0.0,
    };
    for (group, line) in best.groups.iter_mut().zip(lines) {
        group.scale = level(line.scale, best.d);
        group.min = level(line.min, best.dmin);
    }
    best.choose_levels(&values);
    for _ in 0..rounds {
        let mut next = best;
        next.fit_factors(&values);
        next.choose_levels(&values);
        if next.error >= best.error {
            break;
        }
        best = next;
    }
    best.write(&values, out);
}

/// A block but for its codes, which follow from the rest.
#[derive(Clone, Copy)]
struct Block {
    d: f32,
    dmin: f32,
    /// Scales and minima in levels.
    groups: [Group; GROUPS],
    error: f32,
}

impl Block {
    /// Chooses scale and minimum of every group among the neighbours of what they are; sums the error.
    fn choose_levels(&mut self, values: &[Values; GROUPS]) {
        let (d, dmin) = (self.d, self.dmin);
        self.error = 0.0;
        for (group, values) in self.groups.iter_mut().zip(values) {
            let (mut smallest, mut chosen) = (f32::INFINITY, *group);
            for by_scale in [0.0, -1.0, 1.0] {
                for by_min in [0.0, -1.0, 1.0] {
                    let scale = (group.scale + by_scale).clamp(0.0, LEVELS);
                    let min = (group.min + by_min).clamp(0.0, LEVELS);
                    let error = error(values, d * scale, dmin * min);
                    if error < smallest {
                        (smallest, chosen) = (error, Group { scale, min });
                    }
                }
            }
            self.error += smallest;
            *group = chosen;
        }
    }

    /// The factors with the least error for the codes as they are.
    fn fit_factors(&mut self, values: &[Values; GROUPS]) {
        // Normal equations of x = d * s - dmin * m.
        let (mut ss, mut sm, mut mm, mut sx, mut mx) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for (group, values) in self.groups.iter().zip(values) {
            let sums = sums(values, self.d * group.scale, self.dmin * group.min);
            ss += group.scale * group.scale * sums.qq;
            sm += group.scale * group.min * sums.q;
            mm += group.min * group.min * values.sum_w;
            sx += group.scale * sums.qx;
            mx += group.min * values.sum_wx;
        }
        let determinant = ss * mm - sm * sm;
        if determinant > 0.0 {
            let d = (sx * mm - mx * sm) / determinant;
            let dmin = (sx * sm - mx * ss) / determinant;
            if d > 0.0 && dmin >= 0.0 {
                (self.d, self.dmin) = (half(d), half(dmin));
            }
        } else if ss > 0.0 && sx > 0.0 {
            self.d = half(sx / ss);
        }
    }

    fn write(&self, values: &[Values; GROUPS], out: &mut [u8; BYTES]) {
        out[..2].copy_from_slice(&half_bits(self.d).to_le_bytes());
        out[2..4].copy_from_slice(&half_bits(self.dmin).to_le_bytes());
        for (at, pair) in
            self.groups.as_chunks::<4>().0[0].iter().zip(&self.groups[4..]).enumerate()
        {
            let (low, high) = pair;
            // Six bits of groups 0 to 3 fill the bytes from below; those of groups 4 to 7 have their
            // upper two bits on top of these, and their lower four in the last four bytes.
            let (scale, min) = (high.scale as u8, high.min as u8);
            out[4 + at] = low.scale as u8 | (scale >> 4) << 6;
            out[8 + at] = low.min as u8 | (min >> 4) << 6;
            out[12 + at] = (scale & 15) | (min & 15) << 4;
        }
        for (number, (group, values)) in self.groups.iter().zip(values).enumerate() {
            let line = Line::new(self.d * group.scale, self.dmin * group.min);
            let shift = 4 * (number % 2);
            for (byte, x) in out[16 + number / 2 * GROUP..].iter_mut().zip(values.x) {
                *byte = (*byte & (0xf0 >> shift)) | (line.code(x).1 as u8) << shift;
            }
        }
    }
}

/// The line through the values of a group with the least error, of those that are tried.
fn fit_line(values: &Values) -> Group {
    let x = &values.x;
    let low = x.iter().fold(0.0f32, |low, x| least(low, *x));
    let high = x.iter().fold(low, |high, x| most(high, *x));
    let mut best = Group { scale: 0.0, min: -low };
    if high <= low {
        return best;
    }
    let mut smallest = error(values, best.scale, best.min);
    for width in [13.5, 14.25, 15.0, 15.75, 16.5] {
        let mut line = Group { scale: (high - low) / width, min: -low };
        for _ in 0..3 {
            let sums = sums(values, line.scale, line.min);
            let determinant = sums.qq * values.sum_w - sums.q * sums.q;
            if determinant <= 0.0 {
                break;
            }
            line.scale = (sums.qx * values.sum_w - values.sum_wx * sums.q) / determinant;
            line.min = (sums.qx * sums.q - values.sum_wx * sums.qq) / determinant;
            if line.min < 0.0 {
                line = Group { scale: sums.qx / most(sums.qq, f32::MIN_POSITIVE), min: 0.0 };
            }
            if line.scale <= 0.0 {
                break;
            }
            let error = error(values, line.scale, line.min);
            if error < smallest {
                (smallest, best) = (error, line);
            }
        }
    }
    best
}

/// Weighted sums over a group.
struct Sums {
    q: f32,
    qq: f32,
    qx: f32,
}

fn sums(values: &Values, scale: f32, min: f32) -> Sums {
    let line = Line::new(scale, min);
    let mut lanes = [[0.0f32; 4]; 3];
    let rows = values.x.as_chunks::<4>().0.iter().zip(values.w.as_chunks::<4>().0);
    for ((x, w), wx) in rows.zip(values.wx.as_chunks::<4>().0) {
        for lane in 0..4 {
            let q = line.code(x[lane]).1 as f32;
            let wq = w[lane] * q;
            lanes[0][lane] += wq;
            lanes[1][lane] += wq * q;
            lanes[2][lane] += wx[lane] * q;
        }
    }
    let [q, qq, qx] = lanes.map(|lane| (lane[0] + lane[1]) + (lane[2] + lane[3]));
    Sums { q, qq, qx }
}

/// Scale and minimum, made ready for finding codes.
struct Line {
    inverse: f32,
    shift: f32,
}

impl Line {
    /// Numbers of this size have no places behind the point: adding it rounds, and puts the integer into
    /// the lowest bits.
    const ROUND: f32 = 12_582_912.0;

    fn new(scale: f32, min: f32) -> Self {
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        Self { inverse, shift: min * inverse }
    }

    /// A value in units of the scale, and the nearest code. The code is bounded as an integer: hosts of
    /// plugins make NaN the same everywhere, which costs something for each sum and product, and
    /// nothing for integers.
    #[inline(always)]
    fn code(&self, x: f32) -> (f32, i32) {
        let exact = x * self.inverse + self.shift;
        let code = (exact + Self::ROUND).to_bits() as i32 - Self::ROUND.to_bits() as i32;
        (exact, code.clamp(0, TOP))
    }
}

/// The weighted squared error of a group.
fn error(values: &Values, scale: f32, min: f32) -> f32 {
    let line = Line::new(scale, min);
    let mut lanes = [0.0f32; 4];
    let rows = values.x.as_chunks::<4>().0.iter().zip(values.w.as_chunks::<4>().0);
    if line.inverse == 0.0 {
        let square = |(x, w): (&f32, &f32)| w * ((x + min) * (x + min));
        return rows.flat_map(|(x, w)| x.iter().zip(w)).map(square).sum();
    }
    for (x, w) in rows {
        for lane in 0..4 {
            let (exact, code) = line.code(x[lane]);
            let off = code as f32 - exact;
            lanes[lane] += w[lane] * (off * off);
        }
    }
    ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) * (scale * scale)
}

/// The larger and the smaller of two numbers. What the standard library has asks for NaN besides, which
/// is a call for each number in wasm.
fn most(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

fn least(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// A number in levels of a factor.
fn level(value: f32, factor: f32) -> f32 {
    if factor > 0.0 { (value / factor + 0.5).floor().clamp(0.0, LEVELS) } else { 0.0 }
}

/// The nearest half-precision number that is not negative.
fn half(x: f32) -> f32 {
    from_half(half_bits(x))
}

/// Its bits. Ties go up; what is too large becomes the largest one.
fn half_bits(x: f32) -> u16 {
    if x >= 65504.0 {
        return 0x7bff;
    }
    if x < f32::from_bits((127 - 14) << 23) {
        // Below the normal ones, in steps of 2^-24.
        return (x * 16_777_216.0 + 0.5) as u16;
    }
    let bits = x.to_bits() + (1 << 12) - ((127 - 15) << 23);
    (bits >> 13) as u16
}

fn from_half(bits: u16) -> f32 {
    if bits < 1 << 10 {
        return f32::from(bits) / 16_777_216.0;
    }
    f32::from_bits((u32::from(bits) << 13) + ((127 - 15) << 23))
}
