//! Where plugins are found, and what is kept of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{FAILED, Lab, by_hand};
use crate::support::{Ran, finished, says};

fn put(folder: &Path, name: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("{name}.wasm")), named(name)).unwrap();
}

/// The plugin that is written by hand under another name of three letters.
fn named(name: &str) -> Vec<u8> {
    let text =
        fs::read_to_string(crate::support::data("../plugins/examples/wat/bf16.wat")).unwrap();
    let text = text.replace("\\\"wat\\\"", &format!("\\\"{name}\\\""));
    wat::parse_str(text.replace("bf16@wat", &format!("bf16@{name}"))).unwrap()
}

#[test]
fn plugins_are_found_in_the_documented_order() {
    let lab = Lab::new();
    let at = lab.at();
    fs::create_dir(at.join("work")).unwrap();
    put(&at.join("plugins"), "one");
    put(&at.join("work/plugins"), "two");
    put(&at.join("env"), "six");
    put(&at.join("option"), "ten");
    put(&at.join("data/gmat/plugins"), "own");
    let run = |args: &[&str]| -> Ran {
        let mut command = lab.command(args);
        command.current_dir(at.join("work")).env("GMAT_PLUGINS", at.join("env"));
        finished(command.output().unwrap())
    };
    let ran = run(&["plugins", "list", "--json", "--plugin-dir", "../option"]).ok();
    let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let names: Vec<&str> =
        list["plugins"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["two", "six", "ten", "own"]);
    let ran = run(&["plugins", "list", "--plugin-dir", "../option"]).ok();
    for part in ["two 1 (plugins/two.wasm, working directory)", "type bf16@six", "ready after"] {
        assert!(ran.stdout.contains(part), "{}", ran.stdout);
    }
    // Beside the store comes first.
    let args = ["export", "-m", "../model.gmat", "--arch", "generic", "--type", "f16", "-v"];
    for name in ["one", "two", "six", "own"] {
        let rule = format!("^w=bf16@{name}");
        run(&[&args[..], &["--tensor-type", &rule, "-o", "m.gguf"]].concat()).ok();
    }
    let ran = run(&["formats"]).ok();
    assert!(ran.stdout.contains("bf16@two"), "{}", ran.stdout);
    let ran = run(&["formats", "--json"]).ok();
    let formats: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let types = formats["quantization_types"].as_array().unwrap();
    let own = types.iter().find(|ty| ty["name"] == "bf16@own").unwrap();
    assert_eq!(own["plugin"]["blake3"], blake3::hash(&named("own")).to_hex().as_str());
    run(&["formats", "--plugin-dir", "nowhere"]).fails(4, &["`nowhere`", "--plugin-dir"]);
}

#[test]
fn two_plugins_of_one_name_are_one_too_many() {
    let lab = Lab::new();
    lab.give("a.wasm", &by_hand());
    // The same module twice is no question.
    lab.give("b.wasm", &by_hand());
    lab.export("m.gguf", &["--type", "bf16@wat"]).ok();
    let mut other = by_hand();
    other.extend_from_slice(b"\0\x03\x01xy");
    lab.give("b.wasm", &other);
    let ran = lab.export("m.gguf", &["--type", "bf16@wat"]);
    let ran = ran.fails(FAILED, &["two plugins are called `wat`", "given/a.wasm", "given/b.wasm"]);
    says(&ran, "\nhint: ");
    // Who does not need them is told, and goes on.
    says(&lab.export("m.gguf", &["--type", "bf16"]).ok(), "two plugins are called `wat`");
}

/// Whether the module came from the cache.
fn cached(lab: &Lab) -> bool {
    let ran = lab.gmat(&["plugins", "list", "--json", "--plugin-dir", "given"]).ok();
    let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(list["plugins"][0]["load_ms"].as_f64().unwrap() > 0.0);
    list["plugins"][0]["cached"].as_bool().unwrap()
}

#[test]
fn compiled_modules_are_kept_where_nobody_else_can_write() {
    let lab = Lab::new();
    lab.give("a.wasm", &by_hand());
    assert!(!cached(&lab));
    assert!(cached(&lab));
    let folder = lab.at().join("cache/gmat/plugins");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!((mode(&folder), mode(file)), (0o700, 0o600));

    // What others could have written is not run.
    for open in [0o666, 0o620, 0o602] {
        set(file, open);
        assert!(!cached(&lab), "{open:o}");
        assert_eq!(mode(file), 0o600);
        assert!(cached(&lab));
    }
    set(&folder, 0o777);
    assert!(!cached(&lab));
    set(&folder, 0o700);
    assert!(cached(&lab));

    // Nor is what was damaged, cut, or made of another module.
    let good = fs::read(file).unwrap();
    for (at, bytes) in [
        ("changed code", [&good[..good.len() - 1], &[good[good.len() - 1] ^ 1]].concat()),
        ("changed hash", [&[good[0] ^ 1], &good[1..]].concat()),
        ("cut", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
    ] {
        fs::write(file, bytes).unwrap();
        assert!(!cached(&lab), "{at}");
        assert!(cached(&lab));
    }
    lab.give("a.wasm", &named("two"));
    let before = fs::read(file).unwrap();
    assert!(!cached(&lab));
    let other = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let other = other.filter(|path| path != file).collect::<Vec<_>>();
    fs::write(&other[0], before).unwrap();
    assert!(!cached(&lab), "a file of another module under this name");

    // A link is not followed, and a folder that cannot be made is none.
    let moved = lab.at().join("moved");
    fs::rename(&folder, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &folder).unwrap();
    assert!(!cached(&lab));
    fs::remove_file(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    assert!(!cached(&lab));
}
