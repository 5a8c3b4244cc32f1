//! `gmat verify`: what is whole passes, what is not is found, wherever it is.

use std::fs;
use std::path::Path;

use gmat_core::export::{ExportOptions, ExportPlan, Manifest};
use gmat_core::format::tokens;
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::store::{Store, TOKENS};
use gmat_core::verify::{verify_gguf, verify_store};
use gmat_core::{Registry, Result};
use gmat_tests::memory::Memory;
use gmat_tests::weights::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ran, copy_files, data, gmat, hinted, stored, tree};

const DIFFERENT: i32 = 5;
const USAGE: i32 = 2;
const INPUT: i32 = 3;
const BUDGET: Budget = Budget { in_flight: 4, memory: 1 << 30 };

/// How many positions are tried in each file set; more with `GMAT_FLIPS`.
fn flips() -> u64 {
    std::env::var("GMAT_FLIPS").ok().map_or(400, |text| text.parse().unwrap())
}

fn registry() -> Registry {
    Registry::builtin(gmat_codecs::link()).unwrap()
}

/// A folder in memory.
fn memory(folder: &Path) -> Memory {
    let files = tree(folder).into_iter();
    let mut memory = Memory::default();
    memory.files = files.map(|(path, bytes)| (path.to_str().unwrap().to_owned(), bytes)).collect();
    memory
}

/// A small model with a tokenizer, imported to `model.gmat` in that block format.
fn small(format: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_files(&data("data/oracle/qwen3"), &dir.path().join("hf"));
    gmat(dir.path(), &["import", "-q", "-m", "hf", "-o", ".", "--block-format", format]).ok();
    dir
}

/// One bit of one file, the same for the same number.
fn flip(files: &mut Memory, number: u64) -> (String, usize, u8) {
    let mut random = Rng::new(number);
    let total: usize = files.files.values().map(Vec::len).sum();
    // All files alike would hardly ever hit a small one.
    let names: Vec<String> = files.files.keys().cloned().collect();
    let name = if number.is_multiple_of(2) {
        names[random.below(names.len())].clone()
    } else {
        let mut at = random.below(total);
        let inside = files.files.iter().find(|(_, bytes)| {
            let here = at < bytes.len();
            at = at.wrapping_sub(if here { 0 } else { bytes.len() });
            here
        });
        inside.unwrap().0.clone()
    };
    let bytes = files.files.get_mut(&name).unwrap();
    let (at, bit) = (random.below(bytes.len()), 1 << random.below(8));
    bytes[at] ^= bit;
    (name, at, bit)
}

/// What an export does that writes all of the store.
fn export_all(store: &Memory, registry: &Registry) -> Result<()> {
    let store = Store::open(store)?;
    let vocab = tokens::read(
        store.files().read(TOKENS, 0..store.files().len(TOKENS)?.unwrap())?.as_ref().as_ref(),
    )?;
    let mut config = gmat_core::config::ExportConfig::default();
    config.quantization.default_type = "f16".into();
    let options = ExportOptions { file_name: "m.gguf", ..ExportOptions::default() };
    let plan = ExportPlan::new(&store, Some(&vocab), &config, options, registry)?;
    plan.run(&mut Memory::default(), BUDGET, &mut Silent, None).map(drop)
}

/// Every flipped bit is found, by `verify` and by the export that reads it.
#[test]
fn every_bit_of_a_store_counts() {
    let registry = registry();
    for format in ["raw", "B8x8", "DualRow16x4"] {
        let dir = small(format);
        let mut files = memory(&dir.path().join("model.gmat"));
        let good = verify_store(&files, None, &registry, BUDGET, &mut Silent).unwrap();
        assert_eq!(good.differences, []);
        assert_eq!(good.files, files.files.len());
        export_all(&files, &registry).unwrap();
        for number in 0..flips() {
            let (name, at, bit) = flip(&mut files, number);
            let found = verify_store(&files, None, &registry, BUDGET, &mut Silent).unwrap();
            let names = found.differences.iter().any(|difference| difference.file == name);
            assert!(names, "{format}: bit {bit} of byte {at} of {name}: {:?}", found.differences);
            assert!(export_all(&files, &registry).is_err(), "{format}: byte {at} of {name}");
            files.files.get_mut(&name).unwrap()[at] ^= bit;
        }
    }
}

/// The same for a GGUF file with its manifest.
#[test]
fn every_bit_of_a_gguf_counts() {
    let registry = registry();
    let dir = small("B8x8");
    let export = ["export", "-q", "-m", "model.gmat", "--type", "q8_0", "-o", "gguf/m.gguf"];
    for (cap, first) in [("5GB", "m.gguf"), ("150KB", "m-00001-of-00002.gguf")] {
        gmat(dir.path(), &[&export[..], &["--shard-size", cap]].concat()).ok();
        let mut files = memory(&dir.path().join("gguf"));
        let text = files.files.remove("m.manifest.json").unwrap();
        let manifest = Manifest::parse(&text).unwrap();
        let verify = |files: &Memory, file: &str| {
            verify_gguf(files, file, Some(&manifest), &registry, BUDGET, &mut Silent).unwrap()
        };
        let good = verify(&files, first);
        assert_eq!(good.differences, []);
        assert_eq!(good.files, manifest.files.len());
        for number in 0..flips() {
            let (name, at, bit) = flip(&mut files, number);
            let found = verify(&files, first);
            assert!(!found.differences.is_empty(), "bit {bit} of byte {at} of {name}");
            files.files.get_mut(&name).unwrap()[at] ^= bit;
        }
        fs::remove_dir_all(dir.path().join("gguf")).unwrap();
    }
}

fn verify(at: &Path, args: &[&str]) -> Ran {
    gmat(at, &[&["verify"], args].concat())
}

/// The differences that `--json` lists.
fn differences(ran: &Ran) -> Vec<(String, String)> {
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found["ok"], false);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = found["differences"].as_array().unwrap().iter();
    list.map(|found| (text(&found["tensor"]), text(&found["what"]))).collect()
}

#[test]
fn a_store_is_what_its_model_makes() {
    let dir = small("B8x8");
    let at = dir.path();
    assert!(verify(at, &["model.gmat"]).ok().stdout.contains("Nothing differs"));
    let facts = |args: &[&str]| -> Value {
        serde_json::from_str(&verify(at, &[args, &["--json"]].concat()).ok().stdout).unwrap()
    };
    let (alone, found) = (facts(&["model.gmat"]), facts(&["model.gmat", "--source", "hf"]));
    assert_eq!((&found["ok"], &found["kind"]), (&true.into(), &"store".into()));
    // Files that are compared with the source, too, count once.
    for key in ["files", "tensors", "bytes"] {
        assert_eq!(found[key], alone[key], "{key}");
    }

    // A weight of one tensor, changed in the model.
    let weights = at.join("hf/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x40;
    fs::write(&weights, &bytes).unwrap();
    let ran = verify(at, &["model.gmat", "--source", "hf", "--json"]);
    let ran = ran.fails(DIFFERENT, &["differences"]);
    let found = differences(&ran);
    assert_eq!(found.len(), 2, "the tensor and the metadata: {found:?}");
    assert!(found.iter().any(|(tensor, _)| tensor.starts_with("model.")), "{found:?}");
    // The store itself is sound.
    verify(at, &["model.gmat"]).ok();

    let store = at.join("model.gmat");
    fs::write(store.join("tensors/notes.txt"), "x").unwrap();
    fs::remove_file(store.join("tokens.bin")).unwrap();
    let tensor = fs::read_dir(store.join("tensors")).unwrap().map(|e| e.unwrap().path());
    fs::remove_file(tensor.filter(|path| path.extension() == Some("gmat".as_ref())).min().unwrap())
        .unwrap();
    let ran = verify(at, &["model.gmat"]).fails(DIFFERENT, &["3 differences"]);
    for what in ["tokens.bin`: the file is missing", "notes.txt`", "does not belong"] {
        assert!(ran.stdout.contains(what), "{}", ran.stdout);
    }
}

#[test]
fn a_gguf_is_what_its_store_makes() {
    let dir = small("B8x8");
    let at = dir.path();
    let export = |args: &[&str]| {
        gmat(at, &[&["export", "-q", "-m", "model.gmat", "-o", "m.gguf"], args].concat()).ok()
    };
    let source = ["--source", "model.gmat"];
    let with_source = |path: &str| verify(at, &[&[path], &source[..]].concat());
    for args in [
        &["--type", "q4_k_m"][..],
        &["--type", "q8_0", "--tensor-type", "attn_v=f16", "--scale-optimization", "standard"],
        &["--target-bpw", "6.5"],
        &["--type", "q4_0", "--no-tokenizer", "--arch", "qwen3"],
    ] {
        export(args);
        // What is compared with the source, too, counts once.
        let alone = verify(at, &["m.gguf"]).ok().stdout;
        let compared = with_source("m.gguf").ok().stdout;
        assert_eq!(alone.lines().next(), compared.lines().next());
    }
    export(&["--type", "q8_0", "--shard-size", "150KB"]);
    with_source("m-00002-of-00002.gguf").ok();
    fs::rename(at.join("m-00001-of-00002.gguf"), at.join("x")).unwrap();
    let ran = with_source("m-00002-of-00002.gguf").fails(DIFFERENT, &[]);
    assert!(ran.stdout.contains("missing"), "{}", ran.stdout);

    // Without manifest: structure and values only, and for a source the config is needed.
    fs::write(at.join("c.json"), r#"{"quantization":{"default_type":"q8_0"}}"#).unwrap();
    export(&["-c", "c.json"]);
    fs::rename(at.join("m.manifest.json"), at.join("m.json")).unwrap();
    let ran = verify(at, &["m.gguf"]).ok();
    assert!(ran.stdout.contains("no manifest"), "{}", ran.stdout);
    hinted(with_source("m.gguf"), USAGE, &["no manifest", "--config"]);
    let config = ["m.gguf", "--source", "model.gmat", "--config", "c.json"];
    verify(at, &config).ok();
    verify(at, &["m.gguf", "--manifest", "m.json"]).ok();
    // A scale that is no number, in the last block of the file.
    let mut bytes = fs::read(at.join("m.gguf")).unwrap();
    let good = bytes.clone();
    let gguf = gmat_core::format::gguf::Gguf::parse(&bytes).unwrap();
    let tensor = gguf.tensors.iter().find(|tensor| tensor.ggml_type == 8).unwrap();
    let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
    bytes[start + 34..start + 36].copy_from_slice(&[0, 0x7e]);
    fs::write(at.join("m.gguf"), &bytes).unwrap();
    let ran = verify(at, &["m.gguf", "--json"]).fails(DIFFERENT, &[]);
    let found = differences(&ran);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, tensor.name);
    assert!(found[0].1.contains(&format!("byte {}", start + 34)), "{found:?}");
    let found = differences(&verify(at, &[&config[..], &["--json"]].concat()));
    assert!(found.iter().all(|(name, _)| *name == tensor.name) && found.len() == 2, "{found:?}");
    fs::write(at.join("m.gguf"), [&good[..], b"more"].concat()).unwrap();
    let ran = verify(at, &["m.gguf"]).fails(DIFFERENT, &[]);
    assert!(ran.stdout.contains("belong to nothing"), "{}", ran.stdout);
    fs::write(at.join("m.gguf"), &good[..good.len() - 5]).unwrap();
    let ran = verify(at, &["m.gguf"]).fails(DIFFERENT, &[]);
    assert!(ran.stdout.contains("truncated"), "{}", ran.stdout);
}

/// A GGUF source with a manifest is compared with it while it is read.
#[test]
fn a_damaged_gguf_is_not_imported() {
    let dir = small("B8x8");
    let at = dir.path();
    gmat(at, &["export", "-q", "-m", "model.gmat", "--type", "q8_0", "-o", "m.gguf"]).ok();
    let import = || gmat(at, &["import", "-m", "m.gguf", "-o", "again"]);
    import().ok();
    let mut bytes = fs::read(at.join("m.gguf")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(at.join("m.gguf"), &bytes).unwrap();
    hinted(import(), INPUT, &["m.manifest.json", "tensor `"]);
}

/// A store against a base, and what `convert` wrote.
#[test]
fn a_store_with_a_base_and_arrays() {
    let dir = small("lossless");
    let at = dir.path();
    copy_files(&at.join("hf"), &at.join("tuned"));
    let weights = at.join("tuned/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    gmat(at, &["import", "-q", "-m", "tuned", "-o", "tuned.gmat", "--base", "model.gmat"]).ok();
    let ran = verify(at, &["tuned.gmat", "--source", "tuned"]).ok();
    assert!(ran.stdout.contains("in the base"), "{}", ran.stdout);
    verify(at, &["tuned.gmat", "--source", "hf"]).fails(DIFFERENT, &["difference"]);

    gmat(at, &["convert", "-q", "-i", "hf", "-o", "arrays"]).ok();
    verify(at, &["arrays"]).ok();
    for source in ["hf", "model.gmat"] {
        verify(at, &["arrays", "--source", source]).ok();
    }
    let ran = verify(at, &["arrays", "--source", "tuned.gmat", "--json"]).fails(DIFFERENT, &[]);
    assert_eq!(differences(&ran).len(), 1, "{}", ran.stdout);
    let file =
        tree(&at.join("arrays")).into_keys().find(|path| path.extension() == Some("npy".as_ref()));
    let file = at.join("arrays").join(file.unwrap());
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    verify(at, &["arrays"]).fails(DIFFERENT, &["1 difference"]);
}

#[test]
fn what_cannot_be_verified() {
    let dir = stored();
    let at = dir.path();
    hinted(verify(at, &["hf"]), INPUT, &["no checksums"]);
    verify(at, &["nothing"]).fails(4, &["cannot open"]);
    verify(at, &["model.gmat", "--manifest", "m.json"]).fails(USAGE, &["`--manifest`"]);
    // A manifest replaces nothing but a manifest.
    fs::write(at.join("m.manifest.json"), "{}").unwrap();
    let ran = gmat(at, &["export", "-m", "model.gmat", "--type", "q4_0", "-o", "m.gguf"]);
    hinted(ran, USAGE, &["m.manifest.json", "not replaced"]);
    assert!(!at.join("m.gguf").exists());
}
