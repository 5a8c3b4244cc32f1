//! Pages of made-up reports: many tensors, none, and names that want to be markup.

use crate::export::report::{Figures, File, Report, Tensor};

fn figures(relative_rmse: f64) -> Figures {
    let cosine = 1.0 - relative_rmse * relative_rmse / 2.0;
    Figures { relative_rmse, weighted_rmse: 0.9 * relative_rmse, cosine, max_error: 0.25 }
}

fn tensor(name: &str, layer: Option<u32>, ty: &str, bits: f64, error: f64) -> Tensor {
    Tensor {
        name: name.to_owned(),
        source: Some(format!("model.{name}")),
        shape: vec![8192, 4096],
        layer,
        ty: ty.to_owned(),
        bits_per_weight: bits,
        bytes: 18_874_368,
        importance: layer.is_some(),
        by: "recipe".to_owned(),
        why: "`q4_k_m`".to_owned(),
        rms: 0.02,
        error: figures(error),
    }
}

fn report(tensors: Vec<Tensor>) -> Report {
    Report {
        report_version: 1,
        generator: "gmat".to_owned(),
        files: vec![File { name: "big.gguf".to_owned(), bytes: 1 << 40 }],
        bytes: 1 << 40,
        weights: 1 << 41,
        bits_per_weight: 4.0,
        total: figures(0.08),
        tensors,
    }
}

/// Layers with the usual tensors, in types and with errors that vary.
fn layers(count: u32) -> Vec<Tensor> {
    let roles = [
        "attn_norm",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let types = [
        ("q3_k", 3.4375, 0.16),
        ("q4_k", 4.5, 0.075),
        ("q5_k", 5.5, 0.038),
        ("q6_k", 6.5625, 0.019),
    ];
    let mut all = vec![tensor("token_embd.weight", None, "q8_0", 8.5, 0.005)];
    for layer in 0..count {
        for (at, role) in (0u32..).zip(roles) {
            let name = format!("blk.{layer}.{role}.weight");
            let (ty, bits, error) = match role.ends_with("norm") {
                true => ("f32", 32.0, 0.0),
                false => types[((layer * 7 + at * 3) / 5 % 4) as usize],
            };
            let wave = f64::from((layer * 37 + at * 11) % 29) / 100.0;
            all.push(tensor(&name, Some(layer), ty, bits, error * (0.85 + wave)));
        }
    }
    all
}

#[test]
fn many_tensors_are_all_in_the_table() {
    let report = report(layers(1111));
    let page = report.to_html().unwrap();
    assert_eq!(page, report.to_html().unwrap());
    assert_eq!(report.tensors.len(), 10_000);
    for tensor in &report.tensors {
        assert!(page.contains(&format!("<th scope=\"row\">{}</th>", tensor.name)));
    }
    // What is drawn once per tensor stays small: a dot of a plot and a cell of the heat map.
    assert!(page.len() < 4_000_000, "{}", page.len());
    assert!(page.contains("The first 512 of 1111 layers"));
}

#[test]
fn names_stay_text_wherever_they_are_shown() {
    let name = "blk.0.<script>\"'&\u{1b}]0;\u{202e}.weight";
    let mut evil = tensor(name, Some(0), "<b>", 4.0, 0.5);
    evil.source = Some("</td><img src=x>".to_owned());
    evil.why = "</table>".to_owned();
    evil.by = "&amp;".to_owned();
    let long = tensor(&format!("<i>{}", "x".repeat(5000)), None, "q4_k", 4.5, 0.1);
    let page = report(vec![evil, long]).to_html().unwrap();
    let (before, after) = page.split_once("<script>\n\"use strict\"").unwrap();
    let after = after.split_once("</script>").unwrap().1;
    for part in [before, after] {
        for tag in ["<script", "<b>", "<i>", "<img", "\u{1b}", "\u{202e}"] {
            assert!(!part.contains(tag), "{tag:?}");
        }
    }
    assert_eq!(page.matches("</table>").count(), 3);
    assert!(page.contains("blk.0.&lt;script&gt;&quot;&#39;&amp;\\u{1b}]0;\\u{202e}.weight"));
    assert!(page.contains("&amp;amp;: &lt;/table&gt;"));
}

#[test]
fn nothing_one_thing_and_nonsense_are_drawn() {
    assert!(report(Vec::new()).to_html().unwrap().contains("All tensors"));
    for layer in [None, Some(0), Some(u32::MAX)] {
        for error in [0.0, 1e-300, 0.07, 1e300, f64::INFINITY, f64::NAN] {
            for bits in [0.0, 4.5, f64::NAN] {
                let mut one = tensor("blk.0.attn_q.weight", layer, "q4_k", bits, error);
                one.shape = vec![u64::MAX, u64::MAX];
                one.bytes = u64::MAX;
                let page = report(vec![one.clone(), one]).to_html().unwrap();
                assert!(page.ends_with("</html>\n"));
            }
        }
    }
    let few = report(layers(2)).to_html().unwrap();
    assert!(few.contains("<p>Without any error: attn_norm, ffn_norm.</p>"));
}
