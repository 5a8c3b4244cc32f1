//! Plugins: the examples, built from source, from the command line to the file.

mod again;
mod check;
mod examples;
mod hostile;
mod places;
mod stored;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gmat_core::Registry;
use gmat_core::format::gguf::Gguf;
use gmat_core::plugin::Plugin;
use tempfile::TempDir;

use crate::support::{Ran, data, f32s, finished, gmat, gmat_command, safetensors};

/// Exit code of failures that have none of their own.
const FAILED: i32 = 1;

/// The folder of the modules that are built from source, once.
fn examples() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // Beside what this test was built to.
        let target = Path::new(env!("CARGO_BIN_EXE_gmat-under-test"));
        let target = target.parent().and_then(Path::parent).unwrap().join("plugin-examples");
        build("../plugins/examples", &target);
        build("../plugins/template", &target);
        target.join("wasm32-unknown-unknown/release")
    })
}

fn build(workspace: &str, target: &Path) {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(target)
        .current_dir(data(workspace))
        // Flags for this program are not for plugins.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "cannot build {workspace} (`rustup target add wasm32-unknown-unknown` gives what is needed):\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

/// The module of an example.
fn example(name: &str) -> PathBuf {
    examples().join(format!("{name}.wasm"))
}

/// The bytes of the plugin that is written by hand.
fn by_hand() -> Vec<u8> {
    wat::parse_file(data("../plugins/examples/wat/bf16.wat")).unwrap()
}

/// Everything built in, and one plugin.
fn registry_with(path: &Path) -> (Registry, &'static Plugin) {
    let mut registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let (plugin, _) = gmat_plugin_host::open(path, None).unwrap();
    registry.add_plugin(plugin).unwrap();
    (registry, plugin)
}

/// A folder with a small model, imported to `model.gmat`; nothing of the user's is seen.
struct Lab(TempDir);

/// Rows and columns of the tensors `v.weight` and `w.weight`.
const SHAPE: [u64; 2] = [64, 256];

impl Lab {
    fn new() -> Self {
        let lab = Self(TempDir::new().unwrap());
        let [rows, cols] = SHAPE;
        let model = safetensors(&[
            ("v.weight", "F32", vec![rows, cols], f32s(rows * cols)),
            ("w.weight", "F32", vec![rows, cols], f32s(rows * cols)),
            ("x.weight", "F32", vec![cols], f32s(cols)),
        ]);
        fs::create_dir(lab.at().join("hf")).unwrap();
        fs::write(lab.at().join("hf/model.safetensors"), model).unwrap();
        fs::write(lab.at().join("hf/config.json"), r#"{"architectures":["NoModel"]}"#).unwrap();
        lab.gmat(&["import", "-q", "-m", "hf", "-o", "."]).ok();
        lab
    }

    fn at(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = gmat_command(self.at(), args);
        command
            .env("XDG_CACHE_HOME", self.at().join("cache"))
            .env("XDG_DATA_HOME", self.at().join("data"))
            .env_remove("GMAT_PLUGINS");
        command
    }

    fn gmat(&self, args: &[&str]) -> Ran {
        finished(self.command(args).output().unwrap())
    }

    /// Exports everything to `out`, with the plugins of the folder `given`.
    fn export(&self, out: &str, args: &[&str]) -> Ran {
        let fixed = ["export", "-m", "model.gmat", "--arch", "generic", "--plugin-dir", "given"];
        self.gmat(&[&fixed[..], &["-o", out], args].concat())
    }

    /// Puts a module into the folder `given`.
    fn give(&self, name: &str, wasm: &[u8]) {
        fs::create_dir_all(self.at().join("given")).unwrap();
        fs::write(self.at().join("given").join(name), wasm).unwrap();
    }

    fn give_example(&self, name: &str) {
        self.give(&format!("{name}.wasm"), &fs::read(example(name)).unwrap());
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at().join(name)).unwrap()
    }

    fn gguf(&self, name: &str) -> Gguf {
        Gguf::parse(&self.read(name)).unwrap()
    }
}

/// A type of a file's tensor.
fn type_of(gguf: &Gguf, name: &str) -> u32 {
    gguf.tensors.iter().find(|tensor| tensor.name == name).unwrap().ggml_type
}

#[test]
fn both_sides_mean_the_same_interface() {
    assert_eq!(gmat_plugin_abi::v1::ABI, gmat_core::plugin::ABI);
    assert_eq!(gmat_plugin_abi::v1::SECTION, gmat_core::plugin::SECTION);
}

#[test]
fn a_program_without_plugins_is_as_before() {
    let dir = TempDir::new().unwrap();
    let ran = gmat(dir.path(), &["formats", "--json"]).ok();
    assert!(!ran.stdout.contains('@'), "{}", ran.stdout);
}
