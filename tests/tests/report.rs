//! Reports: figures against an independent recomputation, the page, and where it may be written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use gmat_core::Registry;
use gmat_core::format::gguf::Gguf;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{example_model, gmat};

/// A store that holds the weights of the example exactly.
fn exact_store(at: &Path) {
    let model = example_model();
    let model = model.to_str().unwrap();
    gmat(at, &["import", "-q", "-m", model, "--block-format", "raw", "-o", "."]).ok();
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every tensor of a GGUF file as numbers.
fn dequantized(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let bytes = fs::read(path).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let read = |tensor: &gmat_core::format::gguf::GgufTensor| {
        let quant = registry.quant_by_id(tensor.ggml_type).unwrap();
        let elems = tensor.elems().unwrap();
        let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
        let len = usize::try_from(quant.block().len_of(elems).unwrap()).unwrap();
        let mut out = vec![0.0; usize::try_from(elems).unwrap()];
        quant.dequantize(&bytes[start..start + len], &mut out).unwrap();
        (tensor.name.clone(), out)
    };
    gguf.tensors.iter().map(read).collect()
}

#[track_caller]
fn near(found: &Value, expected: f64, what: &str) {
    let found = found.as_f64().unwrap();
    let tolerance = 1e-9 * expected.abs().max(1e-6);
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn figures_equal_those_of_the_files() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    exact_store(at);
    let export = |ty: &str, out: &str, report: &[&str]| {
        let args = ["export", "-q", "-m", ".", "--type", ty, "-o", out, "--no-tokenizer"];
        gmat(at, &[&args[..], report].concat()).ok();
    };
    export("f32", "exact.gguf", &["--report", "exact.json"]);
    export("q3_k_m", "small.gguf", &["--report", "small.json", "--report", "small.html"]);
    export("q3_k_m", "plain.gguf", &[]);
    let bytes = fs::read(at.join("small.gguf")).unwrap();
    assert!(bytes == fs::read(at.join("plain.gguf")).unwrap(), "a report changes nothing");

    // F32 of a store that holds every bit is the model itself.
    let exact = json(&at.join("exact.json"));
    assert_eq!(exact["total"]["relative_rmse"], 0.0);
    assert_eq!(exact["total"]["max_error"], 0.0);
    near(&exact["bits_per_weight"], 32.0, "bits");

    let report = json(&at.join("small.json"));
    let (model, found) = (dequantized(&at.join("exact.gguf")), dequantized(&at.join("small.gguf")));
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), found.len());
    let (mut all_square, mut all_error, mut data, mut weights) = (0.0, 0.0, 0, 0);
    for tensor in tensors {
        let name = tensor["name"].as_str().unwrap();
        let (mut square, mut error, mut product, mut other, mut most) = (0.0, 0.0, 0.0, 0.0, 0f32);
        for (x, y) in model[name].iter().zip(&found[name]) {
            most = most.max((x - y).abs());
            let (x, y) = (f64::from(*x), f64::from(*y));
            square += x * x;
            other += y * y;
            product += x * y;
            error += (x - y) * (x - y);
        }
        let count = model[name].len() as f64;
        near(&tensor["relative_rmse"], (error / square).sqrt(), name);
        near(&tensor["cosine"], product / (square * other).sqrt(), name);
        // As short as an f32 can be told.
        let largest = tensor["max_error"].to_string();
        assert_eq!(largest.parse(), Ok(most), "{name}");
        near(&tensor["rms"], (square / count).sqrt(), name);
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
        assert_eq!(tensor["layer"].as_u64(), layer.map(|layer| layer.parse().unwrap()), "{name}");
        all_square += square;
        all_error += error;
        data += tensor["bytes"].as_u64().unwrap();
        weights += model[name].len() as u64;
    }
    near(&report["total"]["relative_rmse"], (all_error / all_square).sqrt(), "all");
    near(&report["bits_per_weight"], 8.0 * data as f64 / weights as f64, "bits");
    assert_eq!(
        (report["weights"].as_u64(), report["bytes"].as_u64()),
        (Some(weights), Some(bytes.len() as u64))
    );
    assert_eq!(report["files"][0]["name"], "small.gguf");

    let page = fs::read_to_string(at.join("small.html")).unwrap();
    check_page(&page);
    for tensor in tensors {
        let cell = |key: &str| format!(">{}</", tensor[key].as_str().unwrap());
        assert!(page.contains(&cell("name")) && page.contains(&cell("source")), "{tensor}");
    }
    for heading in ["Size by type", "Error by layer", "Error by role", "Error against bits"] {
        assert!(page.contains(&format!("<h2>{heading}")), "{heading}");
    }
}

#[test]
fn reports_do_not_depend_on_threads() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    exact_store(at);
    let run = |jobs: &str| {
        let (html, json) = (format!("{jobs}.html"), format!("{jobs}.json"));
        let common =
            ["export", "-q", "-m", ".", "--type", "q4_k", "--no-tokenizer", "-o", "m.gguf"];
        let rest = ["--memory", "64MiB", "--jobs", jobs, "--report", &html, "--report", &json];
        gmat(at, &[&common[..], &rest].concat()).ok();
        (fs::read(at.join(html)).unwrap(), fs::read(at.join(json)).unwrap())
    };
    assert!(run("1") == run("3"));
}

/// Elements that have no end tag in HTML.
const VOID: [&str; 2] = ["meta", "input"];

/// What must hold for every page: it is well-formed, has each id once, and refers to nothing.
#[track_caller]
fn check_page(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
    let outside = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for link in ["http:", "https:", "src=", "href", "url(", "@import", "<link", "<img", "<iframe"] {
        assert!(!outside.contains(link), "the page has `{link}`");
    }
    assert!(page.contains("content=\"default-src 'none'; "));
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.chars().any(|c| c.is_control() && c != '\n'));
    let (before, script) = page.split_once("<script>").unwrap();
    let (_, after) = script.split_once("</script>").unwrap();
    let (before, style) = before.split_once("<style>").unwrap();
    let (_, between) = style.split_once("</style>").unwrap();
    let mut open: Vec<String> = Vec::new();
    let mut ids = BTreeSet::new();
    let markup = [before, between, after].concat();
    let mut rest = markup.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some((text, from)) = rest.split_once('<') {
        assert!(!text.contains('>'), "a stray `>` in {text}");
        let (tag, next) = from.split_once('>').unwrap();
        rest = next;
        assert!(!tag.contains('<') && tag.matches('"').count() % 2 == 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        for id in tag.split(" id=\"").skip(1) {
            assert!(ids.insert(id.split('"').next().unwrap()), "an id twice: {tag}");
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn slips_are_told_before_any_work() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    exact_store(at);
    let before = fs::read_dir(at).unwrap().count();
    let export = |out: &str, report: &[&str]| {
        let args = ["export", "-m", ".", "--type", "q4_0", "--no-tokenizer", "-o", out];
        gmat(at, &[&args[..], report].concat())
    };
    for name in ["r.txt", "r", ".html", "r.html.gz"] {
        export("m.gguf", &["--report", name]).fails(2, &[name, "`.html`", "`.json`"]);
    }
    export("m.gguf", &["--report", "none/r.html"]).fails(2, &["`none/r.html`", "does not exist"]);
    export("m.json", &["--report", "./m.json"]).fails(2, &["is the output"]);
    export("m.gguf", &["--report", "r.json", "--report", "./r.json"]).fails(2, &["given twice"]);
    export("m.gguf", &["--report", "model.gmat/metadata.json"]).fails(2, &["inside the store"]);
    fs::write(at.join("c.json"), "{}").unwrap();
    let config = ["--config", "c.json", "--report", "c.json"];
    export("m.gguf", &config).fails(2, &["is the config"]);
    fs::create_dir(at.join("d.html")).unwrap();
    export("m.gguf", &["--report", "d.html"]).fails(2, &["is a folder"]);
    assert_eq!(fs::read_dir(at).unwrap().count(), before + 2, "nothing was written");
    // The folder of the output is made, and the report may go there.
    export("new/m.gguf", &["--report", "new/R.HTML"]).ok();
    check_page(&fs::read_to_string(at.join("new/R.HTML")).unwrap());
}

/// Names in a page come from files of strangers.
#[test]
fn a_hostile_file_name_stays_text() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    exact_store(at);
    let name = "a<script>alert('1')&\"\u{202e}.gguf";
    let args = ["export", "-q", "-m", ".", "--type", "q8_0", "--no-tokenizer", "-o", name];
    gmat(at, &[&args[..], &["--report", "r.html"]].concat()).ok();
    let page = fs::read_to_string(at.join("r.html")).unwrap();
    check_page(&page);
    let shown = "<h1>a&lt;script&gt;alert(&#39;1&#39;)&amp;&quot;\\u{202e}.gguf</h1>";
    assert!(page.contains(shown));
}
