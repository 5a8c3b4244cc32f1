//! Architectures and general metadata against what the reference converter made of small models.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gmat_core::arch::{Join, ModelArch, Part, Placement, Slot, View, choose};
use gmat_core::config::ModelConfig;
use gmat_core::convert::to_f32;
use gmat_core::format::gguf::{Array, Meta, Value};
use gmat_core::general::{self, ModelFacts, NameParts, Parameters};
use gmat_core::{DType, ErrorKind, Registry, Shape};
use safetensors::SafeTensors;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

const MODELS: [&str; 11] = [
    "llama3",
    "llama2",
    "mistral",
    "qwen2",
    "qwen3",
    "mixtral",
    "qwen3_moe",
    "gemma2",
    "phi3",
    "deepseek_v3",
    "bert",
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/oracle")
}

fn json_file(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn config(json: &Json) -> ModelConfig {
    ModelConfig::from_map(json.as_object().unwrap().clone())
}

fn arch_of(config: &ModelConfig) -> &'static dyn ModelArch {
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    choose(registry.archs(), config).unwrap()
}

/// A tensor of the file: dimensions (slowest first) and F32 values.
pub(crate) type Tensors = BTreeMap<String, (Vec<u64>, Vec<f32>)>;

/// A part of a tensor: its place, dimensions (slowest first) and values.
type Own = (Slot, Vec<u64>, Vec<f32>);

/// What an export at F32 would hold.
pub(crate) fn exported(arch: &dyn ModelArch, config: &ModelConfig, file: &[u8]) -> Tensors {
    let mut parts: BTreeMap<String, Vec<Own>> = BTreeMap::new();
    for (source, view) in SafeTensors::deserialize(file).unwrap().tensors() {
        let own = match arch.place(&source, config).unwrap() {
            Some(Placement::Parts(own)) => own,
            Some(Placement::Drop(_)) => continue,
            other => panic!("{source}: {other:?}"),
        };
        let dims: Vec<u64> = view.shape().iter().map(|&dim| dim as u64).collect();
        let dtype = DType::from_name(&view.dtype().to_string()).unwrap();
        let mut values = vec![0.0; view.shape().iter().product()];
        to_f32(dtype, view.data(), &mut values).unwrap();
        for part in own {
            let taken = part.view.of(&Shape::try_new(dims.clone()).unwrap()).unwrap();
            let elems = taken.shape().elems();
            let mut moved = vec![f32::NAN; usize::try_from(elems).unwrap()];
            taken.copies(&(0..values.len() as u64), &(0..elems), |copy| {
                for i in 0..copy.len {
                    let at = |place: u64| usize::try_from(place).unwrap();
                    moved[at(copy.to + i * copy.stride)] = values[at(copy.from + i)];
                }
            });
            part.change.apply(&mut moved);
            let dims = taken.shape().dims().to_vec();
            parts.entry(part.name).or_default().push((part.slot, dims, moved));
        }
    }
    let mut out = Tensors::new();
    for (name, mut parts) in parts {
        parts.sort_by_key(|(slot, ..)| slot.at);
        let at: Vec<u64> = parts.iter().map(|(slot, ..)| slot.at).collect();
        let slot = parts[0].0;
        assert_eq!(at, (0..slot.of).collect::<Vec<_>>(), "{name}");
        let mut dims = parts[0].1.clone();
        match slot.join {
            Join::Stack => dims.insert(0, slot.of),
            Join::Follow => dims[0] = parts.iter().map(|(_, dims, _)| dims[0]).sum(),
        }
        out.insert(name, (dims, parts.into_iter().flat_map(|(.., values)| values).collect()));
    }
    for generated in arch.generated(config).unwrap() {
        let dims = vec![generated.values.len() as u64];
        assert!(out.insert(generated.name.clone(), (dims, generated.values)).is_none());
    }
    out
}

fn sha256(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn check_tensors(model: &str, ours: &Tensors, oracle: &Json) {
    let expected = oracle["tensors"].as_array().unwrap();
    let names: Vec<&str> = ours.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = expected.iter().map(|t| t["name"].as_str().unwrap()).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "{model}");
    for tensor in expected {
        let name = tensor["name"].as_str().unwrap();
        let (dims, values) = &ours[name];
        let ggml: Vec<u64> = dims.iter().rev().copied().collect();
        assert_eq!(json!(ggml), tensor["shape"], "{model} {name}");
        match tensor["values"].as_array() {
            Some(expected) => {
                assert_eq!(values.len(), expected.len(), "{model} {name}");
                for (value, expected) in values.iter().zip(expected) {
                    let expected = expected.as_f64().unwrap();
                    let error = (f64::from(*value) / expected - 1.0).abs();
                    assert!(error < 1e-6, "{model} {name}: {value} {expected}");
                }
            }
            None => assert_eq!(json!(sha256(values)), tensor["sha256"], "{model} {name}"),
        }
    }
}

/// A value in the form the oracle has it.
fn as_oracle(value: &Value) -> Json {
    let strings = |list: &[Vec<u8>]| -> Vec<String> {
        list.iter().map(|text| String::from_utf8(text.clone()).unwrap()).collect()
    };
    match value {
        Value::U32(v) => json!({"type": "UINT32", "value": v}),
        Value::I32(v) => json!({"type": "INT32", "value": v}),
        Value::F32(v) => json!({"type": "FLOAT32", "value": f64::from(*v)}),
        Value::Bool(v) => json!({"type": "BOOL", "value": v}),
        Value::String(_) => json!({"type": "STRING", "value": value.as_str().unwrap()}),
        Value::Array(Array::String(list)) => {
            json!({"type": "ARRAY", "elem": "STRING", "value": strings(list)})
        }
        other => panic!("{other:?}"),
    }
}

/// Keys of the export plan and of the tokenizer, which are not at issue here.
fn elsewhere(key: &str) -> bool {
    key.starts_with("tokenizer.")
        || ["general.file_type", "general.quantization_version"].contains(&key)
}

fn check_keys(model: &str, meta: &Meta, oracle: &Json) {
    let ours: BTreeMap<&str, Json> =
        meta.entries().iter().map(|(key, value)| (key.as_str(), as_oracle(value))).collect();
    let kv = oracle["kv"].as_object().unwrap().iter();
    let full: BTreeMap<&str, Json> = kv
        .filter(|(key, _)| !elsewhere(key))
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    // The config as written, without what the model's class fills in, is as good.
    let plain = &oracle["with_plain_config_json"];
    assert_eq!(plain["kv_changed"], json!({}), "{model}");
    assert_eq!(plain["kv_only_here"], json!({}), "{model}");
    let missing = plain["kv_missing_here"].as_array().unwrap();
    let mut other = full.clone();
    other.retain(|key, _| !missing.contains(&json!(key)));
    if ours != other {
        assert_eq!(ours, full, "{model}");
    }
}

#[test]
fn oracle_models() {
    for model in MODELS {
        let dir = data().join(model);
        let oracle = json_file(&dir.join("oracle.json"));
        let mut config = config(&json_file(&dir.join("config.json")));
        for path in ["modules.json", "1_Pooling/config.json"] {
            if dir.join(path).is_file() {
                config = config.with_beside(path, json_file(&dir.join(path)));
            }
        }
        let arch = arch_of(&config);
        assert_eq!(json!(arch.name()), oracle["arch"], "{model}");
        let file = fs::read(dir.join("model.safetensors")).unwrap();
        let tensors = exported(arch, &config, &file);
        check_tensors(model, &tensors, &oracle);

        let mut parameters = Parameters::default();
        tensors.iter().for_each(|(name, (dims, _))| parameters.add(name, dims));
        let readme = fs::read_to_string(dir.join("README.md")).ok();
        let generation = fs::read(dir.join("generation_config.json")).unwrap();
        let facts = ModelFacts {
            architecture: arch.name(),
            dir_name: Some(model),
            config: &config,
            generation_config: Some(&generation),
            model_card: readme.as_deref(),
            parameters,
        };
        let mut meta = Meta::new();
        assert_eq!(general::write(&facts, &mut meta).unwrap(), Vec::<String>::new(), "{model}");
        arch.metadata(&config, &mut meta).unwrap();
        check_keys(model, &meta, &oracle);
    }
}

#[test]
fn names_of_many_directories() {
    let names = json_file(&data().join("metadata_names.json"));
    let cases = names["from_directory_name"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let parts = NameParts::of(
            case["dir_name"].as_str().unwrap(),
            case["total_params"].as_u64().unwrap(),
        );
        let ours = [
            ("name", parts.name.as_deref().map(general::title)),
            ("basename", parts.basename),
            ("finetune", parts.finetune),
            ("version", parts.version),
            ("size_label", parts.size_label),
        ];
        for (key, value) in ours {
            assert_eq!(value.as_deref(), case[key].as_str(), "{key} of {case}");
        }
    }
    for case in names["size_label"].as_array().unwrap() {
        let number = |key: &str| case[key].as_i64().unwrap().unsigned_abs();
        let label = general::size_label(
            number("total"),
            number("shared"),
            number("expert"),
            number("count"),
        );
        assert_eq!(json!(label), case["label"], "{case}");
    }
}

/// The config of a small model with some keys changed; null removes one.
fn changed(model: &str, changes: &Json) -> ModelConfig {
    let mut json = json_file(&data().join(model).join("config.json"));
    let keys = json.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        keys.insert(key.clone(), value.clone());
        keys.retain(|_, value| !value.is_null());
    }
    config(&json)
}

fn keys_of(arch: &dyn ModelArch, config: &ModelConfig) -> Vec<(String, Value)> {
    let mut meta = Meta::new();
    arch.metadata(config, &mut meta).unwrap();
    meta.entries().to_vec()
}

#[test]
fn new_style_configs_give_the_same_file() {
    let old = changed("llama3", &json!({}));
    let mut rope = json_file(&data().join("llama3/config.json"))["rope_scaling"].clone();
    rope["rope_theta"] = json!(500_000.0);
    let new = changed(
        "llama3",
        &json!({"rope_scaling": null, "rope_theta": null, "torch_dtype": null,
            "rope_parameters": rope, "dtype": "bfloat16"}),
    );
    let arch = arch_of(&new);
    assert_eq!(keys_of(arch, &new), keys_of(arch, &old));
    assert_eq!(arch.generated(&new).unwrap(), arch.generated(&old).unwrap());
    assert_eq!(arch.generated(&new).unwrap().len(), 1);
}

#[test]
fn wrappers_are_their_text_models() {
    let text = json_file(&data().join("qwen2/config.json"));
    let plain = config(&text);
    let mut unnamed = text.clone();
    unnamed["architectures"] = Json::Null;
    for text_config in [text, unnamed] {
        let wrapper = config(&json!({"architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava", "vision_config": {"hidden_size": 7}, "text_config": text_config}));
        let arch = arch_of(&wrapper);
        assert_eq!(arch.name(), "qwen2");
        assert_eq!(keys_of(arch, &wrapper), keys_of(arch, &plain));
    }
    let foreign = config(&json!({"architectures": ["OtherForConditionalGeneration"],
        "text_config": {"model_type": "llama", "architectures": ["OtherForCausalLM"]}}));
    let registry = Registry::builtin(gmat_codecs::link()).unwrap();
    let error = choose(registry.archs(), &foreign).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("OtherForCausalLM"), "{error}");
}

#[test]
fn heads_of_queries_and_keys_decide_the_order_of_rows() {
    let config = changed("llama3", &json!({"num_attention_heads": 8, "num_key_value_heads": 2}));
    let arch = arch_of(&config);
    let view = |tensor: &str| match arch.place(tensor, &config).unwrap() {
        Some(Placement::Parts(parts)) => parts[0].view,
        other => panic!("{other:?}"),
    };
    for leaf in ["weight", "bias"] {
        let of = |projection: &str| view(&format!("model.layers.1.self_attn.{projection}.{leaf}"));
        assert_eq!(of("q_proj"), View::WHOLE.interleaved(8));
        assert_eq!(of("k_proj"), View::WHOLE.interleaved(2));
        assert_eq!(of("v_proj"), View::WHOLE);
        assert_eq!(of("o_proj"), View::WHOLE);
    }
    let qwen = changed("qwen2", &json!({}));
    let placed = arch_of(&qwen).place("model.layers.0.self_attn.q_proj.weight", &qwen).unwrap();
    let name = "blk.0.attn_q.weight".to_owned();
    assert_eq!(placed, Some(Placement::Parts(vec![Part::whole(name)])));
}

#[test]
fn what_a_file_could_not_hold_is_refused() {
    for (model, changes, word) in [
        ("qwen3", json!({"num_local_experts": 8}), "num_local_experts"),
        ("qwen3", json!({"num_experts": 4}), "num_experts"),
        ("qwen2", json!({"n_routed_experts": 1}), "n_routed_experts"),
        ("qwen3", json!({"hidden_act": "gelu"}), "hidden_act"),
        ("llama2", json!({"draft_vocab_size": 9}), "draft_vocab_size"),
        ("qwen3", json!({"rope_scaling": {"rope_type": "llama3"}}), "llama3"),
        ("qwen3", json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("gemma2", json!({"query_pre_attn_scalar": 40}), "query_pre_attn_scalar"),
        ("gemma2", json!({"use_bidirectional_attention": true}), "use_bidirectional_attention"),
        ("gemma2", json!({"hidden_act": "relu"}), "hidden_act"),
        ("gemma2", json!({"layer_types": ["chunked_attention", "x"]}), "layer_types"),
        ("phi3", json!({"head_dim": 32}), "head_dim"),
        ("phi3", json!({"rope_scaling": {"rope_type": "llama3"}}), "rope_type"),
        (
            "llama3",
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1],
                "long_factor": [1]}}),
            "longrope",
        ),
        ("deepseek_v3", json!({"attention_bias": true}), "attention_bias"),
        ("gpt_oss", json!({"swiglu_limit": 5.0}), "swiglu_limit"),
        ("gpt_oss", json!({"layer_types": ["full_attention"]}), "layer_types"),
        (
            "qwen3_moe",
            json!({"architectures": ["Qwen2MoeForCausalLM"], "norm_topk_prob": true}),
            "norm_topk_prob",
        ),
        ("qwen3_moe", json!({"norm_topk_prob": false}), "norm_topk_prob"),
        ("qwen3_moe", json!({"mlp_only_layers": [0]}), "mlp_only_layers"),
        ("qwen3_moe", json!({"decoder_sparse_step": 2}), "decoder_sparse_step"),
        ("bert", json!({"hidden_act": "relu"}), "hidden_act"),
        ("bert", json!({"position_embedding_type": "relative_key"}), "position_embedding_type"),
    ] {
        let config = changed(model, &changes);
        let error = arch_of(&config).metadata(&config, &mut Meta::new()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{model} {changes}: {error}");
        assert!(error.to_string().contains(word), "{model} {changes}: {error}");
    }
}

#[test]
fn hostile_configs_are_errors_that_name_the_key() {
    for model in MODELS {
        for (changes, word) in [
            (json!({"num_attention_heads": 0}), "num_attention_heads"),
            (json!({"num_key_value_heads": 0}), "num_key_value_heads"),
            (json!({"num_key_value_heads": 3}), "num_key_value_heads"),
            (json!({"num_attention_heads": 18_446_744_073_709_551_615u64}), "num_attention_heads"),
            (
                json!({"num_attention_heads": 7, "num_key_value_heads": 7, "head_dim": -2}),
                "head_dim",
            ),
            (json!({"head_dim": 15}), "head_dim"),
            (json!({"hidden_size": "64"}), "hidden_size"),
            (json!({"num_hidden_layers": 0}), "num_hidden_layers"),
            (json!({"rms_norm_eps": "small"}), "rms_norm_eps"),
            (json!({"rope_theta": 0}), "rope_theta"),
        ] {
            // Models without rotary embeddings or key heads ignore what is about them.
            let key = changes.as_object().unwrap().keys().next().unwrap();
            let original = json_file(&data().join(model).join("config.json"));
            if model == "bert" && original.get(key).is_none() {
                continue;
            }
            let config = changed(model, &changes);
            let arch = arch_of(&config);
            let error = arch.metadata(&config, &mut Meta::new()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{model} {changes}: {error}");
            assert!(error.to_string().contains(word), "{model} {changes}: {error}");
        }
    }
}

/// Names and sizes of the parts that tensors become, in order.
fn parts_of(config: &ModelConfig, tensor: &str, dims: &[u64]) -> Vec<(String, Vec<u64>)> {
    let shape = Shape::try_new(dims.to_vec()).unwrap();
    match arch_of(config).place(tensor, config).unwrap() {
        Some(Placement::Parts(parts)) => parts
            .into_iter()
            .map(|part| (part.name, part.view.of(&shape).unwrap().shape().dims().to_vec()))
            .collect(),
        other => panic!("{tensor}: {other:?}"),
    }
}

fn named(parts: &[(&str, &[u64])]) -> Vec<(String, Vec<u64>)> {
    parts.iter().map(|(name, dims)| ((*name).to_owned(), dims.to_vec())).collect()
}

#[test]
fn experts_of_gpt_oss_are_stored_in_two_orders() {
    let rows = changed("gpt_oss", &json!({}));
    let transposed = changed("gpt_oss", &json!({"quantization_config": null}));
    let source = "model.layers.1.mlp.experts.gate_up_proj";
    let halves = |inner: u64| {
        let of = |name: &str| (format!("blk.1.ffn_{name}_exps.weight"), vec![4, inner, 64]);
        vec![of("gate"), of("up")]
    };
    assert_eq!(parts_of(&rows, source, &[4, 96, 64]), halves(48));
    assert_eq!(parts_of(&transposed, source, &[4, 64, 96]), halves(48));
    let down = "model.layers.1.mlp.experts.down_proj";
    let expected = named(&[("blk.1.ffn_down_exps.weight", &[4, 64, 48])]);
    assert_eq!(parts_of(&rows, down, &[4, 64, 48]), expected);
    assert_eq!(parts_of(&transposed, down, &[4, 48, 64]), expected);
    assert_eq!(
        parts_of(&rows, "model.layers.0.mlp.experts.gate_up_proj_bias", &[4, 96]),
        named(&[("blk.0.ffn_gate_exps.bias", &[4, 48]), ("blk.0.ffn_up_exps.bias", &[4, 48])])
    );
}

#[test]
fn layers_that_predict_further_tokens_are_left_out() {
    let config = changed("deepseek_v3", &json!({"num_nextn_predict_layers": 1}));
    let arch = arch_of(&config);
    let place =
        |layer: u64| arch.place(&format!("model.layers.{layer}.shared_head.norm.weight"), &config);
    assert!(matches!(place(2), Ok(Some(Placement::Drop(_)))));
    assert!(matches!(place(1), Ok(None)));
    let place =
        |layer: u64| arch.place(&format!("model.layers.{layer}.mlp.up_proj.weight"), &config);
    assert!(place(3).is_err());
}

#[test]
fn positions_of_roberta_begin_behind_that_of_padding() {
    let roberta = |changes: Json| {
        let mut all = json!({"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta",
            "max_position_embeddings": 130, "pad_token_id": 1});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        changed("bert", &all)
    };
    let config = roberta(json!({}));
    let context = |config: &ModelConfig| {
        let keys = keys_of(arch_of(config), config);
        let value = keys.iter().find(|(key, _)| key == "bert.context_length").unwrap().1.clone();
        as_oracle(&value)["value"].clone()
    };
    assert_eq!(context(&config), json!(128));
    let source = "roberta.embeddings.position_embeddings.weight";
    let expected = named(&[("position_embd.weight", &[128, 64])]);
    assert_eq!(parts_of(&config, source, &[130, 64]), expected);
    let all = changed("bert", &json!({}));
    let source = "bert.embeddings.position_embeddings.weight";
    assert_eq!(parts_of(&all, source, &[128, 64]), expected);
    let none = roberta(json!({"max_position_embeddings": 2}));
    assert!(arch_of(&none).metadata(&none, &mut Meta::new()).is_err());
    // What layer norms of old checkpoints call weight and bias.
    let norm = parts_of(&all, "bert.encoder.layer.1.output.LayerNorm.gamma", &[64]);
    assert_eq!(norm, named(&[("blk.1.layer_output_norm.weight", &[64])]));
}

/// Queries of all heads come first, then keys, then values, however a checkpoint groups them.
#[test]
fn fused_projections_are_sorted() {
    let own = |keys: Json| config(&keys);
    let falcon = |kv: u64| {
        own(
            json!({"architectures": ["FalconForCausalLM"], "hidden_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 6, "num_kv_heads": kv, "new_decoder_architecture": true}),
        )
    };
    let neox = own(json!({"architectures": ["GPTNeoXForCausalLM"], "hidden_size": 48,
        "num_hidden_layers": 1, "num_attention_heads": 6, "intermediate_size": 96,
        "max_position_embeddings": 64}));
    let rows = |config: &ModelConfig, tensor: &str, count: u64| -> Vec<u64> {
        let Some(Placement::Parts(parts)) = arch_of(config).place(tensor, config).unwrap() else {
            panic!("{tensor}")
        };
        let shape = Shape::try_new(vec![count]).unwrap();
        let mut out = Vec::new();
        for (number, part) in (0..).zip(parts) {
            assert_eq!(
                (part.slot, part.name.as_str()),
                (Slot::following(number, 3), "blk.0.attn_qkv.weight")
            );
            let taken = part.view.of_vectors().of(&shape).unwrap();
            let elems = taken.shape().elems();
            let mut own = vec![0; usize::try_from(elems).unwrap()];
            taken.copies(&(0..count), &(0..elems), |copy| {
                for i in 0..copy.len {
                    own[usize::try_from(copy.to + i).unwrap()] = copy.from + i;
                }
            });
            out.extend(own);
        }
        out
    };
    // Head by head, 8 rows each: which head of the checkpoint comes next.
    let heads = |rows: &[u64]| -> Vec<u64> { rows.chunks(8).map(|rows| rows[0] / 8).collect() };
    let source = "transformer.h.0.self_attention.query_key_value.weight";
    let two = rows(&falcon(2), source, 80);
    assert_eq!(heads(&two), [0, 1, 2, 5, 6, 7, 3, 8, 4, 9]);
    assert_eq!(&two[8..16], (8..16).collect::<Vec<_>>());
    assert_eq!(heads(&rows(&falcon(1), source, 64)), [0, 1, 2, 3, 4, 5, 6, 7]);
    let source = "gpt_neox.layers.0.attention.query_key_value.weight";
    let sorted = (0..3).flat_map(|kind| (0..6).map(move |head| 3 * head + kind));
    assert_eq!(heads(&rows(&neox, source, 144)), sorted.collect::<Vec<_>>());
}

#[test]
fn embeddings_of_t5_may_have_any_of_three_names() {
    let config = config(&json!({"architectures": ["T5ForConditionalGeneration"], "d_model": 8,
        "d_ff": 16, "d_kv": 4, "num_layers": 1, "num_heads": 2, "vocab_size": 16}));
    let arch = arch_of(&config);
    let place = |tensor: &str| arch.place(tensor, &config).unwrap();
    let name = "token_embd.weight".to_owned();
    assert_eq!(place("shared.weight"), Some(Placement::whole(name.clone())));
    for copy in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
        assert_eq!(place(copy), Some(Placement::Spare(name.clone())));
    }
    let cross = place("decoder.block.0.layer.1.EncDecAttention.o.weight");
    assert_eq!(cross, Some(Placement::whole("dec.blk.0.cross_attn_o.weight")));
    assert!(arch.place("decoder.block.1.layer.0.SelfAttention.q.weight", &config).is_err());
}
