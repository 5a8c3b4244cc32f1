//! Importance matrices: what is read from them, and what becomes of models quantized with them,
//! against `llama-quantize` and `llama-imatrix` (see `data/quantize/README.md`).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use gmat_core::config::tensor_id;
use gmat_core::format::gguf::{Array, Gguf, Header, Meta, TensorEntry, Value};
use gmat_core::format::imatrix::Imatrix;
use gmat_core::io::{Chunk, Files};
use gmat_core::{Error, ErrorKind, Result};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{data, f32s, finished, gmat, gmat_command, safetensors};

/// One file in memory, whatever it is called, and how many bytes of it were read; reads beyond its
/// end are a fault of the reader.
struct Memory(Vec<u8>, Cell<usize>);

impl Files for Memory {
    fn names(&self) -> Result<Vec<String>> {
        Ok(vec!["m".to_owned()])
    }

    fn len(&self, _: &str) -> Result<Option<u64>> {
        Ok(Some(self.0.len() as u64))
    }

    fn read(&self, _: &str, range: Range<u64>) -> Result<Chunk<'_>> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        self.1.set(self.1.get() + range.len());
        Ok(Box::new(self.0.get(range).expect("a read beyond the end")))
    }

    fn place(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

fn open(bytes: &[u8]) -> (Memory, Result<Imatrix>) {
    let files = Memory(bytes.to_vec(), Cell::new(0));
    let matrix = Imatrix::open(&files, "m");
    (files, matrix)
}

fn expected() -> Json {
    serde_json::from_slice(&fs::read(data("data/quantize/expected.json")).unwrap()).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_all(files: &Memory, matrix: &Imatrix, name: &str) -> Result<Vec<f32>> {
    matrix.read(files, "m", name, 0..matrix.values(name).unwrap())
}

#[test]
fn numbers_are_those_of_the_real_tool() {
    for (file, entries) in expected()["importance"].as_object().unwrap() {
        let (files, matrix) = open(&fs::read(data("data/quantize").join(file)).unwrap());
        let matrix = matrix.unwrap();
        let entries = entries.as_object().unwrap();
        assert_eq!(matrix.len(), entries.len(), "{file}");
        assert_eq!((matrix.dataset.as_deref(), matrix.chunks), (Some("corpus.txt"), 8), "{file}");
        for (name, entry) in entries {
            assert_eq!(matrix.values(name), entry["values"].as_u64(), "{file} {name}");
            let all = read_all(&files, &matrix, name).unwrap();
            let bytes: Vec<u8> = all.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(sha256(&bytes), entry["sha256"], "{file} {name}");
            assert_eq!(all.first().map(|v| f64::from(*v)), entry["first"].as_f64());
            // Any piece is the same piece of the whole.
            let len = all.len();
            for range in [0..1, len - 1..len, len / 3..len / 3 * 2, 31..33, 5..5] {
                let piece = matrix.read(&files, "m", name, range.start as u64..range.end as u64);
                assert_eq!(piece.unwrap(), all[range], "{file} {name}");
            }
            let beyond = matrix.read(&files, "m", name, 0..len as u64 + 1).unwrap_err();
            assert_eq!(beyond.kind(), ErrorKind::Shape);
        }
        assert_eq!(matrix.values("token_embd.weight"), None);
    }
}

/// A matrix in the older form: name, calls, values.
fn legacy(entries: &[(&str, i32, &[f32])], tail: &[u8]) -> Vec<u8> {
    let int = |value: usize| i32::try_from(value).unwrap().to_le_bytes();
    let mut out = int(entries.len()).to_vec();
    for (name, calls, values) in entries {
        out.extend(int(name.len()));
        out.extend(name.as_bytes());
        out.extend(calls.to_le_bytes());
        out.extend(int(values.len()));
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    out.extend(tail);
    out
}

/// One tensor of a GGUF file: name, dimensions, values.
type Floats<'a> = (&'a str, &'a [u64], &'a [f32]);

/// A matrix in the newer form.
fn newer(tensors: &[Floats<'_>], edit: impl Fn(&mut Header)) -> Vec<u8> {
    let mut meta = Meta::new();
    meta.set("general.type", "imatrix");
    meta.set("imatrix.datasets", Value::Array(Array::String(vec![b"text".to_vec()])));
    meta.set("imatrix.chunk_count", 3u32);
    meta.set("imatrix.chunk_size", 128u32);
    let entry = |(name, dims, values): &Floats<'_>| TensorEntry {
        name: (*name).to_owned(),
        dims: dims.to_vec(),
        ggml_type: 0,
        len: 4 * values.len() as u64,
    };
    let mut header = Header { meta, tensors: tensors.iter().map(entry).collect() };
    edit(&mut header);
    let mut out = header.to_bytes().unwrap();
    for (.., values) in tensors {
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        out.resize(out.len().next_multiple_of(32), 0);
    }
    out
}

#[test]
fn experts_that_never_ran_count_everything_alike() {
    let sums: Floats<'_> = ("w.in_sum2", &[2, 3], &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    let bytes = newer(&[sums, ("w.counts", &[1, 3], &[2.0, 0.0, 4.0])], |_| {});
    let (files, matrix) = open(&bytes);
    let matrix = matrix.unwrap();
    assert_eq!(read_all(&files, &matrix, "w").unwrap(), [1.0, 2.0, 1.0, 1.0, 2.5, 3.0]);
    assert_eq!(matrix.read(&files, "m", "w", 3..5).unwrap(), [1.0, 2.5]);
    // One count for the whole stack.
    let (files, matrix) = open(&newer(&[sums, ("w.counts", &[1], &[2.0])], |_| {}));
    let all = read_all(&files, &matrix.unwrap(), "w").unwrap();
    assert_eq!(all, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // The older form: no calls, no division; and nothing behind the entries.
    let (files, matrix) =
        open(&legacy(&[("a", 0, &[3.0]), ("b", -1, &[5.0]), ("c", 2, &[5.0])], &[]));
    let matrix = matrix.unwrap();
    let values: Vec<f32> =
        ["a", "b", "c"].iter().map(|name| read_all(&files, &matrix, name).unwrap()[0]).collect();
    assert_eq!((values.as_slice(), matrix.dataset, matrix.chunks), (&[3.0, 5.0, 2.5][..], None, 0));
}

#[test]
fn only_what_is_wanted_is_read() {
    let values = vec![1.0f32; 1 << 16];
    let (files, matrix) = open(&legacy(&[("a", 1, &values), ("b", 1, &values)], &[]));
    let matrix = matrix.unwrap();
    assert!(files.1.replace(0) < 100);
    matrix.read(&files, "m", "b", 1000..1010).unwrap();
    assert_eq!(files.1.get(), 40);
    let sums: Floats<'_> = ("a.in_sum2", &[64, 1024], &values);
    let bytes = newer(&[sums, ("a.counts", &[1, 1024], &values[..1024])], |_| {});
    let (files, matrix) = open(&bytes);
    let matrix = matrix.unwrap();
    assert!(files.1.replace(0) < bytes.len() / 3);
    matrix.read(&files, "m", "a", 60..70).unwrap();
    assert_eq!(files.1.get(), 40 + 8);
}

/// Row groups of this width have 32 rows, so that the second of three holds rows of both experts.
#[test]
fn experts_take_their_own_weights_across_row_groups() {
    const COLS: u64 = 32_768;
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    let bytes = f32s(2 * 48 * COLS);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let names =
        ["experts.up", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"];
    let tensors = [
        (names[0], "F32", vec![2, 48, COLS], bytes.clone()),
        (names[1], "F32", vec![48, COLS], first.to_vec()),
        (names[2], "F32", vec![48, COLS], second.to_vec()),
    ];
    fs::write(at.join("m.safetensors"), safetensors(&tensors)).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": COLS, "intermediate_size": 48,
        "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 8
    });
    fs::write(at.join("config.json"), config.to_string()).unwrap();
    let targets = ["blk.0.ffn_up_exps.weight", "blk.0.ffn_up.weight", "blk.0.ffn_gate.weight"];
    let map: Vec<Json> = names
        .iter()
        .zip(targets)
        .map(|(name, target)| json!({"source": tensor_id(name), "target": target}))
        .collect();
    let config = json!({
        "tensor_map": map,
        "quantization": {"default_type": "q4_0", "scale_optimization": "standard"},
        "imatrix": "m.dat"
    });
    fs::write(at.join("e.json"), config.to_string()).unwrap();
    let mut random = gmat_tests::weights::Rng::new(3);
    let weights: Vec<f32> =
        (0..2 * COLS).map(|_| gmat_tests::weights::single(random.normal()).abs()).collect();
    let (a, b) = weights.split_at(weights.len() / 2);
    let entries = [(targets[0], 1, weights.as_slice()), (targets[1], 1, a), (targets[2], 1, b)];
    fs::write(at.join("m.dat"), legacy(&entries, &[])).unwrap();
    let import = ["import", "-q", "-m", "m.safetensors", "-o", ".", "--block-format", "raw"];
    gmat(at, &import).ok();
    let mut files = Vec::new();
    for (jobs, buffer) in [("1", "1"), ("2", "3")] {
        let args = ["export", "-m", ".", "-c", "e.json", "--no-tokenizer", "--jobs", jobs];
        let mut command = gmat_command(at, &args);
        finished(command.env("GMAT_BUFFER_SIZE", buffer).output().unwrap()).ok();
        files.push(fs::read(at.join("model.gguf")).unwrap());
    }
    assert!(files[0] == files[1], "bytes depend on threads");
    let gguf = Gguf::parse(&files[0]).unwrap();
    let data = |name: &str| {
        let tensor = gguf.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(tensor.ggml_type, 2, "{name}");
        let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
        &files[0][start..start + usize::try_from(tensor.elems().unwrap() / 32 * 18).unwrap()]
    };
    let (up, gate) = (data(targets[1]), data(targets[2]));
    assert!(data(targets[0]) == [up, gate].concat(), "experts differ from single matrices");
    // Weights do matter: with those of the other expert the bytes are others.
    fs::write(at.join("m.dat"), legacy(&[(targets[1], 1, b), (targets[2], 1, a)], &[])).unwrap();
    gmat(at, &["export", "-m", ".", "-c", "e.json", "--no-tokenizer", "-o", "other.gguf"]).ok();
    let other = fs::read(at.join("other.gguf")).unwrap();
    let swapped = Gguf::parse(&other).unwrap();
    let tensor = swapped.tensors.iter().find(|tensor| tensor.name == targets[1]).unwrap();
    let start = usize::try_from(swapped.data_start + tensor.offset).unwrap();
    assert!(&other[start..start + up.len()] != up);
}

fn refused(bytes: &[u8], part: &str) -> Error {
    let error = open(bytes).1.unwrap_err();
    assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
    assert!(error.to_string().contains("memory/m"), "{error}");
    error
}

#[test]
fn hostile_files_of_the_older_form() {
    let good = fs::read(data("data/quantize/moe.imatrix.dat")).unwrap();
    // Whole entries with nothing behind them are valid, too: the end of the last one.
    let end = good.len() - 4 - 4 - "corpus.txt".len();
    for cut in 0..good.len() {
        let result = open(&good[..cut]).1;
        assert_eq!(result.is_ok(), cut == end || cut == end + 4, "cut at {cut}");
    }
    for bit in 0..8 * 200 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Some flips change a name or a value; none may do worse than fail.
        if let (files, Ok(matrix)) = open(&bytes)
            && matrix.values("blk.0.attn_k.weight").is_some()
        {
            let _ = read_all(&files, &matrix, "blk.0.attn_k.weight").ok();
        }
    }
    let int = |value: i32| value.to_le_bytes().to_vec();
    refused(b"", "cut off");
    refused(b"hello, this is a text", "no importance matrix");
    for count in [0, -1, i32::MIN, i32::MAX, 1 << 20] {
        refused(&[int(count), vec![0; 100]].concat(), "entries");
    }
    for len in [0, -1, i32::MAX, 5000] {
        refused(&[int(1), int(len), vec![b'a'; 100]].concat(), "a name of");
    }
    for values in [0, -1, i32::MAX, 24] {
        let bytes = [int(1), int(1), b"a".to_vec(), int(1), int(values), vec![0; 80]].concat();
        refused(&bytes, &format!("`a` has `{values}` values"));
    }
    refused(&legacy(&[("a", 1, &[1.0; 8]), ("a", 1, &[1.0; 8])], &[]), "`a` occurs twice");
    let mut not_text = legacy(&[("a", 1, &[1.0; 8])], &[]);
    not_text[8] = 0xff;
    refused(&not_text, "not UTF-8");
    for tail in [&[1, 0, 0, 0, 9, 0][..], &[1, 0, 0], &[1, 0, 0, 0, 9, 0, 0, 0, b'x']] {
        refused(&legacy(&[("a", 1, &[1.0; 8])], tail), "cut off");
    }
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (-1.0, "-1")] {
        let (files, matrix) = open(&legacy(&[("a", 1, &[1.0, value, 1.0, 1.0])], &[]));
        let error = read_all(&files, &matrix.unwrap(), "a").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("value 1 is `{shown}`")) && text.contains("`a`"), "{text}");
    }
}

#[test]
fn hostile_files_of_the_newer_form() {
    let good = fs::read(data("data/quantize/moe.imatrix.gguf")).unwrap();
    // The last tensor has 16 bytes, padded to 32.
    for cut in 0..=good.len() {
        assert_eq!(open(&good[..cut]).1.is_ok(), cut >= good.len() - 16, "cut at {cut}");
    }
    for bit in 0..8 * 1248 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let (files, Ok(matrix)) = open(&bytes)
            && matrix.values("blk.0.attn_k.weight").is_some()
        {
            let _ = read_all(&files, &matrix, "blk.0.attn_k.weight").ok();
        }
    }
    let model = fs::read(data("data/quantize/moe.gguf")).unwrap();
    assert!(refused(&model, "no importance matrix").hint().unwrap().contains("llama-imatrix"));
    let sums: Floats<'_> = ("w.in_sum2", &[4, 2], &[1.0; 8]);
    let counts: Floats<'_> = ("w.counts", &[1, 2], &[1.0; 2]);
    let both = [sums, counts];
    for key in ["imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"] {
        refused(&newer(&both, |header| header.meta.remove(key)), key);
    }
    refused(&newer(&both, |header| header.meta.set("general.alignment", 64u32)), "alignment");
    refused(
        &newer(&both, |header| header.meta.set("imatrix.chunk_count", 1u64 << 40)),
        "chunk_count",
    );
    refused(&newer(&[sums], |_| {}), "no `w.counts`");
    refused(&newer(&[counts], |_| {}), "no `w.in_sum2`");
    refused(&newer(&[], |_| {}), "no entries");
    refused(&newer(&[(".in_sum2", &[1], &[1.0]), (".counts", &[1], &[1.0])], |_| {}), "no name");
    refused(&newer(&both, |header| header.tensors[0].ggml_type = 1), "type 1, expected F32");
    refused(&newer(&[sums, ("w.counts", &[1, 3], &[1.0; 3])], |_| {}), "2 matrices, but 3 counts");
    refused(&newer(&both, |header| header.tensors[1].dims = vec![1, 0]), "dimensions");
    for dims in [vec![1 << 20, 2], vec![1 << 62, 2], vec![1 << 40, 1 << 40]] {
        let lying = newer(&both, |header| header.tensors[0].dims.clone_from(&dims));
        assert_eq!(open(&lying).1.unwrap_err().kind(), ErrorKind::Malformed, "{dims:?}");
    }
    let count = |count: f32| newer(&[sums, ("w.counts", &[1, 2], &[1.0, count])], |_| {});
    for bad in [f32::NAN, f32::INFINITY] {
        let (files, matrix) = open(&count(bad));
        let error = read_all(&files, &matrix.unwrap(), "w").unwrap_err().to_string();
        assert!(error.contains("count 1 is") && error.contains("`w`"), "{error}");
    }
    let (files, matrix) = open(&count(f32::MIN_POSITIVE / 4.0));
    assert!(read_all(&files, &matrix.unwrap(), "w").unwrap_err().to_string().contains("`inf`"));
}

/// The data of a GGUF file in the order of `llama-quantize`: what is outside the layers, then layer
/// by layer, by name; every tensor padded.
pub(crate) fn data_in_reference_order(bytes: &[u8], len_of: impl Fn(u32, u64) -> u64) -> Vec<u8> {
    let gguf = Gguf::parse(bytes).unwrap();
    let mut tensors: BTreeMap<(Option<u64>, String), Vec<u8>> = BTreeMap::new();
    for tensor in &gguf.tensors {
        let layer = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
        let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
        let len = usize::try_from(len_of(tensor.ggml_type, tensor.elems().unwrap())).unwrap();
        let mut data = bytes[start..start + len].to_vec();
        data.resize(len.next_multiple_of(32), 0);
        tensors.insert((layer.map(|layer| layer.parse().unwrap()), tensor.name.clone()), data);
    }
    tensors.into_values().flatten().collect()
}
