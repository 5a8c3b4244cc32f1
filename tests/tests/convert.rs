//! `gmat convert`: whole runs of the program. What the files mean to NumPy and JAX is checked in
//! `tests/jax`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gmat_core::Registry;
use gmat_core::arrays::{ArrayOptions, ArrayPlan, Done, Mxfp4, Origin, Precision};
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::source::{Model, Pick};
use gmat_tests::memory::Memory;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Tensor, copy_files, data, example_model, f32s, finished, gmat, gmat_command, hinted, one,
    safetensors, says, tree,
};

pub(crate) const FORMATS: [&str; 3] = ["numpy-direct", "msgpack", "jax-pickle"];

pub(crate) fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

/// A folder with the example model in `hf`.
pub(crate) fn example() -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_files(&example_model(), &dir.path().join("hf"));
    dir
}

/// All files but the manifest, which also says what they were made from.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = tree(folder);
    files.remove(Path::new("manifest.json")).unwrap();
    files
}

fn write(folder: &Path, tensors: &[Tensor<'_>]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors(tensors)).unwrap();
}

#[test]
fn the_documented_command() {
    let dir = example();
    let at = dir.path();
    let args = [
        "convert",
        "--input",
        "hf",
        "--output",
        "out",
        "--format",
        "numpy-direct",
        "--shard-size",
        "1.8",
        "--precision",
        "float16",
        "--workers",
        "2",
    ];
    let said = gmat(at, &args).ok();
    for line in [
        "Converting 57 tensors to numpy-direct (float16, 1 shards, ",
        "[1/57] lm_head.weight [4096,256] <f2",
        "Verifying what was written...",
        "✅ NumPy array conversion complete!",
        "   Total shards: 1",
        "   Total parameters: 6.82M",
        "   Output: out",
    ] {
        assert!(said.stdout.contains(line), "`{line}` is not in:\n{}", said.stdout);
    }
    let manifest = manifest(&at.join("out"));
    assert_eq!(manifest["format"], "numpy_direct");
    assert_eq!(manifest["total_parameters"], 6_819_072);
    assert_eq!(manifest["config"]["vocab_size"], 4096);
    let tensors = manifest["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 57);
    assert_eq!(tensors[0]["file"], "shard_000/lm_head_weight.npy");
    assert_eq!(tensors[0]["size_mb"], 2.0);
    let files = files(&at.join("out"));
    assert_eq!(files.len(), 58);
    for tensor in tensors {
        let bytes = &files[Path::new(tensor["file"].as_str().unwrap())];
        assert_eq!(tensor["blake3"], blake3::hash(bytes).to_hex().as_str());
        assert_eq!(tensor["bytes"], bytes.len());
    }
    assert_eq!(fs::read_dir(at).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn every_source_of_the_same_tensors_gives_the_same_bytes() {
    let dir = example();
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf", "-o", ".", "--block-format", "raw"]).ok();
    for format in FORMATS {
        let run = |input: &str, output: &str, jobs: &str, buffer: &str| {
            let args = [
                "convert",
                "-q",
                "-i",
                input,
                "-o",
                output,
                "-f",
                format,
                "--shard-size",
                "9MB",
                "--jobs",
                jobs,
                "--precision",
                "float32",
            ];
            let mut command = gmat_command(at, &args);
            command.env("GMAT_BUFFER_SIZE", buffer);
            finished(command.output().unwrap()).ok();
            files(&at.join(output))
        };
        let first = run("hf", "one", "1", "1");
        assert!(first.len() > 3);
        for (input, jobs, buffer) in
            [("hf/tiny_llm.safetensors", "2", "3"), ("model.gmat", "8", "16"), (".", "1", "2")]
        {
            assert!(first == run(input, "two", jobs, buffer), "{format} {input}");
        }
        let (one, two) = (manifest(&at.join("one")), manifest(&at.join("two")));
        assert_eq!(one["tensors"], two["tensors"]);
        assert_eq!(one["shards"], two["shards"]);
        let sizes: u64 =
            one["shards"].as_array().unwrap().iter().map(|s| s["bytes"].as_u64().unwrap()).sum();
        let found = first.iter().filter(|(path, _)| path.to_string_lossy().starts_with("shard"));
        assert_eq!(sizes, found.map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    }
}

#[test]
fn a_lossy_store_is_decoded() {
    let dir = example();
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "."]).ok();
    for (input, output) in [("hf", "exact"), ("model.gmat", "near")] {
        gmat(at, &["convert", "-q", "-i", input, "-o", output, "--precision", "float32"]).ok();
    }
    let (exact, near) = (files(&at.join("exact")), files(&at.join("near")));
    let mut different = 0;
    for (path, bytes) in
        exact.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "npy"))
    {
        let values = |bytes: &[u8]| -> Vec<f32> {
            bytes[128..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        assert_eq!(bytes[..128], near[path][..128]);
        let (exact, near) = (values(bytes), values(&near[path]));
        let largest = exact.iter().fold(0f32, |most, v| most.max(v.abs()));
        for (a, b) in exact.iter().zip(&near) {
            assert!((a - b).abs() <= largest * 0.01, "{path:?}: {a} {b}");
            different += usize::from(a != b);
        }
    }
    assert!(different > 1_000_000);
}

#[test]
fn caps_are_caps() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    write(&at.join("hf"), &[one("a"), ("b", "F32", vec![100, 100], f32s(10_000)), one("c")]);
    for format in FORMATS {
        let said =
            gmat(at, &["convert", "-i", "hf", "-o", "out", "-f", format, "--shard-size", "20KB"]);
        let said = said.fails(2, &["tensor `b` takes ", "more than a shard of 20000 may have"]);
        assert!(said.stderr.contains("hint: add --shard-size 0.0"), "{}", said.stderr);
        assert!(!at.join("out").exists() && !at.join("out.partial").exists());
    }
    gmat(at, &["convert", "-q", "-i", "hf", "-o", "out", "--shard-size", "0.0000202"]).ok();
    assert_eq!(manifest(&at.join("out"))["total_shards"], 3);
}

#[test]
fn wrong_options_are_named() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    write(&at.join("hf"), &[one("a")]);
    let with = |extra: &[&str]| {
        let mut args = vec!["convert", "-i", "hf", "-o", "out"];
        args.extend_from_slice(extra);
        let ran = gmat(at, &args);
        assert!(!at.join("out").exists());
        ran
    };
    hinted(
        with(&["-f", "numpy-direkt"]),
        2,
        &["unknown output format `numpy-direkt`", "msgpack", "numpy-direct"],
    );
    hinted(with(&["-f", "gguf"]), 2, &["takes two commands", "gmat import -m hf", "gmat export"]);
    with(&["-p", "bfloat16"]).fails(2, &["unknown precision `bfloat16`", "float16, float32"]);
    with(&["--mxfp4", "no"]).fails(2, &["unknown choice `no`", "decode, raw"]);
    for size in ["0", "-1", "x"] {
        assert_eq!(with(&["--shard-size", size]).code, 2);
    }
    assert_eq!(with(&["--workers", "2", "--jobs", "2"]).code, 2);
    with(&["--memory", "1"]).fails(2, &["--memory"]);
    hinted(gmat(at, &["convert", "-i", "nothing", "-o", "out"]), 4, &["nothing"]);
}

#[test]
fn only_what_convert_wrote_is_replaced() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    write(&at.join("hf"), &[one("a"), one("b")]);
    let convert = |extra: &[&str]| {
        let mut args = vec!["convert", "-i", "hf", "-o", "out"];
        args.extend_from_slice(extra);
        gmat(at, &args)
    };
    let out = at.join("out");
    fs::create_dir(&out).unwrap();
    convert(&[]).ok();
    let first = tree(&out);
    convert(&["--precision", "float32", "-f", "msgpack"]).ok();
    assert!(out.join("shard_000.msgpack").exists() && !out.join("shard_000").exists());
    convert(&[]).ok();
    assert!(first == tree(&out));
    for foreign in ["notes.txt", "shard_000/mine.npy"] {
        fs::write(out.join(foreign), "mine").unwrap();
        for extra in [&[][..], &["--resume"]] {
            hinted(convert(extra), 2, &["holds", foreign, "convert did not write"]);
        }
        assert_eq!(fs::read(out.join(foreign)).unwrap(), b"mine");
        fs::remove_file(out.join(foreign)).unwrap();
    }
    assert!(first == tree(&out));
    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("manifest.json"), "{\"format\": \"numpy_direct\"}").unwrap();
    hinted(convert(&[]), 2, &["exists and is not a model that gmat converted"]);
    fs::remove_dir_all(&out).unwrap();
    fs::write(&out, "a file").unwrap();
    hinted(convert(&[]), 2, &["exists and is not a folder"]);
    hinted(gmat(at, &["convert", "-i", "hf", "-o", "hf"]), 2, &["the model is inside the output"]);
    assert_eq!(fs::read(&out).unwrap(), b"a file");
    assert!(at.join("hf/model.safetensors").exists());
}

#[test]
fn a_damaged_source_leaves_nothing() {
    let dir = example();
    let at = dir.path();
    gmat(at, &["import", "-q", "-m", "hf", "-o", "."]).ok();
    let tensor =
        fs::read_dir(at.join("model.gmat/tensors")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&tensor).unwrap();
    bytes[100] ^= 1;
    fs::write(&tensor, bytes).unwrap();
    let said = gmat(at, &["convert", "-i", "model.gmat", "-o", "out"]);
    said.fails(3, &[tensor.file_name().unwrap().to_str().unwrap(), "row group 0"]);
    let mut model = fs::read(at.join("hf/tiny_llm.safetensors")).unwrap();
    model.truncate(model.len() - 1);
    fs::write(at.join("hf/tiny_llm.safetensors"), model).unwrap();
    gmat(at, &["convert", "-i", "hf", "-o", "out"]).fails(3, &["tiny_llm.safetensors"]);
    write(&at.join("none"), &[]);
    gmat(at, &["convert", "-i", "none", "-o", "out"]).fails(3, &["no tensors"]);
    for left in ["out", "out.partial", "out.lock.partial"] {
        assert!(!at.join(left).exists(), "{left}");
    }
}

#[test]
fn scales_are_counted_and_raw_is_what_the_checkpoint_has() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    copy_files(&data("data/oracle/gpt_oss"), &at.join("hf"));
    let decoded = gmat(at, &["convert", "-i", "hf", "-o", "decoded"]).ok();
    let raw = gmat(at, &["convert", "-i", "hf", "-o", "raw", "--mxfp4", "raw"]).ok();
    for said in [&decoded, &raw] {
        let line = "   Total parameters: 227.02K (223.95K and 3.07K scales)";
        assert!(said.stdout.contains(line), "{}", said.stdout);
    }
    says(&decoded, "4 tensors are `mxfp4` and were put together with their scales");
    let names = |folder: &str| -> Vec<String> {
        let manifest = manifest(&at.join(folder));
        let tensors = manifest["tensors"].as_array().unwrap();
        tensors.iter().map(|tensor| tensor["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names("decoded").iter().all(|n| !n.ends_with("_blocks") && !n.ends_with("_scales")));
    assert_eq!(names("raw").iter().filter(|name| name.ends_with("_blocks")).count(), 4);
    assert_eq!(names("raw").len(), names("decoded").len() + 4);
}

#[test]
fn large_tensors_are_read_in_pieces() {
    let rows = 20_000;
    let tensor = ("w", "BF16", vec![rows, 1000], vec![0x3c; usize::try_from(rows).unwrap() * 2000]);
    let folder = Memory::of([("model.safetensors", safetensors(&[tensor]))]);
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let model = Model::open(&folder, Pick::Folder).unwrap();
    for container in registry.containers() {
        let options = ArrayOptions {
            container: *container,
            precision: Precision::Float32,
            mxfp4: Mxfp4::Decode,
            shard_size: 1 << 30,
        };
        let plan = ArrayPlan::new(Origin::Model(&model, &folder), options, &registry).unwrap();
        let mut out = Memory::default();
        // Two units fit into that, not the tensor.
        let budget = Budget { in_flight: 4, memory: 40 << 20 };
        plan.run(Done::default(), None, &mut out, budget, &mut Silent).unwrap();
        let written: u64 = out
            .files
            .iter()
            .filter(|(name, _)| name.starts_with("shard"))
            .map(|(_, bytes)| bytes.len() as u64)
            .sum();
        assert_eq!(written, plan.output_bytes());
    }
    assert!(folder.largest.get() <= 2 << 20, "{}", folder.largest.get());
}

#[test]
fn formats_are_listed() {
    let dir = TempDir::new().unwrap();
    let said = gmat(dir.path(), &["formats"]).ok();
    let listed: Value =
        serde_json::from_str(&gmat(dir.path(), &["formats", "--json"]).ok().stdout).unwrap();
    for format in FORMATS {
        assert!(said.stdout.contains(&format!("  {format:<14} ")), "{}", said.stdout);
        assert!(listed["output_formats"].as_array().unwrap().iter().any(|f| f["name"] == format));
    }
}

#[test]
fn a_manifest_that_leaves_its_folder_is_refused() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    write(&at.join("hf"), &[one("a")]);
    gmat(at, &["convert", "-q", "-i", "hf", "-o", "out"]).ok();
    let path = at.join("out/manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let windows: &[&str] = if cfg!(windows) { &["..\\\\x", "C:x"] } else { &[] };
    let outside =
        ["../hf/model.safetensors", "/etc/hostname", "shard_000/../../x", "shard_000/\\u0000"];
    for outside in outside.iter().chain(windows) {
        fs::write(&path, text.replace("shard_000/a.npy", outside)).unwrap();
        hinted(
            gmat(at, &["convert", "-i", "hf", "-o", "out"]),
            2,
            &["not a model that gmat converted"],
        );
    }
    assert!(at.join("hf/model.safetensors").exists());
}
