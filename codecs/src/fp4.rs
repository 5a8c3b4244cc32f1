//! Four-bit floats (E2M1), the codes of `mxfp4` and `nvfp4`.
//!
//! Bit 3 is the sign; bits 0 to 2 choose one of eight magnitudes. As in ggml, the magnitudes here are
//! doubled to integers and scales halved. Definition of E2M1: OCP Microscaling Formats (MX) 1.0,
//! section 5.3.3.

/// What the codes stand for (`kvalues_fp4` in ggml's block layouts).
const VALUES: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// Midpoints between neighbouring magnitudes; a value on one belongs to the lower.
const MIDPOINTS: [f32; 7] = [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0];

/// Codes of the products of `VALUES` and `d` next to the values; of equally near ones, the first.
///
/// For any `d` that is zero or has few significant bits, and values up to 16 times it that do not
/// overflow times 12: then midpoints are exact, and comparing with them decides like comparing the
/// two distances, which are exact as well (neighbours differ by a factor of two at most). A value
/// that rounds to zero gets the code 0, whatever its sign.
#[inline(always)]
pub(crate) fn codes<const K: usize>(x: &[f32; K], d: f32) -> [u8; K] {
    // No value is above zero times zero.
    let unit = if d == 0.0 { f32::INFINITY } else { d };
    let midpoints = MIDPOINTS.map(|midpoint| midpoint * unit);
    let mut codes = [0; K];
    for (code, v) in codes.iter_mut().zip(x) {
        let mut magnitude = 0;
        for midpoint in midpoints {
            magnitude += u32::from(v.abs() > midpoint);
        }
        let sign = v.to_bits() >> 31 & u32::from(v.abs() > midpoints[0]);
        [*code, ..] = (magnitude | sign << 3).to_le_bytes();
    }
    codes
}

/// [`codes`] for all `d` and values: compares distances as rounded, one after the other.
#[cold]
pub(crate) fn codes_by_distance<const K: usize>(x: &[f32; K], d: f32) -> [u8; K] {
    x.map(|v| {
        let mut nearest = (0, v.abs());
        for (code, value) in (0..).zip(VALUES) {
            let distance = (value * d - v).abs();
            if distance < nearest.1 {
                nearest = (code, distance);
            }
        }
        nearest.0
    })
}

/// `d` times what each code stands for. Codes are below 16.
#[inline(always)]
pub(crate) fn values<const K: usize>(codes: &[u8; K], d: f32, out: &mut [f32; K]) {
    for (value, code) in out.iter_mut().zip(codes) {
        // Arithmetic on bytes instead of a table, so that it is vector code: from 4 on, each of
        // the codes 4, 5, 6, 7 stands for its lower two bits, and their product doubled, more.
        let magnitude = code & 7;
        let more = (magnitude & 3) + ((magnitude & (magnitude >> 1) & 1) << 1);
        let integer = magnitude + (more & (magnitude >> 2).wrapping_neg());
        let minus = (code >> 3).wrapping_neg();
        let integer = (integer ^ minus).wrapping_sub(minus).cast_signed();
        *value = f32::from(integer) * d;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_table() {
        let codes: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let mut out = [0.0; 16];
        values(&codes, 0.25, &mut out);
        assert_eq!(out, VALUES.map(|v| v * 0.25));
        // ggml multiplies integers, of which zero has no sign.
        assert_eq!(out[8].to_bits(), 0);
    }

    #[test]
    fn midpoints_decide_like_distances() {
        for d in [1.0, 0.0, 0.875 * 2f32.powi(-9), 2f32.powi(-128), 2f32.powi(124), 240.0] {
            for step in (0..640u16).step_by(if cfg!(miri) { 39 } else { 1 }) {
                let v = f32::from(step) / 40.0 * d;
                let x =
                    [v, v.next_up(), v.next_down(), -v, -v.next_up(), -v.next_down(), 0.5, -2e9];
                let near =
                    if d < 1.0 { [v, v.next_up(), v.next_down(), -v, 0.0, -0.0, v, v] } else { x };
                let near = near.map(|v| v.clamp(-16.0 * d, 16.0 * d));
                assert_eq!(codes(&near, d), codes_by_distance(&near, d), "{near:?} {d:e}");
            }
        }
    }
}
