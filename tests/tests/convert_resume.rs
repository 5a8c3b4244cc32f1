//! Conversions that are continued, and the comparison of converted models with what was written.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use gmat_core::Registry;
use gmat_core::arrays::{Difference, Origin, verify};
use gmat_core::io::Files;
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::source::{Model, Pick};
use gmat_tests::memory::Memory;
use tempfile::TempDir;

use crate::convert::{FORMATS, example, manifest};
use crate::support::{f32s, gmat, hinted, safetensors, tree};

/// The files of a folder.
fn memory(folder: &Path) -> Memory {
    let mut memory = Memory::default();
    for (path, bytes) in tree(folder) {
        memory.files.insert(path.into_os_string().into_string().unwrap(), bytes);
    }
    memory
}

fn differences(folder: &Path, source: Option<&Path>) -> Vec<Difference> {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let budget = Budget { in_flight: 4, memory: 1 << 30 };
    let files = source.map(memory);
    let model = files.as_ref().map(|files| Model::open(files, Pick::Folder).unwrap());
    let origin = model
        .as_ref()
        .zip(files.as_ref())
        .map(|(model, files)| Origin::Model(model, files as &dyn Files));
    verify(&memory(folder), origin, &registry, budget, &mut Silent).unwrap()
}

fn convert(at: &Path, extra: &[&str]) -> crate::support::Ran {
    let mut args =
        vec!["convert", "--progress", "none", "-i", "hf", "-o", "out", "--shard-size", "5MB"];
    args.extend_from_slice(extra);
    gmat(at, &args)
}

fn changed(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn what_is_missing_or_damaged_is_written_again_and_nothing_else() {
    for format in FORMATS {
        let dir = example();
        let (at, out) = (dir.path(), dir.path().join("out"));
        convert(at, &["-f", format]).ok();
        let whole = tree(&out);
        let shards: Vec<String> = manifest(&out)["shards"]
            .as_array()
            .unwrap()
            .iter()
            .map(|shard| shard["file"].as_str().unwrap().to_owned())
            .collect();
        let count = shards.len();
        assert!(count > 2, "{count}");
        let said = convert(at, &["-f", format, "--resume"]).ok();
        assert!(said.stdout.contains("Nothing is left to do: out is complete"), "{}", said.stdout);

        // A shard is missing, another has one other bit.
        let file_of = |shard: &str| {
            let path = out.join(shard);
            match path.is_dir() {
                true => fs::read_dir(&path).unwrap().next().unwrap().unwrap().path(),
                false => path,
            }
        };
        let kept = file_of(&shards[0]);
        let before = changed(&kept);
        fs::remove_file(file_of(&shards[1])).unwrap();
        let damaged = file_of(&shards[2]);
        let mut bytes = fs::read(&damaged).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 4;
        fs::write(&damaged, bytes).unwrap();
        let found = differences(&out, None);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|difference| difference.what == "is missing"));
        assert!(found.iter().any(|difference| difference.what.contains("another hash")));
        let said = convert(at, &["-f", format, "--resume"]).ok();
        let line = format!("{} of {count} shards are complete and kept", count - 2);
        assert!(said.stdout.contains(&line), "{}", said.stdout);
        assert!(whole == tree(&out), "{format}");
        assert_eq!(before, changed(&kept));

        // The script and the manifest are not shards, but belong to the whole.
        for name in ["manifest.json", manifest(&out)["loader"]["file"].as_str().unwrap()] {
            let text = fs::read_to_string(out.join(name)).unwrap();
            let (old, new) = match name {
                "manifest.json" => ("\"hidden_size\"", "\"hidden_sizE\""),
                _ => ("gmat", "gmaT"),
            };
            assert!(text.contains(old));
            fs::write(out.join(name), text.replacen(old, new, 1)).unwrap();
            assert_eq!(differences(&out, None).len(), 1, "{name}");
            convert(at, &["-f", format, "--resume"]).ok();
            assert!(whole == tree(&out), "{format} {name}");
        }
    }
}

#[test]
fn another_plan_or_source_is_refused() {
    let dir = example();
    let at = dir.path();
    convert(at, &[]).ok();
    let whole = tree(&at.join("out"));
    for (extra, why) in [
        (&["-f", "msgpack"][..], "--format was numpy-direct and is msgpack"),
        (&["-p", "float32"], "--precision was float16 and is float32"),
        (&["--mxfp4", "raw"], "--mxfp4 was decode and is raw"),
    ] {
        let said = convert(at, &[extra, &["--resume"]].concat());
        hinted(said, 2, &["cannot be continued", why]);
    }
    let args = ["convert", "-i", "hf", "-o", "out", "--resume"];
    hinted(gmat(at, &args), 2, &["--shard-size was 5000000 bytes and is 1800000000 bytes"]);
    let model = at.join("hf/tiny_llm.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&model, bytes).unwrap();
    hinted(convert(at, &["--resume"]), 2, &["the model is another one, or has changed"]);
    assert!(whole == tree(&at.join("out")));
    convert(at, &[]).ok();
    assert!(whole != tree(&at.join("out")));
}

#[test]
fn notes_of_an_interrupted_run_are_checked() {
    let dir = example();
    let at = dir.path();
    convert(at, &[]).ok();
    let whole = tree(&at.join("out"));
    // As a run leaves it that is killed while it writes the third shard.
    let partial = at.join("out.partial");
    fs::create_dir_all(partial.join("progress")).unwrap();
    let manifest = manifest(&at.join("out"));
    let identity = serde_json::to_vec(&manifest["identity"]).unwrap();
    fs::write(partial.join("progress/plan.json"), identity).unwrap();
    for shard in 0..3 {
        let folder = format!("shard_{shard:03}/");
        let tensors = manifest["tensors"].as_array().unwrap().iter();
        let tensors: Vec<_> = tensors
            .filter(|tensor| tensor["file"].as_str().unwrap().starts_with(&folder))
            .map(|t| serde_json::json!({"file": t["file"], "blake3": t["blake3"], "bytes": t["bytes"]}))
            .collect();
        fs::create_dir(partial.join(&folder)).unwrap();
        for tensor in &tensors {
            let file = tensor["file"].as_str().unwrap();
            fs::copy(at.join("out").join(file), partial.join(file)).unwrap();
        }
        let note = serde_json::json!({"clamped": {}, "files": tensors, "shard": shard}).to_string();
        let cut = if shard == 2 { note.len() / 2 } else { note.len() };
        fs::write(partial.join(format!("progress/shard_{shard:03}.json")), &note[..cut]).unwrap();
    }
    fs::write(partial.join("shard_002/odd.npy"), "half").unwrap();
    fs::remove_dir_all(at.join("out")).unwrap();
    let again = TempDir::new().unwrap();
    let copy = again.path();
    for (path, bytes) in tree(at) {
        fs::create_dir_all(copy.join(&path).parent().unwrap()).unwrap();
        fs::write(copy.join(&path), bytes).unwrap();
    }
    let said = convert(at, &[]).ok();
    assert!(said.stdout.contains("2 of "), "{}", said.stdout);
    assert!(whole == tree(&at.join("out")));
    assert!(!partial.exists());
    // With --restart nothing of it is used.
    hinted(convert(copy, &["-p", "float32"]), 2, &["--precision was float16", "--restart"]);
    convert(copy, &["--restart", "--resume"]).fails(2, &["cannot be used with"]);
    let said = convert(copy, &["--restart"]).ok();
    assert!(!said.stdout.contains("complete and kept"), "{}", said.stdout);
    assert!(whole == tree(&copy.join("out")));
    assert!(!copy.join("out.partial").exists());
}

#[test]
fn any_changed_byte_is_found() {
    let dir = example();
    let (at, out) = (dir.path(), dir.path().join("out"));
    convert(at, &["-f", "jax-pickle"]).ok();
    assert_eq!(differences(&out, Some(&at.join("hf"))), []);
    for (path, bytes) in tree(&out) {
        let step = bytes.len() / 5;
        for place in (0..5).map(|n| n * step).chain([bytes.len() - 1]) {
            let mut other = bytes.clone();
            other[place] ^= 0x20;
            fs::write(out.join(&path), other).unwrap();
            let registry = Registry::builtin(gmat_codecs::link()).unwrap();
            let budget = Budget { in_flight: 2, memory: 1 << 30 };
            let found = verify(&memory(&out), None, &registry, budget, &mut Silent);
            assert!(found.is_err() || !found.unwrap().is_empty(), "byte {place} of {path:?}");
        }
        fs::write(out.join(&path), &bytes).unwrap();
    }
    fs::write(out.join("more.txt"), "").unwrap();
    let found = differences(&out, None);
    assert_eq!(found[0].file, "more.txt");
    assert_eq!(found[0].what, "was not written by gmat convert");
}

#[test]
fn another_source_is_found() {
    let dir = example();
    let (at, out) = (dir.path(), dir.path().join("out"));
    for format in FORMATS {
        convert(at, &["-f", format]).ok();
        assert_eq!(differences(&out, Some(&at.join("hf"))), []);
        let model = at.join("hf/tiny_llm.safetensors");
        let bytes = fs::read(&model).unwrap();
        let mut other = bytes.clone();
        let middle = other.len() / 2;
        other[middle] ^= 0x40;
        fs::write(&model, other).unwrap();
        let found = differences(&out, Some(&at.join("hf")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].what, "is not what the source gives");
        fs::write(&model, bytes).unwrap();
    }
}

/// A run that ends at the second of two shards, since no file may be as large as that.
fn interrupted() -> TempDir {
    let dir = TempDir::new().unwrap();
    let tensors = [
        ("a", "F32", vec![128, 128], f32s(1 << 14)),
        ("b", "F32", vec![1024, 1024], f32s(1 << 20)),
    ];
    fs::create_dir(dir.path().join("hf")).unwrap();
    fs::write(dir.path().join("hf/model.safetensors"), safetensors(&tensors)).unwrap();
    let args = ["convert", "-i", "hf", "-o", "out", "--shard-size", "0.0021"];
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -f 1000; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_gmat-under-test"),
    ]);
    let ended = command.args(args).current_dir(dir.path()).output().unwrap();
    assert!(!ended.status.success());
    assert!(dir.path().join("out.partial/progress/shard_000.json").exists());
    dir
}

#[test]
fn an_interrupted_run_goes_on_unless_its_source_has_changed() {
    let dir = interrupted();
    let at = dir.path();
    let args = ["convert", "-i", "hf", "-o", "out", "--shard-size", "0.0021"];
    let said = gmat(at, &args).ok();
    assert!(said.stdout.contains("1 of 2 shards are complete and kept"), "{}", said.stdout);
    let whole = tree(&at.join("out"));
    assert!(!at.join("out.partial").exists());

    // One bit of the finished tensor, in no place that is sampled.
    let dir = interrupted();
    let at = dir.path();
    let model = at.join("hf/model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    let place = bytes.len() - (4 << 20) - (48 << 10) + 2;
    bytes[place] ^= 0x10;
    fs::write(&model, bytes).unwrap();
    hinted(gmat(at, &args), 2, &["files of the model have changed", "--restart"]);
    gmat(at, &[&args[..], &["--restart"]].concat()).ok();
    assert!(whole != tree(&at.join("out")));
}
