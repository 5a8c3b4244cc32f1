//! A store without weights plans the same exports as the store itself.

use std::fs;
use std::path::Path;

use gmat_core::config::{ExportConfig, ImportConfig, ModelConfig, metadata};
use gmat_core::export::{ExportOptions, ExportPlan};
use gmat_core::format::tokens;
use gmat_core::import::{ImportPlan, Tokenizer, model_files};
use gmat_core::io::{Files, read_small};
use gmat_core::pipeline::Budget;
use gmat_core::progress::Silent;
use gmat_core::source::{Model, Pick, gguf_in};
use gmat_core::store::{Store, TOKENS};
use gmat_core::{ErrorKind, Registry};
use gmat_tests::memory::Memory;

use crate::support::{data, one, safetensors};

const BUDGET: Budget = Budget { in_flight: 4, memory: 1 << 30 };

/// The files of a folder.
fn load(folder: &Path) -> Memory {
    let mut files = Memory::default();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

/// What is planned: names, types and sizes of tensors, files, and what there is to say.
fn planned(files: &dyn Files, config: &ExportConfig, registry: &Registry) -> String {
    let store = Store::open(files).unwrap();
    let vocab = read_small(files, TOKENS).unwrap().map(|bytes| tokens::read(&bytes).unwrap());
    let options = ExportOptions { file_name: "m.gguf", ..Default::default() };
    let plan = ExportPlan::new(&store, vocab.as_ref(), config, options, registry).unwrap();
    let files: Vec<_> = plan.files().collect();
    format!("{:?} {files:?} {:?} {:?}", plan.decisions, plan.notes, plan.warnings)
}

#[test]
fn plans_are_those_of_the_store() {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    for name in ["llama3", "mixtral", "gemma2", "deepseek_v3_fp8", "gpt_oss"] {
        let files = load(&data("data/oracle").join(name));
        let config_json = read_small(&files, "config.json").unwrap();
        let config = ModelConfig::parse(config_json.as_ref().unwrap()).unwrap();
        let mut model = Model::open(&files, Pick::Folder).unwrap();
        model.resolve(&files, Some(&config)).unwrap();
        let metadata = metadata::extract(Some(&config), &model.metadata);
        let beside = model_files(&files, config_json, Some(name.to_owned())).unwrap();
        let mut notes = Vec::new();
        let tokenizer =
            Tokenizer::read(&files, &registry, Some(&config), None, &mut notes).unwrap();
        let tokens = tokenizer.as_ref().map(|tokenizer| tokenizer.bytes.as_slice());
        for block in ["B8x8", "raw"] {
            let config = ImportConfig {
                block_format: block.to_owned(),
                metadata: metadata.clone(),
                ..Default::default()
            };
            let plan = ImportPlan::new(&model, &config, &registry).unwrap();
            let draft = plan.draft(beside.clone(), tokens).unwrap();
            let mut store = Memory::default();
            plan.run(&files, beside.clone(), tokens, None, &mut store, BUDGET, &mut Silent)
                .unwrap();
            let bytes: usize = store.files.values().map(Vec::len).sum();
            assert!(bytes as u64 <= draft.bytes() + 4096, "{name}: {bytes}, {}", draft.bytes());
            for ty in ["q4_k_m", "q8_0", "keep"] {
                let mut config = ExportConfig { shard_size: Some(500_000), ..Default::default() };
                config.quantization.default_type = ty.into();
                let of = |files: &dyn Files| planned(files, &config, &registry);
                assert_eq!(of(&draft), of(&store), "{name} {block} {ty}");
            }
        }
    }
}

#[test]
fn weights_of_a_draft_cannot_be_read() {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let mut files = Memory::default();
    files.files.insert("m.safetensors".to_owned(), safetensors(&[one("a.weight")]));
    assert_eq!(gguf_in(&files).unwrap(), None);
    let model = Model::open(&files, Pick::Folder).unwrap();
    let plan = ImportPlan::new(&model, &ImportConfig::default(), &registry).unwrap();
    let draft = plan.draft(Default::default(), None).unwrap();
    let store = Store::open(&draft).unwrap();
    let options =
        ExportOptions { arch: Some("generic"), file_name: "m.gguf", ..Default::default() };
    let config = ExportConfig::default();
    let plan = ExportPlan::new(&store, None, &config, options, &registry).unwrap();
    let mut out = Memory::default();
    let error = plan.run(&mut out, BUDGET, &mut Silent, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.message().contains("has not been written yet"), "{error:?}");
}
