//! `--target-size` and `--target-bpw`: types chosen for a size.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{example_model, gmat};

/// Bytes of everything that an export wrote under a name.
fn total(folder: &Path, stem: &str) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let ours = files.filter(|f| f.file_name().to_string_lossy().starts_with(stem));
    ours.map(|file| file.metadata().unwrap().len()).sum()
}

fn store() -> TempDir {
    let dir = TempDir::new().unwrap();
    let model = example_model();
    gmat(dir.path(), &["import", "-q", "-m", model.to_str().unwrap(), "-o", "model.gmat"]).ok();
    dir
}

/// Damage and size in the report of an export.
fn exported(at: &Path, name: &str, options: &[&str]) -> (f64, u64) {
    let output = format!("{name}.gguf");
    let report = format!("{name}.json");
    let mut args = vec!["export", "-q", "-m", "model.gmat", "-o", &output, "--report", &report];
    args.extend(options);
    gmat(at, &args).ok();
    let report: Value = serde_json::from_slice(&fs::read(at.join(report)).unwrap()).unwrap();
    let bytes = total(at, &output);
    assert_eq!(report["bytes"].as_u64(), Some(bytes));
    (report["total"]["relative_rmse"].as_f64().unwrap(), bytes)
}

#[test]
fn sizes_are_met_and_used() {
    let dir = store();
    let at = dir.path();
    let mut last = f64::INFINITY;
    for target in [2_900_000u64, 3_500_000, 4_366_848, 6_000_000, 9_000_000] {
        let (error, bytes) = exported(at, "sized", &["--target-size", &target.to_string()]);
        assert!(bytes <= target, "{bytes} for {target}");
        // What is left is less than the smallest step of the smallest matrices: up to eight bits,
        // one or two for 32 768 weights; from there on, eight.
        let step = if target < 7_385_000 { 8_192 } else { 32_768 };
        assert!(target - bytes < step, "{bytes} for {target}");
        assert!(error < last, "{error} for {target}, {last} for less");
        last = error;
    }
    // More than anything can use: everything as good as the types get.
    let (error, bytes) = exported(at, "sized", &["--target-size", "1GB"]);
    assert!(error < 1e-3 && bytes < 20_000_000, "{error} in {bytes}");
    // Bits per weight count all bytes of the file.
    let (_, bytes) = exported(at, "bits", &["--target-bpw", "4.25"]);
    let weights = 6_819_072.0;
    assert!(8.0 * bytes as f64 <= 4.25 * weights, "{bytes}");
    assert!(8.0 * bytes as f64 > 4.2 * weights, "{bytes}");
}

#[test]
fn shards_count_together() {
    let dir = store();
    let options = ["--target-size", "4000000", "--shard-size", "1200000", "--jobs", "1"];
    gmat(
        dir.path(),
        &[&["export", "-q", "-m", "model.gmat", "-o", "s.gguf"], &options[..]].concat(),
    )
    .ok();
    let bytes = total(dir.path(), "s-0000");
    assert!((3_980_000..=4_000_000).contains(&bytes), "{bytes}");
}

#[test]
fn what_is_asked_for_stays() {
    let dir = store();
    let at = dir.path();
    let explain = |options: &[&str]| {
        let base = ["export", "-m", "model.gmat", "--explain", "--json"];
        let said = gmat(at, &[&base[..], options].concat()).ok().stdout;
        serde_json::from_str::<Value>(&said).unwrap()
    };
    let plan = explain(&["--target-size", "3500000", "--tensor-type", "attn_v=q8_0"]);
    let (mut chosen, mut asked) = (0, 0);
    for tensor in plan["tensors"].as_array().unwrap() {
        let name = tensor["name"].as_str().unwrap();
        let by = tensor["by"].as_str().unwrap();
        if name.contains("attn_v") {
            assert_eq!((by, tensor["type"].as_str()), ("option", Some("q8_0")), "{name}");
            asked += 1;
        } else if name.contains("norm") {
            assert_eq!(by, "kept", "{name}");
        } else {
            assert_eq!(by, "target", "{name}");
            chosen += 1;
        }
    }
    assert_eq!((chosen, asked), (38, 6));
    assert!(plan["bytes"].as_u64().unwrap() <= 3_500_000);
    // In the config, too; and the option wins.
    fs::write(at.join("c.json"), r#"{"target_bpw":4.0}"#).unwrap();
    let four = explain(&["-c", "c.json"])["bytes"].as_u64().unwrap();
    let five = explain(&["-c", "c.json", "--target-bpw", "5"])["bytes"].as_u64().unwrap();
    let bits = |bytes: u64| 8.0 * bytes as f64 / 6_819_072.0;
    assert!(bits(four) <= 4.0 && bits(five) <= 5.0 && bits(five) > 4.9, "{four} {five}");
    // A type for the whole model is another wish.
    let typed = explain(&["-c", "c.json", "--type", "q8_0"]);
    assert!(typed["tensors"].as_array().unwrap().iter().all(|tensor| tensor["by"] != "target"));
}

#[test]
fn impossible_sizes_say_what_is_possible() {
    let dir = store();
    let at = dir.path();
    let base = ["export", "-q", "-m", "model.gmat", "--target-size"];
    let said =
        gmat(at, &[&base[..], &["1000000"]].concat()).fails(2, &["1000000 bytes", "the least is"]);
    let least = said.stderr.split("the least is ").nth(1).unwrap().split(',').next().unwrap();
    gmat(at, &[&base[..], &[least]].concat()).ok();
    assert_eq!(fs::metadata(at.join("model.gguf")).unwrap().len().to_string(), least);
    let below = (least.parse::<u64>().unwrap() - 1).to_string();
    gmat(at, &[&base[..], &[&below]].concat()).fails(2, &["the least is"]);
    // Nothing to choose.
    gmat(at, &["export", "-m", "model.gmat", "--generate-config"]).ok();
    gmat(at, &["export", "-m", "model.gmat", "-c", "export_config.json", "--target-bpw", "4"])
        .fails(2, &["no tensor left"]);
    for wrong in [
        &["--target-bpw", "0"][..],
        &["--target-bpw", "nan"],
        &["--target-bpw", "4", "--type", "q4_k"],
    ] {
        assert_eq!(gmat(at, &[&["export", "-m", "model.gmat"], wrong].concat()).code, 2);
    }
}

#[test]
fn the_same_types_on_any_number_of_threads() {
    let dir = store();
    let at = dir.path();
    for jobs in ["1", "3", "8"] {
        exported(at, jobs, &["--target-bpw", "3.9", "--jobs", jobs]);
        assert!(fs::read(at.join("1.json")).unwrap().len() > 1000);
        let same = |extension: &str| {
            let read = |name: &str| fs::read(at.join(format!("{name}.{extension}"))).unwrap();
            read("1") == read(jobs)
        };
        assert!(same("gguf"), "{jobs} threads");
    }
}
