//! Tensors that an export stacks, splits, reorders and transposes: whatever the sizes, all elements
//! arrive where the definition says, and the bytes do not depend on how the work is cut up.

use gmat_core::arch::{Change, ModelArch, Part, Placement, Slot, Take, View};
use gmat_core::config::{ExportConfig, ImportConfig, ModelConfig};
use gmat_core::export::{ExportOptions, ExportPlan};
use gmat_core::format::gguf::{Gguf, Meta};
use gmat_core::import::ImportPlan;
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::source::{Model, Shard, SourceTensor};
use gmat_core::store::{ModelFiles, Store};
use gmat_core::{DType, Registry, Result, Shape, TensorInfo};
use gmat_tests::memory::Memory;

/// Rows of a tensor: names say what becomes of it.
struct Views;

static VIEWS: Views = Views;

const EXPERTS: u64 = 3;

fn part(name: &str, slot: Slot, view: View) -> Part {
    Part { slot, ..Part::whole(name) }.viewed(view)
}

impl ModelArch for Views {
    fn name(&self) -> &'static str {
        "views"
    }

    fn hf_names(&self) -> &'static [&'static str] {
        &["ViewsForCausalLM"]
    }

    fn place(&self, tensor: &str, _: &ModelConfig) -> Result<Option<Placement>> {
        let halves = |at| View::WHOLE.take(Take::Share { at, of: 2 });
        let parts = match tensor {
            "whole" => vec![Part::whole("o.whole.weight")],
            "halves" => vec![
                part("o.low.weight", Slot::ONLY, halves(0)),
                part("o.high.weight", Slot::ONLY, halves(1)),
            ],
            "odd" => {
                let view = View::WHOLE.take(Take::Every { first: 1, step: 2 });
                vec![part("o.odd.weight", Slot::ONLY, view)]
            }
            "heads" => vec![part("o.heads.weight", Slot::ONLY, View::WHOLE.interleaved(4))],
            "turned" => vec![part("o.turned.weight", Slot::ONLY, View::WHOLE.transposed())],
            "mla" => {
                let cut =
                    |first, count| View::WHOLE.cut(8).take(Take::Range { first, count, of: 12 });
                vec![
                    part("o.k.weight", Slot::ONLY, cut(0, 8).transposed()),
                    part("o.v.weight", Slot::ONLY, cut(8, 4)),
                ]
            }
            "qkv" => {
                let third = |at| {
                    let take = Take::Range { first: 2 * at, count: 2, of: 6 };
                    part(
                        "o.qkv.weight",
                        Slot::following(at, 3),
                        View::WHOLE.cut_and_merge(4).take(take),
                    )
                };
                vec![third(0), third(1), third(2)]
            }
            "norm" => {
                vec![Part { change: Change::AddOne, ..Part::whole("o.norm.weight") }]
            }
            "bias" => {
                let view = View::WHOLE.of_vectors().take(Take::Every { first: 0, step: 2 });
                vec![part("o.bias", Slot::ONLY, view)]
            }
            _ => {
                let number = tensor.strip_prefix("expert").and_then(|n| n.parse().ok()).unwrap();
                vec![part("o.experts.weight", Slot::stacked(number, EXPERTS), View::WHOLE)]
            }
        };
        Ok(Some(Placement::Parts(parts)))
    }

    fn metadata(&self, _: &ModelConfig, _: &mut Meta) -> Result<()> {
        Ok(())
    }
}

/// The source tensors, with their shapes; `scale` makes some of them larger than a row group.
fn tensors(scale: u64) -> Vec<(&'static str, Vec<u64>)> {
    vec![
        ("whole", vec![6 * scale, 64]),
        ("halves", vec![2, 6 * scale, 64]),
        ("odd", vec![2, 4 * scale, 32]),
        ("heads", vec![16 * scale, 64]),
        ("turned", vec![2, 40 * scale, 32 * scale]),
        ("mla", vec![96, 32 * scale]),
        ("qkv", vec![24, 32 * scale]),
        ("norm", vec![50 * scale]),
        ("bias", vec![4, 30 * scale]),
        ("expert0", vec![4 * scale, 32]),
        ("expert1", vec![4 * scale, 32]),
        ("expert2", vec![4 * scale, 32]),
    ]
}

/// The value of an element: which tensor, and which place in it.
fn value(tensor: usize, at: u64) -> f32 {
    // Exact in 24 bits for the sizes here, and different for all elements of a tensor.
    let number = at * 16 + tensor as u64;
    f32::from_bits(0x3f00_0000 + u32::try_from(number).unwrap())
}

fn import(scale: u64) -> Memory {
    let mut bytes = Vec::new();
    let mut sources = Vec::new();
    for (number, (name, dims)) in tensors(scale).into_iter().enumerate() {
        let shape = Shape::try_new(dims).unwrap();
        let offset = bytes.len() as u64;
        for at in 0..shape.elems() {
            bytes.extend(value(number, at).to_le_bytes());
        }
        let info = TensorInfo { name: name.to_owned(), dtype: DType::F32, shape };
        sources.push(SourceTensor::plain(info, 0, offset));
    }
    let shards = vec![Shard { name: "m.bin".to_owned(), len: bytes.len() as u64 }];
    let model =
        Model { shards, tensors: sources, metadata: [].into(), notes: Vec::new(), keys: None };
    let config = r#"{"architectures":["ViewsForCausalLM"]}"#.to_owned();
    let model_files = ModelFiles {
        config: Some(serde_json::value::RawValue::from_string(config).unwrap()),
        ..ModelFiles::default()
    };
    let config = ImportConfig { block_format: "raw".to_owned(), ..ImportConfig::default() };
    let registry = registry();
    let plan = ImportPlan::new(&model, &config, &registry).unwrap();
    let files = Memory::of([("m.bin", bytes)]);
    let mut store = Memory::default();
    let budget = Budget { in_flight: 3, memory: 1 << 30 };
    plan.run(&files, model_files, None, None, &mut store, budget, &mut Silent).unwrap();
    store
}

fn registry() -> Registry {
    let mut registry = Registry::builtin(gmat_codecs::link()).unwrap();
    registry.add_arch(&VIEWS).unwrap();
    registry
}

fn export(memory: &Memory, in_flight: usize) -> Vec<u8> {
    let store = Store::open(memory).unwrap();
    let config = ExportConfig::parse(br#"{"quantization":{"default_type":"f32"}}"#).unwrap();
    let options = ExportOptions { file_name: "out.gguf", ..ExportOptions::default() };
    let registry = registry();
    let plan = ExportPlan::new(&store, None, &config, options, &registry).unwrap();
    let mut out = Memory::default();
    plan.run(&mut out, Budget { in_flight, memory: 1 << 30 }, &mut Silent, None).unwrap();
    out.files.remove("out.gguf").unwrap()
}

/// A tensor of the file: dimensions, slowest first, and values.
fn read(file: &[u8], name: &str) -> (Vec<u64>, Vec<f32>) {
    let gguf = Gguf::parse(file).unwrap();
    let tensor = gguf.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
    let len = usize::try_from(tensor.elems().unwrap() * 4).unwrap();
    let values = file[start..start + len].as_chunks::<4>().0;
    let dims = tensor.dims.iter().rev().copied().collect();
    (dims, values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Compares a tensor of up to three dimensions with what `source` says of each of its elements:
/// number of the source tensor, and place in it.
#[track_caller]
fn check(file: &[u8], name: &str, dims: [u64; 3], source: impl Fn(u64, u64, u64) -> (usize, u64)) {
    let (found_dims, values) = read(file, name);
    let wanted: Vec<u64> = dims.into_iter().filter(|&dim| dim != 0).collect();
    assert_eq!(found_dims, wanted, "{name}");
    let [slices, rows, cols] = dims.map(|dim| dim.max(1));
    let mut found = values.iter();
    for (slice, row, col) in (0..slices)
        .flat_map(|slice| (0..rows).map(move |row| (slice, row)))
        .flat_map(|(slice, row)| (0..cols).map(move |col| (slice, row, col)))
    {
        let (tensor, at) = source(slice, row, col);
        assert_eq!(found.next(), Some(&value(tensor, at)), "{name} [{slice}, {row}, {col}]");
    }
}

#[test]
fn every_element_arrives_whatever_the_sizes() {
    for scale in [1, 3, 28] {
        let memory = import(scale);
        let file = export(&memory, 4);
        assert!(file == export(&memory, 1), "scale {scale}: bytes depend on the work under way");
        let (n, c) = (6 * scale, 64);
        check(&file, "o.whole.weight", [0, n, c], |_, row, col| (0, row * c + col));
        let half = n / 2;
        check(&file, "o.low.weight", [2, half, c], |s, row, col| (1, (s * n + row) * c + col));
        check(&file, "o.high.weight", [2, half, c], |s, row, col| {
            (1, (s * n + half + row) * c + col)
        });
        let n = 4 * scale;
        check(&file, "o.odd.weight", [2, n / 2, 32], |s, row, col| {
            (2, (s * n + 2 * row + 1) * 32 + col)
        });
        let head = 4 * scale;
        check(&file, "o.heads.weight", [0, 4 * head, 64], |_, row, col| {
            let (start, within) = (row - row % head, row % head);
            (3, (start + (within % 2) * (head / 2) + within / 2) * 64 + col)
        });
        let (rows, cols) = (40 * scale, 32 * scale);
        check(&file, "o.turned.weight", [2, cols, rows], |s, row, col| {
            (4, (s * rows + col) * cols + row)
        });
        check(&file, "o.k.weight", [8, cols, 8], |s, row, col| (5, (s * 12 + col) * cols + row));
        check(&file, "o.v.weight", [8, 4, cols], |s, row, col| {
            (5, (s * 12 + 8 + row) * cols + col)
        });
        check(&file, "o.qkv.weight", [0, 24, cols], |_, row, col| {
            let (third, slice, within) = (row / 8, row % 8 / 2, row % 2);
            (6, (slice * 6 + third * 2 + within) * cols + col)
        });
        let (dims, values) = read(&file, "o.norm.weight");
        assert_eq!(dims, [50 * scale]);
        for (at, found) in (0..).zip(&values) {
            assert_eq!(*found, value(7, at) + 1.0, "norm {at}");
        }
        let n = 30 * scale;
        check(&file, "o.bias", [0, 4, n / 2], |_, row, col| (8, row * n + 2 * col));
        let n = 4 * scale;
        check(&file, "o.experts.weight", [EXPERTS, n, 32], |s, row, col| {
            (9 + usize::try_from(s).unwrap(), row * 32 + col)
        });
    }
}
