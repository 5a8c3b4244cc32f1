//! Laws of trellis mode, for every registered quantization type.

use gmat_core::Registry;
use gmat_core::quant::{Goal, Metric, Need, QuantCx, QuantType, Search};
use gmat_tests::golden_input::{Big, big_importance, wild, wild_importance};

/// Whole blocks of every type, and not as many as are worked on side by side.
const COLS: usize = 256 * 5;

/// Types that have a search; on normal values it must find something.
const SEARCHED: &[&str] = &[
    "iq4_nl", "iq4_xs", "q2_k", "q3_k", "q4_0", "q4_1", "q4_k", "q5_0", "q5_1", "q5_k", "q6_k",
    "q8_0",
];

const DEFAULT: Search = trellis(0.3, Metric::Ggml);
const SQUARES: Search = trellis(0.3, Metric::Squares);

const fn trellis(lambda: f32, metric: Metric) -> Search {
    Search::Trellis(Goal { lambda, metric })
}

fn types() -> Vec<&'static dyn QuantType> {
    let registry = Registry::builtin(gmat_codecs::link()).expect("all codecs are linked");
    assert!(registry.quants().len() >= 28, "{} types", registry.quants().len());
    registry.quants().to_vec()
}

fn scaled(x: &[f32], factor: f32) -> Vec<f32> {
    x.iter().map(|v| v * factor).collect()
}

/// Rows of every kind, some of them too large for some types.
fn rows() -> Vec<(&'static str, Vec<f32>)> {
    let cols = COLS as u64;
    let gauss = Big::Gauss.rows(1, cols);
    let every = |n: usize, other: f32, rest: f32| -> Vec<f32> {
        (0..COLS).map(|j| if j % n == 7 { other } else { rest * gauss[j] }).collect()
    };
    vec![
        ("gaussian", Big::Gauss.rows(2, cols)),
        ("heavy tails", Big::Student.rows(2, cols)),
        ("bfloat16", Big::Bf16.rows(1, cols)),
        ("wild", wild(6, cols)),
        ("sparse", (0..COLS).map(|j| if j % 9 == 0 { gauss[j] } else { 0.0 }).collect()),
        ("zeros", vec![0.0; COLS]),
        ("constant", vec![0.37; COLS]),
        ("negative constant", vec![-0.37; COLS]),
        ("two values", (0..COLS).map(|j| if j % 3 == 0 { 0.25 } else { -0.5 }).collect()),
        ("positive", gauss.iter().map(|v| v.abs() + 0.05).collect()),
        ("outliers", every(64, -3.0, 1.0)),
        ("one outlier", every(COLS, 1e4, 1.0)),
        ("small", scaled(&gauss, 1e-4)),
        ("below half precision", scaled(&gauss, 1e-6)),
        ("tiny", scaled(&gauss, 1e-18)),
        ("subnormal", scaled(&gauss, 1e-38)),
        ("large", scaled(&gauss, 1e5)),
        ("too large for half precision", scaled(&gauss, 1e9)),
        ("huge", scaled(&gauss, 1e38)),
    ]
}

/// Importance of every kind, with none first.
fn importances() -> Vec<Option<Vec<f32>>> {
    let usual = big_importance(COLS as u64);
    let blank = usual.iter().enumerate().map(|(j, v)| if j / 32 % 3 == 1 { 0.0 } else { *v });
    let (small, large) = (scaled(&usual, 1e-30), scaled(&usual, 1e30));
    let all = [blank.collect(), wild_importance(COLS as u64), vec![0.0; COLS], small, large, usual];
    std::iter::once(None).chain(all.map(Some)).collect()
}

/// What goes with a type: importance only where it has use for it, and always where it needs it.
fn fits(q: &dyn QuantType, importance: Option<&[f32]>) -> bool {
    match q.importance() {
        Need::Ignored => importance.is_none(),
        Need::Optional => true,
        Need::Required => importance.is_some(),
    }
}

/// `None` if the values are too large.
fn quantize(
    q: &dyn QuantType,
    x: &[f32],
    importance: Option<&[f32]>,
    search: Search,
) -> Option<Vec<u8>> {
    let cx = QuantCx { search, ..QuantCx::standard(COLS, importance) };
    let len = q.block().len_of(x.len() as u64).expect("whole blocks");
    let mut out = vec![0x55; usize::try_from(len).expect("fits in memory")];
    q.quantize(x, &cx, &mut out).ok().map(|()| out)
}

fn dequantize(q: &dyn QuantType, bytes: &[u8], elems: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; elems];
    q.dequantize(bytes, &mut out).expect("sizes fit");
    out
}

/// The weighted error of each block, by what the search looks at.
fn errors(
    q: &dyn QuantType,
    x: &[f32],
    importance: Option<&[f32]>,
    search: Search,
    bytes: &[u8],
) -> Vec<f64> {
    let mut weights = vec![f32::NAN; x.len()];
    let cx = QuantCx { search, ..QuantCx::standard(COLS, importance) };
    q.weights(x, &cx, &mut weights).expect("lengths fit");
    let back = dequantize(q, bytes, x.len());
    let error = |at: usize| {
        let difference = f64::from(x[at]) - f64::from(back[at]);
        f64::from(weights[at]) * difference * difference
    };
    let elems = q.block().elems;
    (0..x.len() / elems)
        .map(|block| (block * elems..(block + 1) * elems).map(error).sum())
        .collect()
}

#[test]
fn no_block_is_worse_than_in_standard_mode() {
    for q in types() {
        for (name, x) in rows() {
            for importance in importances() {
                let importance = importance.as_deref();
                if !fits(q, importance) {
                    continue;
                }
                let what =
                    format!("{}, {name}, importance {:?}", q.name(), importance.map(|i| i[0]));
                let standard = quantize(q, &x, importance, Search::Standard);
                for search in [DEFAULT, SQUARES] {
                    let what = format!("{what}, {search:?}");
                    let trellis = quantize(q, &x, importance, search);
                    assert_eq!(standard.is_some(), trellis.is_some(), "{what}");
                    let (Some(standard), Some(trellis)) = (&standard, trellis) else {
                        continue;
                    };
                    let back = dequantize(q, &trellis, x.len());
                    assert!(back.iter().all(|v| v.is_finite()), "{what}");
                    let before = errors(q, &x, importance, search, standard);
                    let after = errors(q, &x, importance, search, &trellis);
                    for (block, (before, after)) in before.iter().zip(&after).enumerate() {
                        assert!(after <= before, "{what}, block {block}: {before:e}, {after:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn normal_values_gain() {
    let x = Big::Gauss.rows(3, COLS as u64);
    let usual = big_importance(COLS as u64);
    for q in types().into_iter().filter(|q| SEARCHED.contains(&q.name())) {
        for importance in [None, Some(&usual[..])] {
            for goal in [DEFAULT, SQUARES] {
                let total = |search| {
                    let bytes = quantize(q, &x, importance, search).expect("values are fine");
                    errors(q, &x, importance, goal, &bytes).iter().sum::<f64>()
                };
                let (before, after) = (total(Search::Standard), total(goal));
                assert!(after < 0.995 * before, "{}, {goal:?}: {before:e}, {after:e}", q.name());
            }
        }
    }
}

#[test]
fn no_lambda_makes_it_worse_or_unsound() {
    let x = Big::Student.rows(1, COLS as u64);
    let usual = big_importance(COLS as u64);
    for q in types() {
        let importance = (q.importance() != Need::Ignored).then_some(&usual[..]);
        let standard = quantize(q, &x, importance, Search::Standard).expect("values are fine");
        let before = errors(q, &x, importance, DEFAULT, &standard);
        for lambda in [0.0, -1.0, 1e-3, 1.0, 100.0, 1e30, f32::INFINITY, f32::NAN] {
            let search = trellis(lambda, Metric::Ggml);
            let trellis = quantize(q, &x, importance, search).expect("values are fine");
            let after = errors(q, &x, importance, DEFAULT, &trellis);
            let worse = before.iter().zip(&after).any(|(before, after)| after > before);
            assert!(!worse, "{} with lambda {lambda}", q.name());
        }
    }
}

#[test]
fn rows_and_blocks_do_not_know_each_other() {
    let cols = COLS as u64;
    let x = Big::Student.rows(4, cols);
    let usual = big_importance(cols);
    for q in types() {
        let importance = (q.importance() != Need::Ignored).then_some(&usual[..]);
        let whole = quantize(q, &x, importance, DEFAULT).expect("values are fine");
        let row = |row| quantize(q, row, importance, DEFAULT).expect("values are fine");
        let rows: Vec<u8> = x.chunks(COLS).flat_map(row).collect();
        assert_eq!(whole, rows, "{}", q.name());
        if q.importance() == Need::Required {
            continue;
        }
        let whole = quantize(q, &x, None, DEFAULT).expect("values are fine");
        for blocks in [1, 2, 3] {
            let cols = 256 * blocks;
            let cx = QuantCx { search: DEFAULT, ..QuantCx::standard(cols, None) };
            let len = whole.len() * cols / x.len();
            let mut first = vec![0; len];
            q.quantize(&x[..cols], &cx, &mut first).expect("values are fine");
            assert_eq!(first, whole[..len], "{}, {blocks} times 256", q.name());
        }
    }
}
