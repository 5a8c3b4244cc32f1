//! The log-domain formats against `docs/block-formats.md`, read by a second implementation that
//! follows the text field by field in double precision.

#![cfg(test)]

use gmat_core::block::{BlockFormat, GroupShape};
use gmat_core::{DType, ErrorKind, Registry, convert, fmath};
use gmat_tests::weights::{Rng, Rows, single};

/// Name, columns of a lane, bits of a magnitude, rows of a lane, bytes of a dense lane.
const FORMATS: [(&str, usize, usize, usize, usize); 8] = [
    ("B8x4", 8, 4, 1, 9),
    ("B8x8", 8, 8, 1, 13),
    ("B16x4", 16, 4, 1, 16),
    ("B16x8", 16, 8, 1, 24),
    ("DualRow8x4", 8, 4, 2, 16),
    ("DualRow8x8", 8, 8, 2, 24),
    ("DualRow16x4", 16, 4, 2, 30),
    ("DualRow16x8", 16, 8, 2, 46),
];

fn format(name: &str) -> &'static dyn BlockFormat {
    Registry::builtin(gmat_codecs::link()).unwrap().block(name).unwrap()
}

fn encode(name: &str, rows: &Rows) -> Vec<u8> {
    let mut out = Vec::new();
    format(name).encode(rows.input(), &mut out).unwrap();
    out
}

/// One element as it is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Element {
    zero_map: bool,
    negative: bool,
    shift: bool,
    code: u8,
}

/// A lane as the document describes it: no scale if it is all zero; elements row by row.
struct Lane {
    scale: Option<f64>,
    elements: Vec<Element>,
}

/// IEEE half precision by its definition.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff) / 1024.0);
    assert!(exponent < 31);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// Takes the lanes apart; the number of lanes follows from the bytes.
fn read_lanes(mut bytes: &[u8], n: usize, bits: usize, rows: usize) -> Vec<Lane> {
    let mut take = |len: usize| -> Option<Vec<u8>> {
        let (field, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some(field.to_vec())
    };
    let bit = |map: &[u8], i: usize| map[i / 8] >> (i % 8) & 1 == 1;
    let mut lanes = Vec::new();
    while let Some(zero_maps) = take(rows * n / 8) {
        if zero_maps.is_empty() {
            break;
        }
        let mut lane = Lane { scale: None, elements: Vec::new() };
        if zero_maps.iter().any(|&byte| byte != 0) {
            let scale = take(2).unwrap();
            lane.scale = Some(half(u16::from_le_bytes([scale[0], scale[1]])));
            for zero_map in zero_maps.chunks(n / 8) {
                let (signs, shifts) = (take(n / 8).unwrap(), take(n / 8).unwrap());
                let magnitudes = take(n * bits / 8).unwrap();
                lane.elements.extend((0..n).map(|i| Element {
                    zero_map: bit(zero_map, i),
                    negative: bit(&signs, i),
                    shift: bit(&shifts, i),
                    code: match bits {
                        8 => magnitudes[i],
                        _ => magnitudes[i / 2] >> (i % 2 * 4) & 15,
                    },
                }));
            }
        }
        lanes.push(lane);
    }
    lanes
}

/// 2^x with 24 significant bits.
fn power(x: f64) -> f64 {
    let whole = x.floor();
    f64::from(single(fmath::exp2_f64(x - whole))) * fmath::exp2_f64(whole)
}

/// Step of the logarithmic codes, in octaves.
fn step(bits: usize) -> f64 {
    if bits == 8 { 1.0 / 128.0 } else { 1.0 / 16.0 }
}

/// The value of an element, before the rounding to `f32`.
fn value(element: Element, scale: f64, bits: usize) -> f64 {
    let (code, full) = (f64::from(element.code), if bits == 8 { 256.0 } else { 16.0 });
    let magnitude = match (element.zero_map, element.shift) {
        (true, shift) => power(scale + (code + if shift { full } else { 0.0 }) * step(bits)),
        (false, true) => code * power(scale) / full,
        (false, false) => 0.0,
    };
    if element.negative { -magnitude } else { magnitude }
}

/// Values at every magnitude, in lanes with some spread.
fn wide_range(rng: &mut Rng, rows: usize, cols: usize) -> Rows {
    let mut exponent = 0.0;
    let mut left = 0;
    Rows::generate("wide range", rows, cols, || {
        if left == 0 {
            (left, exponent) = (8, rng.uniform() * 276.0 - 149.0);
        }
        left -= 1;
        let x = rng.normal() * fmath::exp2_f64(exponent + rng.uniform() * 3.0 - 4.0);
        if rng.below(16) == 0 { 0.0 } else { x.clamp(-f64::from(f32::MAX), f64::from(f32::MAX)) }
    })
}

#[test]
fn dense_lanes_have_the_documented_length() {
    let mut rng = Rng::new(1);
    for (name, n, bits, rows, len) in FORMATS {
        assert_eq!(len, 2 + rows * (3 * n / 8 + n * bits / 8));
        let dense = Rows::generate(name, rows, n, || 1.0 + rng.uniform());
        assert_eq!(encode(name, &dense).len(), len, "`{name}`");
        assert_eq!(encode(name, &dense.slice(0, 1)).len(), len, "`{name}`: one row");
        let empty = Rows::f32(name, 3 * n, vec![0.0; rows * 3 * n]);
        assert_eq!(encode(name, &empty), vec![0; 3 * rows * n / 8], "`{name}`: zeros");
        assert_eq!(format(name).granule_rows(), rows);
    }
}

#[test]
fn an_independent_reader_gets_the_same_values() {
    let mut rng = Rng::new(2);
    let all =
        [Rows::generate("Gaussian", 64, 64, || rng.normal() * 0.02), wide_range(&mut rng, 512, 64)];
    for (name, n, bits, rows, _) in FORMATS {
        for group in &all {
            let encoded = encode(name, group);
            let mut decoded = vec![f32::NAN; group.values.len()];
            format(name).decode(&encoded, group.shape, &mut decoded).unwrap();
            let lanes = read_lanes(&encoded, n, bits, rows);
            let per_row = 64 / n;
            assert_eq!(lanes.len(), group.shape.rows / rows * per_row);
            for (index, lane) in lanes.iter().enumerate() {
                let (row, col) = (index / per_row * rows, index % per_row * n);
                for (i, &element) in lane.elements.iter().enumerate() {
                    let exact = value(element, lane.scale.unwrap(), bits);
                    let expected = single(exact).clamp(f32::MIN, f32::MAX);
                    let got = decoded[(row + i / n) * 64 + col + i % n];
                    assert_eq!(got.to_bits(), expected.to_bits(), "`{name}` on {}", group.name);
                }
            }
        }
    }
}

/// Checks every choice of the encoder in one lane against the definition.
fn check_lane(name: &str, bits: usize, given: &[f32], lane: &Lane) {
    let log2 = |x: f32| fmath::log2_f64(f64::from(x.abs()));
    let top = given.iter().copied().fold(0.0, |top: f32, x| top.max(x.abs()));
    let Some(scale) = lane.scale else {
        assert_eq!(top, 0.0, "`{name}`");
        return;
    };
    let (step, full) = (step(bits), if bits == 8 { 256.0 } else { 16.0 });
    // The scale: on its grid, and no other point of the grid is nearer to the ideal one, unless
    // the top would be beyond the highest code there.
    let highest = 2.0 * full - 1.0;
    let ideal = log2(top) - highest * step;
    let binade = fmath::exp2_f64(fmath::log2_f64(scale.abs().max(1.0)).floor());
    let grid = (binade / 1024.0).max(1.0 / 512.0);
    assert_eq!((scale / grid).fract(), 0.0, "`{name}`: {scale}");
    let missed = scale - ideal;
    let code = (log2(top) - scale) / step;
    assert!(code < highest + 0.5 + 1e-9, "`{name}`: the top {top} saturates");
    let overshoots_below = (log2(top) - (scale - grid)) / step > highest + 0.5 - 1e-9;
    assert!(missed.abs() <= grid / 2.0 + 1e-9 || overshoots_below, "`{name}`: {ideal} → {scale}");
    for (&x, element) in given.iter().zip(&lane.elements) {
        let place = format!("`{name}`: {x:e} below {top:e} as {element:?}");
        let (zero_map, shift) = (element.zero_map, element.shift);
        assert_eq!(element.negative, x < 0.0 && (zero_map || shift), "{place}");
        let linear = f64::from(x.abs()) / fmath::exp2_f64(scale) * full;
        let code = f64::from(element.code);
        if zero_map {
            let code = code + if shift { full } else { 0.0 };
            let exact = (log2(x) - scale) / step;
            let nearest = (code - exact).abs() <= 0.5 + 1e-9;
            assert!(nearest && exact >= -1e-9 || code == 0.0 && linear >= full - 0.5, "{place}");
        } else {
            assert!((code - linear).abs() <= 0.5 + 1e-4 && linear < full, "{place}");
            assert_eq!(shift, code != 0.0, "{place}");
        }
    }
}

fn check_group(name: &str, n: usize, bits: usize, rows: usize, group: &Rows) {
    let lanes = read_lanes(&encode(name, group), n, bits, rows);
    let per_row = group.shape.cols / n;
    for (index, lane) in lanes.iter().enumerate() {
        let (row, col) = (index / per_row * rows, index % per_row * n);
        let given: Vec<f32> = (row..row + rows)
            .flat_map(|r| &group.values[r * group.shape.cols + col..][..n])
            .copied()
            .collect();
        check_lane(name, bits, &given, lane);
    }
}

#[test]
fn codes_are_the_nearest_for_every_half_precision_number() {
    for dtype in [DType::Bf16, DType::F16] {
        let limit = if dtype == DType::Bf16 { 0x7f80 } else { 0x7c00 };
        // Every finite number once with neighbours of like size, once below a fixed top.
        let sorted: Vec<u16> = (0..limit).collect();
        let topped = sorted.chunks(15).flat_map(|part| {
            let mut lane = part.to_vec();
            lane.resize(15, 0);
            lane.push(lane[14].saturating_add(limit / 99).min(limit - 1));
            lane
        });
        let topped: Vec<u16> = topped.collect();
        for numbers in [&sorted, &topped] {
            let rows = numbers.len() / 32 * 2;
            let bytes: Vec<u8> =
                numbers[..rows * 16].iter().flat_map(|number| number.to_le_bytes()).collect();
            let mut values = vec![0.0; rows * 16];
            convert::to_f32(dtype, &bytes, &mut values).unwrap();
            let group = Rows::f32(dtype.name(), 16, values);
            for (name, n, bits, rows, _) in FORMATS {
                check_group(name, n, bits, rows, &group);
            }
        }
    }
}

#[test]
fn codes_are_the_nearest_for_random_numbers() {
    let mut rng = Rng::new(3);
    let all = [
        Rows::generate("Gaussian", 1024, 64, || rng.normal() * 0.02),
        wide_range(&mut rng, 2048, 64),
    ];
    for (name, n, bits, rows, _) in FORMATS {
        for group in &all {
            check_group(name, n, bits, rows, group);
        }
    }
}

#[test]
fn a_lane_byte_by_byte() {
    // Top 15.5 in octave 3: the ideal scale is log2(15.5) - 511/128 = -0.0380 and its nearest
    // multiple of 1/512 is -19/512, in f16 -(1 + 3/16)·2^-5.
    let values = vec![15.5, -8.0, 1.0, 0.9, -0.001, 0.0, 0.5, -2.0];
    let encoded = encode("B8x8", &Rows::f32("by hand", 8, values));
    let expected = [
        0b1000_0111, // 15.5, -8, 1 and -2 have logarithmic codes
        0xc0,        // the scale, low byte first
        0xa8,
        0b1000_0010, // -8 and -2; -0.001 has become zero
        0b0100_1011, // the upper two octaves: 15.5 and -8; linear: 0.9 and 0.5
        255,         // (3.9542 + 0.0371)·128 - 256 = 254.9
        133,         // (3 + 0.0371)·128 - 256 = 132.75
        5,           // 0.0371·128 = 4.75
        236,         // 0.9·2^0.0371·256 = 236.4
        0,           // 0.001·2^0.0371·256 = 0.26
        0,
        131, // 0.5·2^0.0371·256 = 131.3
        133, // (1 + 0.0371)·128 = 132.75
    ];
    assert_eq!(encoded, expected);
    // Element 0 of e0m4 is in the low nibble: the top is code 15 of the upper octave.
    let encoded = encode("B8x4", &Rows::f32("by hand", 8, vec![1.0, 0.5, 0.0, 0., 0., 0., 0., 0.]));
    assert_eq!(encoded, [0b11, 0xc0, 0xbf, 0, 1, 0xff, 0, 0, 0]);
}

#[test]
fn non_canonical_lanes_are_refused_with_their_place() {
    let shape = |rows, cols| GroupShape { dtype: DType::F32, rows, cols };
    // A valid lane after an empty one, so that offsets count from the group.
    let good = [0, 0b1, 0x00, 0xc0, 0b10, 0b11, 7, 9, 0, 0, 0, 0, 0, 0];
    let mut out = [0.0; 16];
    format("B8x8").decode(&good, shape(1, 16), &mut out).unwrap();
    assert_eq!(out[9], single(-9.0 / 1024.0));
    let cases: [(usize, u8, usize, usize, &str); 8] = [
        (2, 0x00, 16, 14, ""),
        (3, 0x7c, 16, 2, "scale"),       // infinity
        (3, 0x7e, 16, 2, "scale"),       // NaN
        (3, 0x60, 16, 2, "scale"),       // 512 octaves
        (4, 0b100, 16, 4, "sign"),       // of a zero
        (5, 0b111, 16, 6, "contradict"), // linear, but its code is 0
        (8, 1, 16, 6, "contradict"),     // a zero with a code
        (2, 0x00, 9, 1, "beyond"),       // element 1 of a row that ends at element 0
    ];
    for (at, byte, cols, place, what) in cases {
        let mut bad = good;
        bad[at] = byte;
        let result = format("B8x8").decode(&bad, shape(1, cols), &mut out[..cols]);
        if what.is_empty() {
            result.unwrap();
            continue;
        }
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let text = error.to_string();
        assert!(text.contains(what) && text.contains(&format!("byte {place} ")), "{text}");
    }
    // A second row that does not exist has no values.
    let rows = Rows::f32("two rows", 8, vec![1.0; 16]);
    let pair = encode("DualRow8x8", &rows);
    let error = format("DualRow8x8").decode(&pair, shape(1, 8), &mut out[..8]).unwrap_err();
    assert!(error.to_string().contains("byte 1 "), "{error}");
}

#[test]
fn scales_between_the_usual_ones_are_read_too() {
    // Any f16 from -160 to 128 is a scale; this encoder only writes some of them.
    for bits in (0..0x5801u16).step_by(7).chain((0x8000..0xd901).step_by(7)) {
        let mut lane = [0b0111, 0, 0, 0b0010, 0b1010, 0, 255, 77, 200, 0, 0, 0, 0];
        lane[1..3].copy_from_slice(&bits.to_le_bytes());
        let mut out = [f32::NAN; 8];
        let shape = GroupShape { dtype: DType::F32, rows: 1, cols: 8 };
        format("B8x8").decode(&lane, shape, &mut out).unwrap();
        for (element, got) in read_lanes(&lane, 8, 8, 1)[0].elements.iter().zip(out) {
            let expected = single(value(*element, half(bits), 8)).clamp(f32::MIN, f32::MAX);
            assert_eq!(got.to_bits(), expected.to_bits(), "{bits:#x}: {element:?}");
        }
    }
}
