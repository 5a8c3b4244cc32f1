//! What every registered block format has to obey, whatever it does inside.

#![cfg(test)]

use gmat_core::block::{BlockFormat, GroupShape};
use gmat_core::{DType, ErrorKind, Registry, fmath};
use gmat_tests::weights::{Rng, Rows, single, trained};

fn formats() -> Vec<&'static dyn BlockFormat> {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    assert!(registry.blocks().len() >= 9);
    registry.blocks().to_vec()
}

/// Encodes behind two bytes that must stay, and checks the announced length.
fn encode(format: &dyn BlockFormat, rows: &Rows) -> Vec<u8> {
    let mut out = vec![0xa5, 0x5a];
    format.encode(rows.input(), &mut out).unwrap();
    let encoded = out.split_off(2);
    assert_eq!(out, [0xa5, 0x5a]);
    let max_len = format.max_len(rows.shape).unwrap();
    assert!(
        encoded.len() <= max_len,
        "`{}` took {} bytes for {}, announced {max_len}",
        format.name(),
        encoded.len(),
        rows.name
    );
    encoded
}

/// Decodes into NaNs, so that values left out are noticed.
fn decode(format: &dyn BlockFormat, bytes: &[u8], shape: GroupShape) -> Vec<f32> {
    let mut out = vec![f32::NAN; shape.rows * shape.cols];
    format.decode(bytes, shape, &mut out).unwrap();
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The relative root-mean-square error a format may have on ordinary weights.
fn ceiling(format: &dyn BlockFormat) -> f64 {
    match format.name() {
        _ if format.is_lossless() => 0.0,
        "B8x8" | "B16x8" | "DualRow8x8" | "DualRow16x8" => 0.002,
        "B8x4" | "B16x4" | "DualRow8x4" | "DualRow16x4" => 0.02,
        other => panic!("state the error that `{other}` may have"),
    }
}

/// How far a value may be off when the largest of its rows is `top`: half a step of the logarithmic
/// codes, or half a linear one. The smallest logarithmic code is 511 steps of 1/128 octave or 31 of
/// 1/16 below the top, and up to 1/8 octave higher where the scale is that coarse; below it are 256
/// or 16 linear steps.
fn assert_close(format: &dyn BlockFormat, place: &str, top: f64, x: f32, y: f32) {
    let (half_step, linear) = match format.name() {
        _ if format.is_lossless() => (0.0, 0.0),
        name if name.ends_with("x8") => {
            (1.0 / 256.0, fmath::exp2_f64(0.125 - 511.0 / 128.0) / 512.0)
        }
        _ => (1.0 / 32.0, fmath::exp2_f64(0.125 - 31.0 / 16.0) / 32.0),
    };
    // Decoded values are rounded to `f32` on top of that.
    let (magnitude, epsilon) = (f64::from(x).abs(), f64::from(f32::EPSILON));
    let relative = if half_step > 0.0 { fmath::exp2_f64(half_step) - 1.0 + epsilon } else { 0.0 };
    let limit = (magnitude * relative).max(top * linear * (1.0 + epsilon));
    // Denormal numbers are rounded once more.
    let rounding = if limit > 0.0 { 0.51 * f64::from(f32::from_bits(1)) } else { 0.0 };
    let error = (f64::from(x) - f64::from(y)).abs();
    assert!(error <= limit + rounding, "{place}: {x} became {y}");
}

/// The largest magnitude.
fn top(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |top, &v| top.max(f64::from(v).abs()))
}

/// Patterns with a meaning.
fn special_rows() -> Vec<Rows> {
    let tiny = f32::from_bits(1);
    let mut rng = Rng::new(2);
    let mut rows = vec![
        Rows::f32("all zero", 24, vec![0.0; 72]),
        Rows::f32("plus and minus zero", 16, [0.0, -0.0].repeat(16)),
        Rows::f32("constant", 40, vec![-0.03; 120]),
        Rows::f32("powers of two", 32, (-30..34).map(|e| single(2f64.powi(e))).collect()),
        Rows::f32("half-precision limits", 16, [65504.0, -65504.0].repeat(16)),
        Rows::f32("1e38", 16, [1e38, -1e38, 1.0, 0.0].repeat(8)),
        Rows::f32("largest", 16, [f32::MAX, f32::MIN, -1e38, 3e37].repeat(8)),
        Rows::f32("smallest", 16, [tiny, -tiny, 0.0, tiny * 3.0].repeat(8)),
        Rows::f32("denormal", 64, (0..256).map(|i| f32::from_bits(i * 0x8080)).collect()),
        Rows::f32("around normal", 64, (0..256).map(|i| f32::from_bits(i << 19)).collect()),
        Rows::f32("top bits of all", 64, (0..0x7f80).map(|i| f32::from_bits(i << 16)).collect()),
    ];
    let mut spike = vec![0.0; 96];
    spike[37] = -7.25;
    rows.push(Rows::f32("single spike", 48, spike));
    rows.push(Rows::generate("mixed magnitudes", 33, 40, || {
        let exponent = rng.below(24);
        rng.normal() * 2f64.powi(i32::try_from(exponent).unwrap() - 16)
    }));
    let mut outliers = Rows::generate("an outlier in every row", 16, 64, || rng.normal() * 0.02);
    for row in outliers.values.chunks_mut(64) {
        row[rng.below(64)] *= 1000.0;
    }
    rows.push(Rows::f32("an outlier in every row", 64, outliers.values));
    rows
}

#[test]
fn errors_are_below_the_ceiling() {
    let mut rng = Rng::new(1);
    let mut all = vec![
        Rows::generate("Gaussian", 256, 512, || rng.normal() * 0.02),
        Rows::generate("large Gaussian", 64, 512, || rng.normal() * 300.0),
    ];
    all.push(Rows::generate("Student's t", 256, 512, || rng.student_t() * 0.02));
    all.extend(trained().unwrap());
    assert!(all.len() > 12);
    for format in formats() {
        for rows in &all {
            let decoded = decode(format, &encode(format, rows), rows.shape);
            let (error, ceiling) = (rows.relative_rmse(&decoded), ceiling(format));
            assert!(error <= ceiling, "`{}` on {}: {error}", format.name(), rows.name);
        }
    }
}

#[test]
fn special_rows_keep_their_meaning() {
    for format in formats() {
        for rows in special_rows() {
            let place = format!("`{}` on {}", format.name(), rows.name);
            let decoded = decode(format, &encode(format, &rows), rows.shape);
            if format.is_lossless() {
                assert_eq!(bits(&decoded), bits(&rows.values), "{place}");
                continue;
            }
            let pair = rows.shape.cols * format.granule_rows();
            for (given, decoded) in rows.values.chunks(pair).zip(decoded.chunks(pair)) {
                for (&x, &y) in given.iter().zip(decoded) {
                    assert_close(format, &place, top(given), x, y);
                    assert!(y == 0.0 || x.is_sign_negative() == y.is_sign_negative(), "{place}");
                    assert!(x != 0.0 || y.to_bits() == 0, "{place}: {x} became {y}");
                }
            }
        }
    }
}

#[test]
fn encoding_again_changes_nothing() {
    let mut rng = Rng::new(3);
    let mut all = special_rows();
    all.push(Rows::generate("Gaussian", 255, 333, || rng.normal()));
    all.push(Rows::generate("Student's t", 64, 512, || rng.student_t() * 1e-3));
    let any = std::iter::repeat_with(|| f32::from_bits(rng.bits32())).filter(|v| v.is_finite());
    all.push(Rows::f32("any bits", 64, any.take(1 << 18).collect()));
    // Lanes at both ends of `f32`: their tops are denormal or nearly, or close to the largest.
    for (from, to) in [(1, 0x3000), (1, 0x0a00_0000), (0x7d00_0000, 0x7f80_0000)] {
        let mut top = 0;
        let ends = (0..1 << 16).map(|i| {
            if i % 8 == 0 {
                top = from + rng.below(to - from);
            }
            let below = [1, 1 << 23, 5 << 23][rng.below(3)];
            let bits = u32::try_from(top.saturating_sub(rng.below(below))).unwrap();
            f32::from_bits(bits | (rng.bits32() & 1) << 31)
        });
        all.push(Rows::f32(format!("tops {from:#x} to {to:#x}"), 64, ends.collect()));
    }
    all.extend(trained().unwrap());
    for format in formats() {
        for rows in &all {
            let decoded = decode(format, &encode(format, rows), rows.shape);
            let once = Rows::f32(&rows.name, rows.shape.cols, decoded);
            let again = decode(format, &encode(format, &once), once.shape);
            assert!(bits(&again) == bits(&once.values), "`{}` on {}", format.name(), rows.name);
        }
    }
}

#[test]
fn splitting_into_other_groups_changes_no_value() {
    let mut rng = Rng::new(4);
    let whole = Rows::generate("Gaussian", 37, 53, || rng.normal());
    for format in formats() {
        let encoded = encode(format, &whole);
        let decoded = decode(format, &encoded, whole.shape);
        for granules in [1, 2, 5, 18, 30] {
            let step = granules * format.granule_rows();
            let (mut bytes, mut values) = (Vec::new(), Vec::new());
            for from in (0..whole.shape.rows).step_by(step) {
                let part = whole.slice(from, from + step);
                let encoded = encode(format, &part);
                values.extend(decode(format, &encoded, part.shape));
                bytes.extend(encoded);
            }
            assert_eq!(bits(&values), bits(&decoded), "`{}` by {step}", format.name());
            // Entropy coders adapt to the group; the others have no bytes but those of its rows.
            if !format.is_lossless() || format.name() == "raw" {
                assert!(bytes == encoded, "`{}` by {step}", format.name());
            }
        }
    }
}

#[test]
fn any_number_of_rows_and_columns() {
    let mut rng = Rng::new(5);
    for format in formats() {
        for rows in 0..=5 {
            for cols in 0..=40 {
                let place = format!("`{}` on {rows} rows of {cols}", format.name());
                let mut group = Rows::generate(place.clone(), rows, cols, || rng.normal());
                group.shape.rows = rows;
                let encoded = encode(format, &group);
                let decoded = decode(format, &encoded, group.shape);
                for (&x, &y) in group.values.iter().zip(&decoded) {
                    assert_close(format, &place, top(&group.values), x, y);
                }
                if encoded.is_empty() {
                    assert!(decoded.is_empty());
                }
                assert_eq!(format.max_len(group.shape) == Some(0), group.values.is_empty());
            }
        }
        let endless = GroupShape { dtype: DType::F64, rows: usize::MAX, cols: usize::MAX };
        assert_eq!(format.max_len(endless), None);
    }
}

#[test]
fn contradictory_input_is_refused() {
    let good = Rows::generate("good", 4, 8, || 1.0);
    for format in formats() {
        let encoded = encode(format, &good);
        for (rows, cols) in [(4, 7), (5, 8), (0, 8), (usize::MAX, 2)] {
            let mut input = good.input();
            (input.rows, input.cols) = (rows, cols);
            let mut out = vec![1];
            let error = format.encode(input, &mut out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Shape, "`{}`", format.name());
            assert_eq!(out, [1]);
            let shape = GroupShape { rows, cols, ..good.shape };
            let error = format.decode(&encoded, shape, &mut [0.0; 32]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Shape, "`{}`", format.name());
        }
        let mut input = good.input();
        input.bytes = &input.bytes[1..];
        let error = format.encode(input, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape, "`{}`", format.name());
    }
}

#[test]
fn what_is_not_a_number_is_kept_or_refused() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 37, 79] {
            let mut values = vec![0.5; 80];
            values[at] = bad;
            let rows = Rows::f32("not finite", 20, values);
            for format in formats() {
                if format.is_lossless() {
                    let mut restored = Vec::new();
                    let encoded = encode(format, &rows);
                    format.restore(&encoded, rows.shape, &mut restored).unwrap();
                    assert_eq!(restored, rows.bytes);
                    continue;
                }
                let mut out = vec![9];
                let error = format.encode(rows.input(), &mut out).unwrap_err();
                assert_eq!((error.kind(), out), (ErrorKind::Malformed, vec![9]));
                let place = format!("row {}, column {}", at / 20, at % 20);
                assert!(error.to_string().contains(&place), "{error}");
            }
        }
    }
}

#[test]
fn lossless_formats_restore_every_type_and_others_say_no() {
    let mut rng = Rng::new(6);
    for format in formats() {
        for dtype in DType::PLAIN {
            let shape = GroupShape { dtype, rows: 7, cols: 45 };
            let bytes = rng.bytes(7 * 45 * dtype.block().bytes);
            let rows = Rows::from_bytes(dtype.name(), shape, bytes).unwrap();
            if !format.accepts(dtype) {
                assert!(!dtype.is_float(), "`{}` refuses {dtype}", format.name());
                let error = format.encode(rows.input(), &mut Vec::new()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                continue;
            }
            if !format.is_lossless() {
                assert!(dtype.is_float());
                let error = format.restore(&rows.bytes, shape, &mut Vec::new()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                continue;
            }
            let encoded = encode(format, &rows);
            let mut restored = vec![7];
            format.restore(&encoded, shape, &mut restored).unwrap();
            assert!(restored.split_off(1) == rows.bytes, "`{}` on {dtype}", format.name());
            let mut decoded = vec![0.0; 7 * 45];
            match format.decode(&encoded, shape, &mut decoded) {
                // NaNs differ from themselves; their bits are kept by `restore`.
                Ok(()) => {
                    for (x, y) in rows.values.iter().zip(&decoded) {
                        assert!(x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan());
                    }
                    assert!(dtype.is_float());
                }
                Err(error) => {
                    assert!(!dtype.is_float());
                    assert_eq!(error.kind(), ErrorKind::Unsupported);
                }
            }
        }
    }
}

#[test]
fn the_source_type_does_not_matter() {
    let mut rng = Rng::new(7);
    for dtype in [DType::Bf16, DType::F16, DType::F8E4m3, DType::F8E5m2, DType::F64] {
        let shape = GroupShape { dtype, rows: 16, cols: 64 };
        let bytes = match dtype {
            DType::F64 => (0..1024).flat_map(|_| rng.normal().to_le_bytes()).collect(),
            // Random elements that are not NaN or infinite: the second exponent bit is cleared.
            _ => {
                let mut bytes = rng.bytes(1024 * dtype.block().bytes);
                for element in bytes.chunks_mut(dtype.block().bytes) {
                    *element.last_mut().unwrap() &= 0xbf;
                }
                bytes
            }
        };
        let rows = Rows::from_bytes(dtype.name(), shape, bytes).unwrap();
        let wide = Rows::f32("as F32", 64, rows.values.clone());
        for format in formats().into_iter().filter(|f| !f.is_lossless()) {
            assert!(encode(format, &rows) == encode(format, &wide), "`{}` {dtype}", format.name());
        }
    }
}

#[test]
fn broken_bytes_are_an_error_or_values_but_never_a_panic() {
    let mut rng = Rng::new(8);
    let check = |format: &dyn BlockFormat, bytes: &[u8], shape: GroupShape| {
        let mut out = vec![0.0; shape.rows * shape.cols];
        let result = format.decode(bytes, shape, &mut out);
        if let Err(error) = &result {
            assert_eq!(error.kind(), ErrorKind::Malformed, "`{}`: {error}", format.name());
            assert!(error.to_string().contains("byte "), "no offset in: {error}");
        }
        result.is_ok()
    };
    for format in formats() {
        for (rows, cols) in [(1, 1), (2, 16), (3, 21), (8, 64)] {
            let group = Rows::generate("Gaussian", rows, cols, || rng.normal());
            let (shape, encoded) = (group.shape, encode(format, &group));
            for len in 0..encoded.len() {
                let cut = &encoded[..len];
                assert!(!check(format, cut, shape), "`{}` accepts {len} bytes", format.name());
            }
            for extra in [1, 2, 3, 13, 100] {
                let longer = [&encoded[..], &rng.bytes(extra)].concat();
                assert!(!check(format, &longer, shape), "`{}` ignores bytes", format.name());
            }
            for _ in 0..2000 {
                let mut broken = encoded.clone();
                for _ in 0..=rng.below(3) {
                    let at = rng.below(broken.len());
                    broken[at] ^= 1 << rng.below(8);
                }
                check(format, &broken, shape);
                let len = rng.below(2 * encoded.len() + 8);
                check(format, &rng.bytes(len), shape);
            }
            check(format, &vec![0xff; encoded.len()], shape);
        }
    }
}
