//! What was made with plugins, made once more: interrupted runs, and `verify --source`.

use std::fs;
use std::path::Path;

use super::hostile::{block, module};
use super::{FAILED, Lab};
use crate::support::{Ran, says, stopped, tree};

/// Some time for every row group, spent in front of copying it.
const SLOWLY: &str = "(global.set $calls (i32.const 40000000))
    (loop $more
        (global.set $calls (i32.sub (global.get $calls) (i32.const 1)))
        (br_if $more (global.get $calls)))";

/// The same plugin, but for its hash.
fn changed(wasm: &[u8]) -> Vec<u8> {
    [wasm, b"\0\x03\x01xy"].concat()
}

/// What differs, by `verify --source`.
fn differs(ran: Ran, parts: &[&str]) {
    assert_eq!(ran.code, 5, "{}{}", ran.stdout, ran.stderr);
    for part in parts {
        says(&ran, part);
    }
    assert!(ran.stdout.contains("differs: "), "{}", ran.stdout);
}

#[test]
fn an_export_goes_on_with_the_same_plugin_only() {
    let lab = Lab::new();
    let copy = "(memory.copy (local.get $dst) (local.get $src) (local.get $len)) (i32.const 0)";
    let plugin = module(&format!("{SLOWLY} {copy}"));
    lab.give("bad.wasm", &plugin);
    let args = ["--type", "f32@bad", "--jobs", "1"];
    lab.export("whole.gguf", &args).ok();
    let output = ["export", "-m", "model.gmat", "--arch", "generic", "--plugin-dir", "given"];
    let output = [&output[..], &["-o", "m.gguf"], &args].concat();
    let journal = lab.at().join("m.gguf.journal.partial");
    let lines = || fs::read_to_string(&journal).unwrap_or_default().matches('\n').count();
    stopped(lab.command(&output), "-KILL", || lines() >= 2);

    lab.give("bad.wasm", &changed(&plugin));
    lab.gmat(&output).fails(2, &["plugin `bad`", "changed since", "--restart"]);
    lab.give("bad.wasm", &plugin);
    says(&lab.gmat(&output).ok(), "tensors are there already");
    assert!(lab.read("m.gguf") == lab.read("whole.gguf"));
}

#[test]
fn an_import_goes_on_with_the_same_plugin_only() {
    let lab = Lab::new();
    let plugin = block(&format!("{SLOWLY} (local.get $len)"), "(i32.const 0)");
    lab.give("bad.wasm", &plugin);
    let import = ["import", "-m", "hf", "--block-format", "Copy@bad", "--plugin-dir", "given"];
    let to = |output| [&import[..], &["--jobs", "1", "-o", output]].concat();
    lab.gmat(&to("whole.gmat")).ok();
    let tensors = lab.at().join("s.gmat.partial/tensors");
    // What a finished file ends in.
    let is_whole = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes.ends_with(b"TAMG"));
    let begun = || {
        let entries = fs::read_dir(&tensors).into_iter().flatten();
        entries.flatten().any(|entry| is_whole(&entry.path()))
    };
    stopped(lab.command(&to("s.gmat")), "-KILL", begun);

    lab.give("bad.wasm", &changed(&plugin));
    lab.gmat(&to("s.gmat")).fails(2, &["plugin `bad`", "changed since", "--restart"]);
    lab.give("bad.wasm", &plugin);
    says(&lab.gmat(&to("s.gmat")).ok(), "tensors are there already");
    let whole = |name: &str| tree(&lab.at().join(name));
    assert!(whole("s.gmat") == whole("whole.gmat"));
}

#[test]
fn verify_wants_the_plugins_that_were_used() {
    let lab = Lab::new();
    let lab_read = |name: &str| lab.read(name);
    lab.give_example("q4k_search");
    lab.give_example("half_rows");
    let with = ["--plugin-dir", "given"];
    let import = ["import", "-m", "hf", "-o", "s.gmat", "--block-format", "Rows12@half-rows"];
    lab.gmat(&[&import[..], &with].concat()).ok();
    let export = ["export", "-m", "s.gmat", "--arch", "generic", "-o", "m.gguf"];
    let ty = ["--type", "q4_k@search"];
    lab.gmat(&[&export[..], &ty, &with].concat()).ok();
    assert!(!lab.at().join("m.export_config.json").exists(), "one file beside the output");
    let verify = |file, source, with: &[&str]| {
        lab.gmat(&[&["verify", file, "--source", source][..], with].concat())
    };
    verify("s.gmat", "hf", &with).ok();
    verify("m.gguf", "s.gmat", &with).ok();

    // Without them, it is said which are needed.
    let hash = |name: &str| blake3::hash(&lab_read(name)).to_hex().to_string();
    let (search, half) = (hash("given/q4k_search.wasm"), hash("given/half_rows.wasm"));
    lab.gmat(&["verify", "m.gguf"]).ok();
    verify("s.gmat", "hf", &[]).fails(FAILED, &["plugin `half-rows`", &half]);
    let only = |name: &str| {
        let folder = lab.at().join("only");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        fs::copy(lab.at().join("given").join(name), folder.join(name)).unwrap();
    };
    only("half_rows.wasm");
    let some = ["--plugin-dir", "only"];
    verify("m.gguf", "s.gmat", &some).fails(FAILED, &["plugin `search`", &search]);

    // Others of their names are told, and show.
    let change = |name: &str| {
        let path = Path::new("given").join(name);
        let bytes = changed(&lab_read(path.to_str().unwrap()));
        fs::write(lab.at().join(path), bytes).unwrap();
    };
    change("q4k_search.wasm");
    differs(verify("m.gguf", "s.gmat", &with), &["plugin `search`", &search]);
    change("half_rows.wasm");
    differs(verify("s.gmat", "hf", &with), &["plugin `half-rows`", &half]);
}
