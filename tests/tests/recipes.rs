//! Recipes against recorded choices of `llama-quantize`: `recipes.json` (shapes of well-known
//! models) and `mixtures.json` (small models made to reach every rule).

use std::collections::BTreeMap;

use gmat_core::ErrorKind;
use gmat_core::recipe::{Choice, FileType, Model, Tensor, Why, assign, needs_importance};
use serde_json::Value;

/// The models of a recording by name.
fn models(file: &str) -> BTreeMap<String, Value> {
    let path = format!("{}/golden/quant/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let mut root: Value = serde_json::from_slice(&bytes).unwrap();
    serde_json::from_value(root["models"].take()).unwrap()
}

/// `a.[0-2,5].b` stands for `a.0.b`, `a.1.b`, `a.2.b` and `a.5.b`.
fn expand(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('[') else {
        return vec![pattern.to_owned()];
    };
    let (ranges, after) = rest.split_once(']').unwrap();
    let mut names = Vec::new();
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
        names.extend((first..=last).map(|layer| format!("{before}{layer}{after}")));
    }
    names
}

fn expand_all(patterns: &Value) -> impl Iterator<Item = String> {
    patterns.as_array().unwrap().iter().flat_map(|p| expand(p.as_str().unwrap()))
}

/// A recorded model, with one entry per tensor.
struct Recorded<'a> {
    arch: &'a str,
    kv: &'a Value,
    tensors: Vec<(String, Vec<u64>)>,
    overrides: Vec<Option<&'a str>>,
}

impl<'a> Recorded<'a> {
    fn new(json: &'a Value) -> Self {
        let mut tensors = Vec::new();
        for (key, patterns) in json["tensors_by_shape_and_source_type"].as_object().unwrap() {
            let (shape, _) = key.split_once(':').unwrap();
            let dims: Vec<u64> = shape.split('x').map(|dim| dim.parse().unwrap()).collect();
            tensors.extend(expand_all(patterns).map(|name| (name, dims.clone())));
        }
        let overrides = tensors.iter().map(|(name, _)| json["overrides"][name].as_str()).collect();
        Self { arch: json["arch"].as_str().unwrap(), kv: &json["kv"], tensors, overrides }
    }

    fn number(&self, key: &str) -> Option<u32> {
        let value = self.kv.get(format!("{}.{key}", self.arch))?;
        Some(u32::try_from(value.as_u64().unwrap()).unwrap())
    }

    fn model(&self, has_importance: bool) -> Model<'_> {
        let heads = self.number("attention.head_count").unwrap();
        Model {
            arch: self.arch,
            block_count: self.number("block_count").unwrap(),
            heads,
            kv_heads: self.number("attention.head_count_kv").unwrap_or(heads),
            experts: self.number("expert_count").unwrap_or(0),
            has_importance,
        }
    }

    fn tensors(&self) -> Vec<Tensor<'_>> {
        self.tensors.iter().map(|(name, dims)| Tensor { name, dims }).collect()
    }

    fn assign(&self, mix: FileType, has_importance: bool) -> gmat_core::Result<Vec<Choice>> {
        assign(mix, &self.model(has_importance), &self.tensors(), &self.overrides)
    }
}

/// The recorded type of each tensor that was given one; the others kept that of their source.
fn recorded_types(by_type: &Value) -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    for (ty, patterns) in by_type.as_object().unwrap() {
        for name in expand_all(patterns) {
            assert_eq!(types.insert(name, ty.to_ascii_lowercase()), None);
        }
    }
    types
}

/// Compares every recorded run of a file; returns how many tensors had a type of their own.
fn compare(file: &str) -> usize {
    let mut compared = 0;
    for (label, json) in models(file) {
        let recorded = Recorded::new(&json);
        for (mix, runs) in json["types"].as_object().unwrap() {
            let file_type = FileType::from_name(mix).unwrap();
            if runs.get("error").is_some() {
                for has_importance in [false, true] {
                    let error = recorded.assign(file_type, has_importance).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Shape, "{label} {mix}: {error}");
                }
                continue;
            }
            for (run, has_importance) in [("none", false), ("imatrix", true)] {
                let run = if runs[run] == "same" { "none" } else { run };
                // Nothing was recorded for the type of the sources; the tensors that take it are
                // those that take the other type of its size.
                let sources = runs[run].as_object().unwrap().is_empty();
                let other = if mix == "F16" { "BF16" } else { "F16" };
                let by_type = if sources { &json["types"][other][run] } else { &runs[run] };
                let mut expected = recorded_types(by_type);
                let choices = recorded.assign(file_type, has_importance).unwrap();
                assert_eq!(choices.len(), recorded.tensors.len());
                for ((name, _), choice) in recorded.tensors.iter().zip(choices) {
                    let place = || format!("{label} {mix} {run} {name}: {choice:?}");
                    match expected.remove(name) {
                        Some(other) => {
                            let ty = if sources { file_type.name() } else { other.as_str() };
                            assert_eq!(choice.ty, ty, "{}", place());
                            compared += 1;
                        }
                        None => {
                            assert_eq!(choice.ty, "f32", "{}", place());
                            assert!(matches!(choice.why, Why::KeptF32 { .. }), "{}", place());
                        }
                    }
                }
                assert!(expected.is_empty(), "{label} {mix}: {expected:?} are no tensors");
            }
        }
    }
    compared
}

#[test]
fn well_known_models_equal_llama_quantize() {
    let recorded = models("recipes.json");
    assert_eq!(recorded.len(), 16);
    for (label, json) in &recorded {
        assert_eq!(json["types"].as_object().unwrap().len(), 35, "{label}");
    }
    let compared = compare("recipes.json");
    assert_eq!(compared, 240_362);
}

#[test]
fn made_up_models_equal_llama_quantize() {
    let compared = compare("mixtures.json");
    assert_eq!(compared, 53_764);
}

/// The runs that `llama-quantize` refuses without importance data, and no others, have a tensor
/// that needs it.
#[test]
fn importance_is_needed_where_llama_quantize_needs_it() {
    let (mut needed, mut free) = (0, 0);
    for (label, json) in models("mixtures.json") {
        let recorded = Recorded::new(&json);
        let refused = json["requires_imatrix"].as_array().unwrap();
        for (mix, runs) in json["types"].as_object().unwrap() {
            if runs.get("error").is_some() {
                continue;
            }
            let file_type = FileType::from_name(mix).unwrap();
            let choices = recorded.assign(file_type, false).unwrap();
            let needs = recorded
                .tensors
                .iter()
                .zip(&choices)
                .any(|((name, _), choice)| needs_importance(file_type, name, choice.ty));
            assert_eq!(needs, refused.contains(&Value::from(mix.as_str())), "{label} {mix}");
            if needs { needed += 1 } else { free += 1 }
        }
    }
    assert_eq!((needed, free), (86, 322));
}

/// Tensors with a type by name get it, or its substitute, in every file type.
#[test]
fn overrides_hold_in_every_file_type() {
    let all = models("mixtures.json");
    let recorded = Recorded::new(&all["overrides"]);
    assert_eq!(recorded.overrides.iter().flatten().count(), 10);
    for &mix in FileType::ALL {
        for ((_, wanted), choice) in recorded
            .tensors
            .iter()
            .zip(&recorded.overrides)
            .zip(recorded.assign(mix, true).unwrap())
        {
            let Some(wanted) = *wanted else { continue };
            match choice.why {
                Why::Override => assert_eq!(choice.ty, wanted),
                why => assert!(matches!(why, Why::KeptF32 { overridden: true, .. }), "{why:?}"),
            }
        }
    }
}
