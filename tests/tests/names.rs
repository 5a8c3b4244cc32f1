//! Names in files of others, and what they must not do: become paths out of the output.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Ran, Tensor, f32s, gmat, safetensors, tree};

const INPUT: i32 = 3;

/// A folder deep in another one, so that `..` leads to where it can be seen.
struct Deep {
    root: TempDir,
    at: PathBuf,
}

impl Deep {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let at = root.path().join("a/b/c/d");
        fs::create_dir_all(at.join("hf")).unwrap();
        Self { root, at }
    }

    /// Names of tensors that would lead elsewhere as paths, here or on Windows.
    fn hostile(&self) -> Vec<String> {
        let absolute = self.root.path().join("absolute").display().to_string();
        let fixed = [
            "../../x",
            "../..",
            "..",
            ".",
            "/",
            "x/../../../../y",
            "./x",
            r"..\..\x",
            r"C:\x",
            "C:x",
            "a\0b",
            "../a\0b",
            "~",
            "~/x",
            "CON",
            "nul.weight",
            "aux",
            "COM1",
            "x:stream",
            "x\ny",
            "-rf",
            "$(touch z)",
            "%2e%2e%2fx",
            "metadata.json",
            "tensors/x.gmat",
            "manifest.json",
            "\u{202e}x",
        ];
        let mut names: Vec<String> = fixed.map(str::to_owned).to_vec();
        names.extend([
            absolute,
            "../".repeat(1000) + "x",
            "x".repeat(4096),
            "W".into(),
            "w".into(),
        ]);
        names
    }

    fn model(&self, folder: &str, names: &[String], number: usize) {
        let data = |at: usize| f32s(64 + (at + number) as u64).split_off(4 * (at + number));
        let tensors = names.iter().enumerate();
        let tensors: Vec<Tensor<'_>> =
            tensors.map(|(at, name)| (name.as_str(), "F32", vec![8, 8], data(at))).collect();
        fs::create_dir_all(self.at.join(folder)).unwrap();
        fs::write(self.at.join(folder).join("model.safetensors"), safetensors(&tensors)).unwrap();
    }

    fn gmat(&self, args: &[&str]) -> Ran {
        gmat(&self.at, args)
    }

    /// Everything but what is in one of these folders.
    fn outside(&self, outputs: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = tree(self.root.path());
        let outputs: Vec<_> = outputs.iter().map(|name| Path::new("a/b/c/d").join(name)).collect();
        all.retain(|path, _| !outputs.iter().any(|output| path.starts_with(output)));
        all
    }

    /// Runs a command that may write to these outputs and nowhere else.
    #[track_caller]
    fn confined(&self, outputs: &[&str], args: &[&str]) -> Ran {
        let before = self.outside(outputs);
        let ran = self.gmat(args);
        let after = self.outside(outputs);
        let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        assert!(before == after, "{args:?} wrote {new:?}");
        ran
    }
}

#[test]
fn names_of_tensors_are_no_paths() {
    let deep = Deep::new();
    let names = deep.hostile();
    deep.model("hf", &names, 0);
    deep.model("tuned", &names, 1);
    let exact = ["--block-format", "lossless"];
    deep.confined(&["out"], &[&["import", "-m", "hf", "-o", "out"], &exact[..]].concat()).ok();
    let files = tree(&deep.at.join("out/model.gmat"));
    let is_own = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name == "metadata.json" || name.len() == 41 && name.ends_with(".gmat")
    };
    assert!(files.keys().all(is_own) && files.len() == names.len() + 1, "{:?}", files.keys());
    let based = ["import", "-m", "tuned", "-o", "based", "--base", "out"];
    deep.confined(&["based"], &based).ok();
    deep.confined(&["flat"], &["store", "flatten", "based", "-o", "flat"]).ok();
    for store in ["out", "based", "flat"] {
        deep.confined(&[], &["verify", store]).ok();
        deep.confined(&[], &["inspect", store, "--all"]).ok();
        let source = if store == "out" { "hf" } else { "tuned" };
        deep.confined(&[], &["compare", store, source]).ok();
        if store != "flat" {
            deep.confined(&[], &["verify", store, "--source", source]).ok();
        }
    }
    for format in ["msgpack", "jax-pickle"] {
        deep.confined(&[format], &["convert", "-i", "hf", "-o", format, "-f", format]).ok();
        deep.confined(&[], &["verify", format]).ok();
    }
    // Files that are called after tensors: what is no name is refused, the rest stays in its folder.
    let convert = ["convert", "-i", "hf", "-o", "npy"];
    deep.confined(&[], &convert).fails(INPUT, &["no file can be called after", "msgpack"]);
    let mut written = 0;
    for name in &names {
        deep.model("one", std::slice::from_ref(name), 0);
        let ran = deep.confined(&["npy"], &["convert", "-i", "one", "-o", "npy"]);
        match ran.code {
            0 => written += 1,
            _ => drop(ran.fails(INPUT, &["no file can be called after"])),
        }
    }
    assert_eq!(written, names.len() - if cfg!(windows) { 7 } else { 4 });
    deep.model("one", &["W".to_owned(), "w".to_owned()], 0);
    let ran = deep.confined(&["new"], &["convert", "-i", "one", "-o", "new"]);
    match cfg!(any(windows, target_vendor = "apple")) {
        true => drop(ran.fails(INPUT, &["both be called"])),
        false => drop(ran.ok()),
    }
}

/// Names of an export: those of the store, or what a config calls them.
#[test]
fn names_in_exports_are_no_paths() {
    let deep = Deep::new();
    // GGUF names have at most 63 bytes.
    let names: Vec<String> =
        deep.hostile().into_iter().filter(|name| name.len() < 64 && !name.contains('\0')).collect();
    deep.model("hf", &names, 0);
    deep.gmat(&["import", "-q", "-m", "hf", "-o", "."]).ok();
    let export =
        ["export", "-m", "model.gmat", "--arch", "generic", "--no-tokenizer", "--type", "f16"];
    let split = ["--shard-size", "4KB", "-o", "gguf/m.gguf"];
    deep.confined(&["gguf"], &[&export[..], &split].concat()).ok();
    let written: Vec<_> = tree(&deep.at.join("gguf")).into_keys().collect();
    assert!(
        written.len() > 2
            && written.iter().all(|path| path.starts_with("m.manifest.json")
                || path.to_str().unwrap().starts_with("m-0000")),
        "{written:?}"
    );
    let first = written.iter().find(|path| path.to_str().unwrap().contains("-00001-of-")).unwrap();
    let first = format!("gguf/{}", first.display());
    deep.confined(&[], &["verify", &first, "--source", "model.gmat"]).ok();
    deep.confined(&["again"], &["import", "-m", &first, "-o", "again"]).ok();
    deep.confined(&["msg"], &["convert", "-i", &first, "-o", "msg", "-f", "msgpack"]).ok();
    // A manifest that names files elsewhere is compared with nothing there.
    let path = deep.at.join("gguf/m.manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("m-00001-of", "../../../m-00001-of")).unwrap();
    deep.confined(&[], &["verify", &first]);
}

#[test]
fn names_of_files_in_an_index_stay_in_its_folder() {
    let deep = Deep::new();
    fs::write(
        deep.root.path().join("a/x.safetensors"),
        safetensors(&[("w", "F32", vec![2], f32s(2))]),
    )
    .unwrap();
    let absolute = deep.root.path().join("a/x.safetensors").display().to_string();
    let long = "x".repeat(10_240);
    for name in [
        "../../../x.safetensors",
        &absolute,
        r"..\..\..\x.safetensors",
        "C:x.safetensors",
        "..",
        "",
        "a\0b.safetensors",
        "./x.safetensors",
    ] {
        let index = json!({"weight_map": {"w": name}}).to_string();
        fs::write(deep.at.join("hf/model.safetensors.index.json"), index).unwrap();
        for args in [
            &["import", "-m", "hf", "-o", "out"][..],
            &["convert", "-i", "hf", "-o", "out"],
            &["inspect", "hf"],
        ] {
            deep.confined(&[], args).fails(INPUT, &["is not a file name", "index.json"]);
        }
    }
    let index = json!({"weight_map": {"w": long}}).to_string();
    fs::write(deep.at.join("hf/model.safetensors.index.json"), index).unwrap();
    deep.confined(&[], &["import", "-m", "hf", "-o", "out"]).fails(4, &["cannot open"]);
}

#[test]
fn names_in_configs_are_no_paths() {
    let deep = Deep::new();
    deep.model("hf", &["w".to_owned()], 0);
    let import = |config: serde_json::Value| {
        fs::write(deep.at.join("c.json"), config.to_string()).unwrap();
        deep.confined(&["out"], &["import", "-m", "hf", "-o", "out", "-c", "c.json"])
    };
    for target in ["../../x", "/etc/x", "CON", ""] {
        let map = json!([{"source": "w", "target": target, "include": true}]);
        import(json!({"block_format": "raw", "tensor_map": map})).fails(2, &["c.json", target]);
    }
    import(json!({"block_format": "../raw", "tensor_map": []})).fails(2, &["../raw"]);
    // Modules of embedding models say in which folder their config is.
    fs::create_dir_all(deep.root.path().join("a/secret")).unwrap();
    fs::write(deep.root.path().join("a/secret/config.json"), "{\"secret\": 1}").unwrap();
    let modules = json!([{"path": "../../../../secret"}, {"path": r"..\x"}, {"path": "/etc"}]);
    fs::write(deep.at.join("hf/modules.json"), modules.to_string()).unwrap();
    deep.confined(&["out"], &["import", "-m", "hf", "-o", "out"]).ok();
    let metadata = fs::read_to_string(deep.at.join("out/model.gmat/metadata.json")).unwrap();
    assert!(metadata.contains("modules.json") && !metadata.contains("\"secret\""), "{metadata}");
}

#[test]
fn names_that_are_too_long_are_refused() {
    let deep = Deep::new();
    deep.model("hf", &["x".repeat(10_240)], 0);
    for command in ["import", "convert"] {
        deep.confined(&[], &[command, "--model", "hf", "-o", "out"]).fails(INPUT, &["4096"]);
    }
}
