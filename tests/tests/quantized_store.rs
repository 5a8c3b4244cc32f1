//! Tensors that are quantized already: kept in the store byte by byte, read by their codec.

use gmat_core::config::{ExportConfig, ImportConfig, tensor_id};
use gmat_core::export::{ExportOptions, ExportPlan};
use gmat_core::format::gguf::Gguf;
use gmat_core::import::ImportPlan;
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::quant::{QuantCx, QuantType};
use gmat_core::source::{Model, Shard, SourceTensor};
use gmat_core::store::{ModelFiles, Store, tensor_file};
use gmat_core::{DType, GgmlType, Registry, Result, Shape, TensorInfo};
use gmat_tests::memory::Memory;
use gmat_tests::weights::{Rng, single};

const NAME: &str = "model.embed_tokens.weight";
const BUDGET: Budget = Budget { in_flight: 4, memory: 1 << 30 };

fn registry() -> Registry {
    Registry::builtin(gmat_codecs::link()).unwrap()
}

/// Types that are made of blocks.
fn quantized(registry: &Registry) -> Vec<(GgmlType, &'static dyn QuantType)> {
    let quants = registry.quants().iter();
    let known = quants.filter_map(|quant| Some((GgmlType::from_name(quant.name())?, *quant)));
    known.filter(|(ty, _)| ty.is_quantized()).collect()
}

#[test]
fn codecs_agree_with_the_table_of_types() {
    let registry = registry();
    for quant in registry.quants() {
        let ty = GgmlType::from_name(quant.name()).unwrap();
        assert_eq!((u32::from(ty.id()), ty.block()), (quant.ggml_type(), quant.block()), "{ty:?}");
    }
    let all = GgmlType::ALL.iter().filter(|ty| ty.is_quantized());
    assert_eq!(quantized(&registry).len(), all.count());
}

/// Rows of that type, and their values as its codec has them.
fn rows(quant: &dyn QuantType, shape: [usize; 2]) -> (Vec<u8>, Vec<f32>) {
    let mut random = Rng::new(11);
    let values: Vec<f32> =
        (0..shape[0] * shape[1]).map(|_| single(random.normal() * 0.05)).collect();
    let ones = vec![1.0; shape[1]];
    let len = quant.block().len_of(values.len() as u64).unwrap();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    quant.quantize(&values, &QuantCx::standard(shape[1], Some(&ones)), &mut bytes).unwrap();
    let mut values = values;
    quant.dequantize(&bytes, &mut values).unwrap();
    (bytes, values)
}

fn model(dtype: DType, dims: &[u64], len: usize) -> Model {
    let shape = Shape::try_new(dims.to_vec()).unwrap();
    let info = TensorInfo { name: NAME.to_owned(), dtype, shape };
    Model {
        keys: None,
        shards: vec![Shard { name: "m.bin".to_owned(), len: 3 + len as u64 }],
        tensors: vec![SourceTensor::plain(info, 0, 3)],
        metadata: [].into(),
        notes: Vec::new(),
    }
}

fn import(model: &Model, bytes: &[u8], format: &str, dims: [usize; 2]) -> Result<Memory> {
    import_as(model, bytes, format, &llama(dims))
}

/// The config of a model with that embedding.
fn llama(dims: [usize; 2]) -> String {
    format!(
        r#"{{"architectures":["LlamaForCausalLM"],"hidden_size":{},"vocab_size":{},"num_hidden_layers":1,
           "num_attention_heads":1,"intermediate_size":4,"rms_norm_eps":1e-5,"max_position_embeddings":8}}"#,
        dims[1], dims[0]
    )
}

fn import_as(model: &Model, bytes: &[u8], format: &str, config: &str) -> Result<Memory> {
    let files = Memory::of([("m.bin", [b"abc", bytes].concat())]);
    let model_files = ModelFiles {
        config: Some(serde_json::value::RawValue::from_string(config.to_owned()).unwrap()),
        ..ModelFiles::default()
    };
    let config = ImportConfig { block_format: format.to_owned(), ..ImportConfig::default() };
    let plan = ImportPlan::new(model, &config, &registry())?;
    let mut store = Memory::default();
    plan.run(&files, model_files, None, None, &mut store, BUDGET, &mut Silent)?;
    Ok(store)
}

/// Exports a store; gives name, type id and data of every tensor, and the stated file type. With a
/// report as without, and nothing is lost.
fn export(store: &Store<'_>, default_type: &str, rest: &str) -> (Vec<(String, u32, Vec<u8>)>, u64) {
    let registry = registry();
    let comma = if rest.is_empty() { "" } else { "," };
    let config = format!(r#"{{"quantization":{{"default_type":"{default_type}"{comma}{rest}}}}}"#);
    let config = ExportConfig::parse(config.as_bytes()).unwrap();
    let options = ExportOptions { file_name: "out.gguf", ..ExportOptions::default() };
    let plan = ExportPlan::new(store, None, &config, options, &registry).unwrap();
    let (mut out, mut other) = (Memory::default(), Memory::default());
    plan.run(&mut out, BUDGET, &mut Silent, None).unwrap();
    let mut damages = Vec::new();
    plan.run(&mut other, BUDGET, &mut Silent, Some(&mut damages)).unwrap();
    assert!(out.files == other.files);
    assert!(damages.iter().all(|damage| damage.relative_rmse() == 0.0 && damage.elems > 0));
    let file = &out.files["out.gguf"];
    let gguf = Gguf::parse(file).unwrap();
    let tensors = gguf.tensors.iter().map(|tensor| {
        let ty = GgmlType::from_id(tensor.ggml_type).unwrap();
        let len = usize::try_from(ty.block().len_of(tensor.elems().unwrap()).unwrap()).unwrap();
        let start = usize::try_from(gguf.data_start + tensor.offset).unwrap();
        (tensor.name.clone(), tensor.ggml_type, file[start..start + len].to_vec())
    });
    let stated = gguf.meta.value("general.file_type").unwrap().as_u64().unwrap();
    (tensors.collect(), stated)
}

/// Rows that an architecture reorders, and experts that it stacks, move as blocks. Row groups and
/// heads do not line up.
#[test]
fn blocks_are_selected_and_stacked_as_they_are() {
    const COLS: usize = 1 << 16;
    let registry = registry();
    let q8_0 = registry.quant("q8_0").unwrap();
    let (heads, head) = (3usize, 10);
    let rows_of = heads * head;
    let (query, _) = rows(q8_0, [rows_of, COLS]);
    let (experts, _) = rows(q8_0, [3 * 8, COLS]);
    let row_len = COLS / 32 * 34;
    let mut tensors =
        vec![("model.layers.0.self_attn.q_proj.weight".to_owned(), rows_of, &query[..])];
    for (expert, bytes) in experts.chunks(8 * row_len).enumerate() {
        let name = format!("model.layers.0.block_sparse_moe.experts.{expert}.w1.weight");
        tensors.push((name, 8, bytes));
    }
    let mut all = b"abc".to_vec();
    let tensors: Vec<SourceTensor> = tensors
        .into_iter()
        .map(|(name, rows, bytes)| {
            let offset = all.len() as u64;
            all.extend_from_slice(bytes);
            let shape = Shape::try_new(vec![rows as u64, COLS as u64]).unwrap();
            let dtype = DType::Ggml(GgmlType::Q8_0);
            SourceTensor::plain(TensorInfo { name, dtype, shape }, 0, offset)
        })
        .collect();
    let shards = vec![Shard { name: "m.bin".to_owned(), len: all.len() as u64 }];
    let model = Model { shards, tensors, metadata: [].into(), keys: None, notes: Vec::new() };
    let config = format!(
        r#"{{"architectures":["MixtralForCausalLM"],"hidden_size":{COLS},"vocab_size":9,
           "num_hidden_layers":1,"num_attention_heads":{heads},"num_key_value_heads":{heads},
           "head_dim":{head},"intermediate_size":8,"num_local_experts":3,"num_experts_per_tok":1,
           "rms_norm_eps":1e-5,"max_position_embeddings":8}}"#
    );
    let memory = import_as(&model, &all[3..], "B8x8", &config).unwrap();
    let store = Store::open(&memory).unwrap();
    let (written, stated) = export(&store, "bf16", "");
    assert_eq!(stated, 32);
    let data = |name: &str| {
        let (_, ty, data) = written.iter().find(|(found, ..)| found == name).unwrap();
        assert_eq!(*ty, 8, "{name}");
        data
    };
    assert_eq!(*data("blk.0.ffn_gate_exps.weight"), experts);
    let row = |bytes: &[u8], row: usize| bytes[row * row_len..(row + 1) * row_len].to_vec();
    let permuted = data("blk.0.attn_q.weight");
    for at in 0..rows_of {
        let (first, within) = (at - at % head, at % head);
        let from = first + within % 2 * (head / 2) + within / 2;
        assert_eq!(row(permuted, at), row(&query, from), "row {at}");
    }
}

#[test]
fn blocks_go_through_the_store_unchanged() {
    let registry = registry();
    for (ty, quant) in quantized(&registry) {
        // More than one row group of a million values would be slow for some types; rows of the
        // longest block are whole blocks of every type.
        let dims = [6, 512];
        let (bytes, values) = rows(quant, dims);
        let model = model(DType::Ggml(ty), &[6, 512], bytes.len());
        for format in ["B8x8", "raw", "DualRow8x4"] {
            let memory = import(&model, &bytes, format, dims).unwrap();
            let store = Store::open(&memory).unwrap();
            let id = tensor_id(NAME);
            let record = &store.metadata.tensors[&id];
            assert_eq!((record.dtype.as_str(), record.block_format.as_str()), (ty.name(), "raw"));
            assert_eq!(record.source_blake3, blake3::hash(&bytes).to_hex().to_string());
            let max = values.iter().fold(0f32, |max, v| max.max(v.abs()));
            assert_eq!(record.max_abs, max, "{ty:?}");
            let index = store.index(id, record).unwrap();
            assert_eq!(index.dtype, DType::Ggml(ty));
            assert_eq!(memory.files[&tensor_file(id)][8..8 + bytes.len()], bytes);

            let (written, stated) = export(&store, "f16", "");
            assert_eq!(written, [("token_embd.weight".to_owned(), ty.id().into(), bytes.clone())]);
            assert_eq!(stated, if ty == GgmlType::Mxfp4 { 38 } else { 1 });
            let (written, _) = export(&store, "q4_0", &format!(r#""per_tensor":{{"{id}":"f32"}}"#));
            let floats: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert!(written[0].1 == 0 && written[0].2 == floats, "{ty:?} in {format}");
        }
    }
}

#[test]
fn a_vector_of_blocks_is_cut_between_blocks() {
    let registry = registry();
    let (bytes, values) = rows(registry.quant("q8_0").unwrap(), [1, 96]);
    let model = model(DType::Ggml(GgmlType::Q8_0), &[96], bytes.len());
    let memory = import(&model, &bytes, "raw", [1, 96]).unwrap();
    let store = Store::open(&memory).unwrap();
    let (id, record) = store.metadata.tensors.first_key_value().unwrap();
    assert_eq!(store.index(*id, record).unwrap().matrix(), (3, 32));
    assert_eq!(record.nonzero, values.iter().filter(|v| **v != 0.0).count() as u64);
}

#[test]
fn rows_that_are_not_whole_blocks_are_refused() {
    for dims in [&[4, 48][..], &[2, 16], &[80]] {
        let model = model(DType::Ggml(GgmlType::Q8_0), dims, 1000);
        let error = import(&model, &[0; 1000], "raw", [4, 48]).unwrap_err().to_string();
        assert!(error.contains("not whole blocks of 32 `q8_0`"), "{error}");
    }
}
