//! Runs that are stopped go on where they were, and end with the bytes of one that was not.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{self, f32s, finished, gmat, gmat_command, hinted, safetensors, says, tree};

const USAGE: i32 = 2;
const IO: i32 = 4;
const AGAIN: &str = "there already";

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder with a model of two hundred tensors in 70 MB, which takes a moment.
fn model() -> TempDir {
    const LAYERS: u64 = 24;
    const WIDE: u64 = 512;
    const HIDDEN: u64 = 256;
    const VOCAB: u64 = 4096;
    let dir = TempDir::new().unwrap();
    let hf = dir.path().join("hf");
    fs::create_dir(&hf).unwrap();
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN])];
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[u64]| {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{name}"), &[HIDDEN, HIDDEN]);
        }
        add("mlp.gate_proj", &[WIDE, HIDDEN]);
        add("mlp.up_proj", &[WIDE, HIDDEN]);
        add("mlp.down_proj", &[HIDDEN, WIDE]);
        add("input_layernorm", &[HIDDEN]);
        add("post_attention_layernorm", &[HIDDEN]);
    }
    shapes.push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    let tensors: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| {
            let elems = shape.iter().product::<u64>();
            (name.as_str(), "F32", shape.clone(), f32s(elems))
        })
        .collect();
    fs::write(hf.join("model.safetensors"), safetensors(&tensors)).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 4,
        "vocab_size": VOCAB, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
    });
    fs::write(hf.join("config.json"), config.to_string()).unwrap();
    dir
}

fn stopped(at: &Path, args: &[&str], signal: &str, begun: impl Fn() -> bool) -> Option<i32> {
    support::stopped(gmat_command(at, args), signal, begun)
}

const IMPORT: [&str; 5] = ["import", "-m", "hf", "-o", "out"];

/// Tensor files that an interrupted import has begun.
fn begun(at: &Path) -> usize {
    names(&at.join("out/model.gmat.partial/tensors")).len()
}

#[test]
fn an_import_that_is_stopped_goes_on() {
    let dir = model();
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "whole"]).ok();
    let whole = tree(&at.join("whole/model.gmat"));
    let compare = || {
        assert_eq!(names(&at.join("out")), ["model.gmat"]);
        assert!(tree(&at.join("out/model.gmat")) == whole, "another store");
        fs::remove_dir_all(at.join("out")).unwrap();
    };
    for signal in ["-KILL", "-INT", "-TERM"] {
        let code = stopped(at, &IMPORT, signal, || begun(at) > 3);
        assert_eq!(code, if signal == "-KILL" { None } else { Some(130) });
        assert!(!at.join("out/model.gmat").exists());
        says(&gmat(at, &IMPORT).ok(), AGAIN);
        compare();
    }

    // What a finished file holds is read again, not believed; one that breaks off is none.
    stopped(at, &IMPORT, "-KILL", || begun(at) > 5);
    let tensors = at.join("out/model.gmat.partial/tensors");
    let mut damaged = 0;
    for name in names(&tensors) {
        let mut bytes = fs::read(tensors.join(&name)).unwrap();
        if bytes.ends_with(b"TAMG") {
            damaged += 1;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let kept = if damaged == 1 { bytes.len() } else { middle };
            fs::write(tensors.join(&name), &bytes[..kept]).unwrap();
        }
        if damaged == 2 {
            break;
        }
    }
    assert_eq!(damaged, 2);
    gmat(at, &IMPORT).ok();
    compare();
}

#[test]
fn an_import_does_not_go_on_with_something_else() {
    let dir = model();
    let at = dir.path();
    stopped(at, &IMPORT, "-KILL", || begun(at) > 3);
    let raw = [&IMPORT[..], &["--block-format", "raw"]].concat();
    hinted(gmat(at, &raw), USAGE, &["the config has changed", "--restart"]);
    // Nothing is lost by having been refused.
    says(&gmat(at, &IMPORT).ok(), AGAIN);
    fs::remove_dir_all(at.join("out")).unwrap();

    stopped(at, &IMPORT, "-KILL", || begun(at) > 3);
    let weights = at.join("hf/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    // All tensors, so that a finished one is among them; the last bit of the last byte of a number,
    // the exponent's second, makes none of these infinite.
    for at in (usize::try_from(header).unwrap() + 8..bytes.len()).step_by(1000) {
        bytes[at] ^= 1;
    }
    fs::write(&weights, &bytes).unwrap();
    hinted(gmat(at, &IMPORT), USAGE, &["not what it was", "--restart"]);
    fs::write(at.join("hf/generation_config.json"), "{\"temperature\": 0.5}").unwrap();
    hinted(gmat(at, &IMPORT), USAGE, &["files beside the weights", "--restart"]);
    gmat(at, &[&raw[..], &["--restart"]].concat()).ok();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "whole", "--block-format", "raw"]).ok();
    assert!(tree(&at.join("whole/model.gmat")) == tree(&at.join("out/model.gmat")));
}

/// Finished tensors that the journal of an interrupted export lists.
fn listed(journal: &Path) -> usize {
    fs::read_to_string(journal).unwrap_or_default().lines().count().saturating_sub(1)
}

#[test]
fn an_export_that_is_stopped_goes_on() {
    let dir = model();
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "."]).ok();
    let args = |out: &'static str, cap: &'static str| {
        vec!["export", "-m", "model.gmat", "--no-tokenizer", "--type", "q4_k", "-o", out]
            .into_iter()
            .chain(["--shard-size", cap])
            .collect::<Vec<_>>()
    };
    for cap in ["3MB", "5GB"] {
        fs::create_dir_all(at.join("whole")).unwrap();
        gmat(at, &[&["-q"], &*args("whole/m.gguf", cap)].concat()).ok();
        let (run, journal) = (args("new/m.gguf", cap), at.join("new/m.gguf.journal.partial"));
        let compare = || {
            assert!(tree(&at.join("new")) == tree(&at.join("whole")), "other files");
            fs::remove_dir_all(at.join("new")).unwrap();
        };
        for signal in ["-KILL", "-INT"] {
            stopped(at, &run, signal, || listed(&journal) > 20);
            assert!(names(&at.join("new")).iter().all(|name| name.ends_with(".partial")));
            says(&gmat(at, &run).ok(), AGAIN);
            compare();
        }

        // Neither a journal that breaks off nor a damaged file is believed.
        stopped(at, &run, "-KILL", || listed(&journal) > 20);
        let text = fs::read(&journal).unwrap();
        fs::write(&journal, &text[..text.len() - 30]).unwrap();
        let first = names(&at.join("new")).into_iter().find(|name| !name.contains("journal"));
        let first = at.join("new").join(first.unwrap());
        let mut bytes = fs::read(&first).unwrap();
        let late = bytes.len() * 3 / 4;
        bytes[late] ^= 0x10;
        fs::write(&first, bytes).unwrap();
        gmat(at, &run).ok();
        compare();
        fs::remove_dir_all(at.join("whole")).unwrap();
    }
}

#[test]
fn an_export_does_not_go_on_with_something_else() {
    let dir = model();
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "."]).ok();
    let run = ["export", "-m", "model.gmat", "--no-tokenizer", "-o", "new/m.gguf", "--type"];
    let with = |more: &[&str]| gmat(at, &[&run[..], more].concat());
    let journal = at.join("new/m.gguf.journal.partial");
    stopped(at, &[&run[..], &["q4_k"]].concat(), "-KILL", || listed(&journal) > 20);
    hinted(with(&["q5_k"]), USAGE, &["config", "types", "--restart"]);
    let standard = ["q4_k", "--scale-optimization", "standard"];
    hinted(with(&standard), USAGE, &["config", "--restart"]);
    gmat(at, &["import", "-q", "-m", "hf", "-o", ".", "--block-format", "raw"]).ok();
    hinted(with(&["q4_k"]), USAGE, &["the store has changed", "--restart"]);
    with(&["q5_k", "--restart"]).ok();
    assert_eq!(names(&at.join("new")), ["m.gguf", "m.manifest.json"]);
    gmat(at, &["export", "-q", "-m", "model.gmat", "--no-tokenizer", "--type", "q5_k"]).ok();
    assert!(fs::read(at.join("new/m.gguf")).unwrap() == fs::read(at.join("model.gguf")).unwrap());
}

/// A limit on file size is what a full disk is to a program: a write that fails in the middle.
#[test]
fn a_write_that_fails_loses_nothing() {
    let dir = model();
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "whole"]).ok();
    let limited = |kib: u32, args: &[&str]| {
        let gmat = env!("CARGO_BIN_EXE_gmat-under-test");
        let args = args.join(" ");
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec {gmat} {args}");
        finished(Command::new("bash").args(["-c", &script]).current_dir(at).output().unwrap())
    };
    let small = ["a", "b", "c"].map(|name| (name, "F32", vec![64, 64], f32s(4096)));
    let large = [("large", "F32", vec![1024, 1024], f32s(1 << 20))];
    fs::write(at.join("m.safetensors"), safetensors(&[&small[..], &large[..]].concat())).unwrap();
    let import = ["import", "-m", "m.safetensors", "-o", "out"];
    hinted(limited(600, &import), IO, &["cannot write", "go on"]);
    assert!(!at.join("out/model.gmat").exists());
    says(&gmat(at, &import).ok(), AGAIN);
    gmat(at, &["import", "-q", "-m", "m.safetensors", "-o", "undisturbed"]).ok();
    assert!(tree(&at.join("undisturbed")) == tree(&at.join("out")));
    let run = ["export", "-m", "whole", "--no-tokenizer", "--type", "q8_0", "-o", "new/m.gguf"];
    hinted(limited(10_000, &run), IO, &["cannot write", "go on"]);
    assert!(!at.join("new/m.gguf").exists());
    says(&gmat(at, &run).ok(), AGAIN);
    gmat(at, &["export", "-q", "-m", "whole", "--no-tokenizer", "--type", "q8_0"]).ok();
    assert!(fs::read(at.join("new/m.gguf")).unwrap() == fs::read(at.join("model.gguf")).unwrap());
}
