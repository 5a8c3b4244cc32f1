//! What must not get lost, and what must not pass in silence.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gmat_core::format::gguf::{Gguf, Value as Gv};
use gmat_tests::synth::Llama;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Ran, copy_files, example_model, f32s, finished, gmat, gmat_command, hinted, one, safetensors,
    says, stored, tree,
};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const IO: i32 = 4;

fn export(at: &Path, extra: &[&str]) -> Ran {
    gmat(at, &[&["export", "-m", "model.gmat"], extra].concat())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn import_replaces_a_store_and_nothing_else() {
    let dir = stored();
    let at = dir.path();
    let store = at.join("model.gmat");
    copy_files(&example_model(), &store.join("hf"));
    let before = tree(&store);
    gmat(at, &["import", "-m", "model.gmat/hf", "-o", "."])
        .fails(USAGE, &["the model is inside the output", "model.gmat/hf"]);
    gmat(at, &["import", "-m", "hf", "-o", "."]).fails(USAGE, &["`hf`", "did not write"]);
    assert!(before == tree(&store));
    fs::remove_dir_all(store.join("hf")).unwrap();
    // Links lead there as well.
    fs::write(store.join("m.safetensors"), safetensors(&[one("w")])).unwrap();
    symlink("model.gmat/m.safetensors", at.join("link.safetensors")).unwrap();
    gmat(at, &["import", "-m", "link.safetensors", "-o", "."])
        .fails(USAGE, &["the model is inside the output"]);
    fs::remove_file(store.join("m.safetensors")).unwrap();
    for foreign in ["notes.txt", "tensors/mine.txt"] {
        fs::write(store.join(foreign), "mine").unwrap();
        gmat(at, &["import", "-m", "hf", "-o", "."]).fails(USAGE, &[foreign, "not replaced"]);
        assert_eq!(fs::read_to_string(store.join(foreign)).unwrap(), "mine");
        fs::remove_file(store.join(foreign)).unwrap();
    }
    gmat(at, &["import", "-q", "-m", "hf", "-o", "."]).ok();
    // A run that was killed between taking the old store away and putting the new one there.
    fs::rename(&store, at.join("model.gmat.old.partial")).unwrap();
    fs::write(at.join("broken.safetensors"), "x").unwrap();
    let bytes = safetensors(&[("w", "F32", vec![1], f32::NAN.to_le_bytes().to_vec())]);
    fs::write(at.join("broken.safetensors"), bytes).unwrap();
    gmat(at, &["import", "-m", "broken.safetensors", "-o", "."]).fails(INPUT, &["NaN"]);
    assert!(store.join("metadata.json").is_file(), "the old store is back");
}

#[test]
fn export_replaces_gguf_files_and_nothing_else() {
    let dir = stored();
    let at = dir.path();
    fs::write(at.join("notes.txt"), "mine").unwrap();
    fs::write(at.join("c.json"), r#"{"quantization":{"default_type":"q4_0"}}"#).unwrap();
    for (out, config) in
        [("notes.txt", "c.json"), ("c.json", "c.json"), ("hf/config.json", "c.json")]
    {
        let before = fs::read(at.join(out)).unwrap();
        let ran = export(at, &["-c", config, "-o", out]);
        hinted(ran, USAGE, &[out, "not a GGUF file"]);
        assert!(before == fs::read(at.join(out)).unwrap());
    }
    // A part of a split is looked at before any work.
    fs::write(at.join("s-00001-of-00003.gguf"), "mine").unwrap();
    export(at, &["--type", "q8_0", "--shard-size", "3MB", "-o", "s.gguf"])
        .fails(USAGE, &["s-00001-of-00003.gguf", "not a GGUF file"]);
    fs::write(at.join("empty.gguf"), "").unwrap();
    export(at, &["-q", "--type", "q4_0", "-o", "empty.gguf"]).ok();
    export(at, &["-q", "--type", "q8_0", "-o", "empty.gguf"]).ok();
    // Through a link, which stays one.
    symlink("empty.gguf", at.join("link.gguf")).unwrap();
    export(at, &["-q", "--type", "q4_0", "-o", "link.gguf"]).ok();
    assert!(at.join("link.gguf").is_symlink());
    assert_eq!(fs::read(at.join("empty.gguf")).unwrap()[..4], *b"GGUF");
    symlink("nowhere/x.gguf", at.join("lost.gguf")).unwrap();
    export(at, &["--type", "q4_0", "-o", "lost.gguf"]).fails(IO, &["leads nowhere"]);
    hinted(export(at, &["--type", "q4_0", "-o", "-"]), USAGE, &["standard output"]);
    assert!(!at.join("-").exists());
}

#[test]
fn type_on_the_command_line_wins_over_a_config() {
    let dir = stored();
    let at = dir.path();
    export(at, &["-q", "--generate-config"]).ok();
    let ran = export(at, &["-c", "export_config.json", "--type", "q8_0"]).ok();
    says(&ran, "57 entries of `per_tensor` are overridden by --type");
    let with = fs::read(at.join("model.gguf")).unwrap();
    let gguf = Gguf::parse(&with).unwrap();
    assert_eq!(gguf.meta.value("general.file_type"), Some(&Gv::U32(7)));
    assert!(gguf.tensors.iter().all(|tensor| [0, 8].contains(&tensor.ggml_type)));
}

#[test]
fn what_cannot_be_read_is_not_taken_for_absent() {
    let dir = stored();
    let at = dir.path();
    let side = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
    let import = || gmat(at, &["import", "-m", "hf", "-o", "new"]);
    for name in side.into_iter().chain(["tiny_llm.safetensors"]) {
        let (path, aside) = (at.join("hf").join(name), at.join("aside"));
        fs::rename(&path, &aside).unwrap();
        symlink("../../blobs/gone", &path).unwrap();
        hinted(import(), IO, &[name, "a link that leads nowhere"]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        hinted(import(), IO, &[name, "a folder, not a file"]);
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    let store = at.join("model.gmat");
    let tensor = format!("tensors/{}", names(&store.join("tensors"))[0]);
    for name in ["tokens.bin", "metadata.json", &tensor] {
        let (path, aside) = (store.join(name), at.join("aside"));
        fs::rename(&path, &aside).unwrap();
        symlink("gone", &path).unwrap();
        hinted(export(at, &["--type", "q4_0"]), IO, &[name, "a link that leads nowhere"]);
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    symlink("gone.safetensors", at.join("x.safetensors")).unwrap();
    hinted(gmat(at, &["import", "-m", "x.safetensors"]), IO, &["x.safetensors", "leads nowhere"]);
}

#[test]
fn vectors_must_be_numbers_too() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let mut data = f32s(8);
    data[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
    let bytes = safetensors(&[one("w"), ("norm.weight", "F32", vec![8], data)]);
    fs::write(at.join("m.safetensors"), bytes).unwrap();
    let import = |format: &str| {
        gmat(at, &["import", "-m", "m.safetensors", "-o", "out", "--block-format", format])
    };
    hinted(import("B8x8"), INPUT, &["norm.weight", "index 5", "`NaN`"]);
    assert!(!at.join("out").exists());
    import("raw").ok();
    let config = r#"{"architectures":["LlamaForCausalLM"],"hidden_size":8,"intermediate_size":4,
        "num_hidden_layers":1,"num_attention_heads":2,"vocab_size":8,"max_position_embeddings":8,
        "rms_norm_eps":1e-5}"#;
    fs::write(at.join("config.json"), config).unwrap();
    let mut data = f32s(8);
    data[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
    let bytes = safetensors(&[("model.norm.weight", "F32", vec![8], data)]);
    fs::write(at.join("m.safetensors"), bytes).unwrap();
    import("raw").ok();
    let args = ["export", "-m", "out", "--type", "f32", "--no-tokenizer"];
    hinted(gmat(at, &args), INPUT, &["output_norm.weight", "`NaN`"]);
}

#[test]
fn a_slash_at_the_end_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    fs::write(at.join("m.safetensors"), safetensors(&[one("w")])).unwrap();
    // The second time there is a store to be replaced.
    for out in ["y.gmat/", "y.gmat/", "y.gmat", "z/", "z//"] {
        gmat(at, &["import", "-q", "-m", "m.safetensors", "-o", out]).ok();
    }
    assert_eq!(names(at), ["m.safetensors", "y.gmat", "z"]);
    assert_eq!(names(&at.join("z")), ["model.gmat"]);
}

#[test]
fn impatient_interrupts_leave_nothing_that_looks_complete() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    Llama::of_size(150_000_000, 20_000_000).write(&at.join("hf")).unwrap();
    let args = ["import", "-m", "hf", "-o", "out"];
    let mut child =
        gmat_command(at, &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !at.join("out/model.gmat.partial/tensors").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not stop");
        let _ = Command::new("kill").args(["-INT", &pid]).stderr(Stdio::null()).status();
        std::thread::sleep(Duration::from_millis(10));
    }
    finished(child.wait_with_output().unwrap()).fails(130, &["interrupted"]);
    assert!(!at.join("out/model.gmat").exists());
}

/// What a killed run left of a split is removed by a run without one, and the other way round; what
/// belongs to other outputs stays.
#[test]
fn leftovers_of_killed_exports() {
    let dir = stored();
    let at = dir.path();
    for name in ["m-00001-of-00003.gguf.partial", "m.gguf.partial", "mm.gguf.partial"] {
        fs::write(at.join(name), "x").unwrap();
    }
    export(at, &["-q", "--type", "q8_0", "-o", "m.gguf"]).ok();
    assert_eq!(names(at), ["hf", "m.gguf", "m.manifest.json", "mm.gguf.partial", "model.gmat"]);
}

#[test]
fn a_config_that_cannot_be_written_leaves_nothing() {
    let dir = stored();
    let at = dir.path();
    let gmat = env!("CARGO_BIN_EXE_gmat-under-test");
    let script =
        format!("trap '' XFSZ; ulimit -f 1; exec {gmat} export -m model.gmat --generate-config");
    let ran = Command::new("bash").args(["-c", &script]).current_dir(at).output().unwrap();
    hinted(finished(ran), IO, &["cannot write `export_config.json`"]);
    assert_eq!(names(at), ["hf", "model.gmat"]);
}

#[test]
fn inspect_sees_what_is_missing() {
    let dir = stored();
    let at = dir.path();
    export(at, &["-q", "--type", "q8_0"]).ok();
    let gguf = fs::read(at.join("model.gguf")).unwrap();
    gmat(at, &["inspect", "model.gguf"]).ok();
    fs::write(at.join("cut.gguf"), &gguf[..gguf.len() - 1000]).unwrap();
    hinted(gmat(at, &["inspect", "cut.gguf"]), INPUT, &["cut.gguf", "truncated"]);
    let whole = gmat(at, &["inspect", "model.gmat"]).ok();
    assert_eq!(whole.stderr, "");
    let tensors = at.join("model.gmat/tensors");
    let files = names(&tensors);
    fs::remove_file(tensors.join(&files[0])).unwrap();
    let bytes = fs::read(tensors.join(&files[1])).unwrap();
    fs::write(tensors.join(&files[1]), &bytes[..bytes.len() - 1]).unwrap();
    let ran = gmat(at, &["inspect", "model.gmat"]).ok();
    says(&ran, &format!("Warning: missing tensor: model.gmat/tensors/{}", files[0]));
    says(&ran, &format!("{} has {} bytes, metadata.json says", files[1], bytes.len() - 1));
    // One byte more is not called truncated.
    fs::write(tensors.join(&files[1]), [&bytes[..], b"x"].concat()).unwrap();
    let ran = export(at, &["--type", "q4_0"]);
    assert!(!ran.stderr.contains("truncated"), "{}", ran.stderr);
    let id = files[1].trim_end_matches(".gmat");
    fs::write(tensors.join(&files[0]), "").unwrap();
    ran.fails(IO, &["missing tensor"]);
    let json: Value =
        serde_json::from_slice(&fs::read(at.join("model.gmat/metadata.json")).unwrap()).unwrap();
    let stored = json["tensors"][id]["stored_bytes"].as_u64().unwrap();
    assert_eq!(stored, bytes.len() as u64);
}

#[test]
fn a_file_that_grew_is_not_called_truncated() {
    let dir = stored();
    let at = dir.path();
    let tensors = at.join("model.gmat/tensors");
    let file = tensors.join(&names(&tensors)[0]);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, [&bytes[..], b"x"].concat()).unwrap();
    let ran = export(at, &["--type", "q4_0"]);
    assert!(!ran.stderr.contains("truncated"), "{}", ran.stderr);
    hinted(ran, INPUT, &["1 more than were written"]);
}

/// A script that measures must not empty a folder that holds something.
#[test]
fn measuring_needs_an_empty_folder() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("mine"), "x").unwrap();
    let script = crate::support::data("scale.sh");
    let ran = Command::new("bash").arg(script).arg("/bin/true").arg(dir.path()).output().unwrap();
    assert!(!ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stderr).contains("not empty"));
    assert!(dir.path().join("mine").exists());
}
