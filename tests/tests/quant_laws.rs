//! What holds for every registered quantization type, whatever the rows.

use gmat_core::quant::{Need, QuantCx, QuantType};
use gmat_core::{Error, ErrorKind, Registry};
use gmat_tests::golden_input::{Big, big_importance};

/// A row of this length has whole blocks of every type, and is no round number of them.
const COLS: usize = 256 * 37;

fn types() -> Vec<&'static dyn QuantType> {
    let registry = Registry::builtin(gmat_codecs::link()).expect("all codecs are linked");
    assert!(registry.quants().len() >= 22, "{} types", registry.quants().len());
    registry.quants().to_vec()
}

/// Types whose scales end early, and the largest magnitude they reach: ggml clips larger values, which
/// is also what `standard` promises for what fits half precision.
const CLIPPING: [(&str, f32); 1] = [("nvfp4", 2688.0)];

/// Values as a type can hold them at best.
fn clipped(q: &dyn QuantType, x: &[f32]) -> Vec<f32> {
    let limit = CLIPPING.iter().find(|(name, _)| *name == q.name()).map(|(_, limit)| *limit);
    x.iter().map(|v| limit.map_or(*v, |limit| v.clamp(-limit, limit))).collect()
}

/// Columns of a row, if a type has no use for any.
fn flat(cols: usize) -> Vec<f32> {
    vec![1.0; cols]
}

/// Quantizes with importance where the type needs it, and otherwise without.
fn quantize(q: &dyn QuantType, x: &[f32], cols: usize) -> Result<Vec<u8>, Error> {
    let weights = flat(cols);
    let importance = (q.importance() == Need::Required).then_some(&weights[..]);
    quantize_with(q, x, cols, importance)
}

fn quantize_with(
    q: &dyn QuantType,
    x: &[f32],
    cols: usize,
    importance: Option<&[f32]>,
) -> Result<Vec<u8>, Error> {
    let len = q.block().len_of(x.len() as u64).expect("whole blocks");
    let mut out = vec![0x55; usize::try_from(len).expect("fits in memory")];
    q.quantize(x, &QuantCx::standard(cols, importance), &mut out).map(|()| out)
}

fn dequantize(q: &dyn QuantType, bytes: &[u8], elems: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; elems];
    q.dequantize(bytes, &mut out).expect("sizes fit");
    out
}

/// Root of the mean square error over that of the values.
fn relative_error(x: &[f32], y: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = x.iter().zip(y).map(|(x, y)| square(f64::from(*x) - f64::from(*y))).sum();
    let size: f64 = x.iter().map(|x| square(f64::from(*x))).sum();
    (error / size).sqrt()
}

/// Relative error that a type may have on normally distributed values: each bit halves it, and the
/// factor covers the least efficient type there is (`q2_0`, whose four codes are three values). The
/// other term is for half-precision types, which spend bits on range.
fn ceiling(q: &dyn QuantType) -> f64 {
    (3.5 * 0.5f64.powi(floor(q.block().bits()))).max(0.002)
}

#[expect(clippy::cast_possible_truncation, reason = "bits per weight are few")]
fn floor(x: f64) -> i32 {
    x.floor() as i32
}

/// Integers from a fixed sequence.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> 33
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

#[test]
fn error_is_below_the_ceiling() {
    let x = Big::Gauss.rows(4, 4096);
    let importance = big_importance(4096);
    for q in types() {
        let plain = quantize(q, &x, 4096).expect("normal values are fine");
        let weighted = quantize_with(q, &x, 4096, Some(&importance)).expect("and so is importance");
        for bytes in [plain, weighted] {
            let error = relative_error(&x, &dequantize(q, &bytes, x.len()));
            assert!(error <= ceiling(q), "{}: {error}, ceiling {}", q.name(), ceiling(q));
        }
    }
}

#[test]
fn zeros_stay_zero() {
    for zero in [0.0, -0.0] {
        let x = vec![zero; COLS];
        for q in types() {
            let bytes = quantize(q, &x, COLS).expect("zeros are fine");
            let back = dequantize(q, &bytes, COLS);
            assert!(back.iter().all(|v| *v == 0.0), "{} of {zero}", q.name());
        }
    }
}

/// How far off a value may be, in units of the largest one of the row: not farther than zero, but for
/// rounding and for what the format asks for.
fn farthest(q: &dyn QuantType) -> f32 {
    match q.name() {
        // Stores a scale 11.25 % larger than the best one.
        "iq1_m" => 1.125,
        // Eight weights have an even number of minus signs, so one may come back with the smallest
        // magnitude there is and the wrong sign.
        "iq2_xxs" | "iq2_xs" => 1.3,
        _ => 1.1,
    }
}

#[test]
fn unusual_rows_come_back_finite_and_bounded() {
    let spike = |j: usize, every: usize, to: f32| if j % every == 7 { to } else { 0.01 };
    let rows: [(&str, Vec<f32>); 8] = [
        ("constant", vec![0.37; COLS]),
        ("negative constant", vec![-0.37; COLS]),
        ("largest half", (0..COLS).map(|j| if j % 3 == 0 { 65504.0 } else { -65504.0 }).collect()),
        ("subnormal", (0..COLS).map(|j| f32::from_bits(u32::try_from(j).unwrap())).collect()),
        ("one outlier", (0..COLS).map(|j| spike(j, COLS, 100.0)).collect()),
        ("outliers", (0..COLS).map(|j| spike(j, 64, -3.0)).collect()),
        ("one value per block", (0..COLS).map(|j| if j % 32 == 31 { 1.0 } else { 0.0 }).collect()),
        ("mixed zeros", (0..COLS).map(|j| if j % 2 == 0 { -0.0 } else { 0.0 }).collect()),
    ];
    for q in types() {
        for (name, x) in &rows {
            let bytes = quantize(q, x, COLS).expect("finite half-precision values are fine");
            let back = dequantize(q, &bytes, COLS);
            let most = x.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            for (at, (x, y)) in x.iter().zip(&back).enumerate() {
                assert!(y.is_finite(), "{}, {name}: {x} became {y} at {at}", q.name());
                assert!(
                    (x - y).abs() <= most * farthest(q) + 1e-6,
                    "{}, {name}: {x}, {y}",
                    q.name()
                );
            }
        }
    }
}

#[test]
fn large_values_survive_or_are_refused() {
    let shape = Big::Gauss.rows(1, 4096);
    let mut refused = Vec::new();
    for q in types() {
        for power in 4..39 {
            let size = 10f32.powi(power);
            let large: Vec<f32> =
                shape.iter().map(|v| (v * 10.0 * size).clamp(-f32::MAX, f32::MAX)).collect();
            let mut x = shape.clone();
            x.extend(&large);
            match quantize(q, &x, 4096) {
                Ok(bytes) => {
                    let back = dequantize(q, &bytes, x.len());
                    assert!(back.iter().all(|v| v.is_finite()), "{} at 1e{power}", q.name());
                    let error = relative_error(&clipped(q, &large), &back[4096..]);
                    assert!(error <= ceiling(q), "{} at 1e{power}: {error}", q.name());
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Malformed, "{}", q.name());
                    let message = error.message();
                    let named = format!("too large for `{}`", q.name());
                    assert!(message.contains(&named) && message.contains("row 1"), "{message}");
                    refused.push(q.name());
                }
            }
        }
    }
    // Plain halves end at 65504: the law above has been put to work. What is clipped ends there too.
    for (name, _) in CLIPPING {
        let times = |of: &str| refused.iter().filter(|name| **name == of).count();
        assert_eq!(times(name), times("f16"));
    }
    assert!(refused.contains(&"f16") && !refused.contains(&"f32"), "{refused:?}");
}

#[test]
fn values_that_are_not_finite_are_named() {
    for q in types() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.25; 3 * COLS];
            x[COLS + 5] = bad;
            let error = quantize(q, &x, COLS).expect_err("not a finite number");
            assert_eq!(error.kind(), ErrorKind::Malformed, "{}", q.name());
            let message = error.message();
            assert!(message.contains("row 1, column 5"), "{}: {message}", q.name());
            assert!(message.contains(&format!("`{bad}`")), "{}: {message}", q.name());
        }
    }
}

#[test]
fn any_bytes_can_be_dequantized() {
    let mut numbers = Numbers(1);
    for q in types() {
        for blocks in [0, 1, 2, 7, 64] {
            let bytes = numbers.bytes(blocks * q.block().bytes);
            let mut out = vec![0.0; blocks * q.block().elems];
            q.dequantize(&bytes, &mut out).expect("sizes fit");
        }
        for byte in [0x00, 0x7c, 0x7f, 0x80, 0xff] {
            let mut out = vec![0.0; 5 * q.block().elems];
            q.dequantize(&vec![byte; 5 * q.block().bytes], &mut out).expect("sizes fit");
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_shape_errors() {
    for q in types() {
        let (elems, bytes) = (q.block().elems, q.block().bytes);
        let is_shape = |result: Result<(), Error>| {
            let error = result.expect_err("lengths do not fit");
            assert_eq!(error.kind(), ErrorKind::Shape, "{}: {error}", q.name());
        };
        let weights = flat(4 * elems + 1);
        let try_quantize = |values: usize, cols: usize, out: usize| {
            let importance = weights.get(..cols);
            let mut out = vec![0; out];
            q.quantize(&vec![0.5; values], &QuantCx::standard(cols, importance), &mut out)
        };
        is_shape(try_quantize(2 * elems, 0, 2 * bytes));
        is_shape(try_quantize(2 * elems, 2 * elems, 2 * bytes - 1));
        is_shape(try_quantize(2 * elems, 2 * elems, 3 * bytes));
        is_shape(try_quantize(3 * elems, 2 * elems, 3 * bytes));
        if elems > 1 {
            is_shape(try_quantize(2 * elems + 1, 2 * elems + 1, 2 * bytes));
            is_shape(try_quantize(2 * elems - 1, 2 * elems - 1, 2 * bytes));
        }
        let cx = QuantCx::standard(2 * elems, Some(&weights[..elems]));
        is_shape(q.quantize(&vec![0.5; 2 * elems], &cx, &mut vec![0; 2 * bytes]));
        is_shape(q.dequantize(&vec![0; 2 * bytes], &mut vec![0.0; 3 * elems]));
        is_shape(q.dequantize(&vec![0; 2 * bytes - 1], &mut vec![0.0; 2 * elems]));
    }
}

#[test]
fn importance_must_be_a_number_of_nonnegative_size() {
    for q in types() {
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            let mut weights = flat(COLS);
            weights[3] = bad;
            let error = quantize_with(q, &vec![0.5; COLS], COLS, Some(&weights))
                .expect_err("importance is wrong");
            assert_eq!(error.kind(), ErrorKind::Malformed, "{}: {error}", q.name());
        }
        if q.importance() == Need::Required {
            let error = quantize_with(q, &vec![0.5; COLS], COLS, None).expect_err("none given");
            assert_eq!(error.kind(), ErrorKind::Config, "{}: {error}", q.name());
        }
    }
}

#[test]
fn rows_do_not_know_each_other() {
    let x = Big::Student.rows(5, COLS as u64);
    let importance = big_importance(COLS as u64);
    for q in types() {
        let whole = quantize_with(q, &x, COLS, Some(&importance)).expect("rows are fine");
        let rows: Vec<u8> = x
            .chunks(COLS)
            .flat_map(|row| quantize_with(q, row, COLS, Some(&importance)).expect("so is each"))
            .collect();
        assert_eq!(whole, rows, "{}", q.name());
    }
}

/// Blocks are worked on in groups of many sizes; this is where mistakes at their ends show.
#[test]
fn blocks_do_not_know_each_other_without_importance() {
    let x = Big::Student.rows(1, COLS as u64);
    for q in types().into_iter().filter(|q| q.importance() != Need::Required) {
        let whole = quantize(q, &x, COLS).expect("the row is fine");
        for cols in [256, 256 * 3, 256 * 16, 256 * 17] {
            let cut = &x[..COLS / cols * cols];
            let short = quantize(q, cut, cols).expect("and so are shorter ones");
            assert_eq!(whole[..short.len()], short, "{} in rows of {cols}", q.name());
        }
    }
}
