//! Running the program and making models for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use gmat_core::format::gguf::{Header, Meta, TensorEntry};
use gmat_tests::weights::single;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A file or folder of the tests crate.
pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The example model.
pub(crate) fn example_model() -> PathBuf {
    data("../example/tiny_llm/hf-model")
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Asserts success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts a failure with that code whose message contains all of these.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(self.stderr.contains("error: "), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in:\n{}", self.stderr);
        }
        self
    }
}

/// A `gmat` command in a folder.
pub(crate) fn gmat_command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gmat-under-test"));
    command.current_dir(folder).args(args).env_remove("GMAT_BUFFER_SIZE");
    command
}

/// Runs `gmat` in a folder.
pub(crate) fn gmat(folder: &Path, args: &[&str]) -> Ran {
    finished(gmat_command(folder, args).output().unwrap())
}

pub(crate) fn finished(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs until `begun`, and is stopped then by that signal. Returns the exit code, if there is one.
pub(crate) fn stopped(mut command: Command, signal: &str, begun: impl Fn() -> bool) -> Option<i32> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !begun() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    child.wait().unwrap().code()
}

/// All files below a folder with their bytes, by relative path.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                out.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    out
}

/// Copies the files of a folder (not its sub-folders).
pub(crate) fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// A tensor to be written: name, dtype, shape, bytes.
pub(crate) type Tensor<'a> = (&'a str, &'a str, Vec<u64>, Vec<u8>);

/// The bytes of a SafeTensors file, written without any check.
pub(crate) fn safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        header.insert(
            (*name).to_owned(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    with_header(&Value::Object(header).to_string(), &data)
}

/// A SafeTensors file with that header text.
pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

/// `count` F32 values in a fixed pattern, little-endian.
pub(crate) fn f32s(count: u64) -> Vec<u8> {
    let mut random = gmat_tests::weights::Rng::new(7);
    (0..count).flat_map(|_| single(random.normal() * 0.02).to_le_bytes()).collect()
}

/// The example model in `hf`, imported to `model.gmat`.
pub(crate) fn stored() -> TempDir {
    let dir = TempDir::new().unwrap();
    copy_files(&example_model(), &dir.path().join("hf"));
    gmat(dir.path(), &["import", "-q", "-m", "hf", "-o", "."]).ok();
    dir
}

/// A small tensor.
pub(crate) fn one(name: &str) -> Tensor<'_> {
    (name, "F32", vec![4, 8], f32s(32))
}

/// Asserts that standard error contains this.
#[track_caller]
pub(crate) fn says(ran: &Ran, part: &str) {
    assert!(ran.stderr.contains(part), "`{part}` is not in:\n{}", ran.stderr);
}

/// Asserts a failure like [`Ran::fails`], with advice.
#[track_caller]
pub(crate) fn hinted(ran: Ran, code: i32, parts: &[&str]) {
    let ran = ran.fails(code, parts);
    says(&ran, "\nhint: ");
}

/// A tensor of a GGUF file: any type id, any bytes.
pub(crate) struct GgufTensor<'a> {
    pub(crate) name: &'a str,
    /// Fastest first.
    pub(crate) dims: Vec<u64>,
    pub(crate) ty: u32,
    pub(crate) data: Vec<u8>,
}

/// The bytes of a GGUF file with these keys and tensors.
pub(crate) fn gguf(meta: &Meta, tensors: &[GgufTensor<'_>]) -> Vec<u8> {
    let entry = |tensor: &GgufTensor<'_>| TensorEntry {
        name: tensor.name.to_owned(),
        dims: tensor.dims.clone(),
        ggml_type: tensor.ty,
        len: tensor.data.len() as u64,
    };
    let header = Header { meta: meta.clone(), tensors: tensors.iter().map(entry).collect() };
    let mut out = header.to_bytes().unwrap();
    for tensor in tensors {
        out.extend_from_slice(&tensor.data);
        out.resize(out.len().next_multiple_of(32), 0);
    }
    out
}
