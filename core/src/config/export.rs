//! `export_config.json`: which quantization type each tensor gets, and how the file is laid out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::fields::{Fields, parse_json};
use super::import::{parse_id, pretty};
use super::modes::ScaleOptimization;
use super::rules::{Rule, rules};
use super::type_spec::TypeSpec;
use crate::error::{Error, Result};
use crate::plugin::Identity;
use crate::quant::Metric;

/// The default type used when nothing else is said.
pub(crate) const DEFAULT_TYPE: &str = "q4_k_m";
/// The default of `trellis_lambda`, as in [`crate::quant::Goal`].
const DEFAULT_LAMBDA: f64 = 0.3;

/// The `quantization` object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quantization {
    /// Type or recipe of tensors without an entry of their own.
    pub default_type: TypeSpec,
    /// How scales are chosen.
    pub scale_optimization: ScaleOptimization,
    /// Weight of the smoothness term of `trellis`, 0 to 1.
    pub trellis_lambda: f64,
    /// How much errors count in `trellis`.
    #[serde(skip_serializing_if = "Metric::is_default")]
    pub trellis_metric: Metric,
    /// Types of single tensors.
    pub per_tensor: BTreeMap<Uuid, TypeSpec>,
    /// Types by source or GGUF name, for tensors without an entry of their own; the first rule
    /// that matches wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

impl Default for Quantization {
    fn default() -> Self {
        Self {
            default_type: DEFAULT_TYPE.into(),
            scale_optimization: ScaleOptimization::default(),
            trellis_lambda: DEFAULT_LAMBDA,
            trellis_metric: Metric::default(),
            per_tensor: BTreeMap::new(),
            rules: Vec::new(),
        }
    }
}

/// One line of the tensor map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Id in the store.
    pub source: Uuid,
    /// Name in the GGUF file.
    pub target: String,
}

/// A size that the files of an export must not exceed in all, headers included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SizeTarget {
    /// In bytes.
    Bytes(u64),
    /// In bits per weight.
    BitsPerWeight(f64),
}

/// What the user wants exported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportConfig {
    /// Always `gguf`.
    pub target_format: String,
    /// Types.
    pub quantization: Quantization,
    /// Tensors and their names; empty means all, with automatic names.
    pub tensor_map: Vec<Target>,
    /// Largest size of one output file in bytes.
    pub shard_size: Option<u64>,
    /// Special token kind to GGUF key; an empty key switches a default off.
    pub special_token_keys: BTreeMap<String, String>,
    /// Importance matrix: a file, relative to the folder of the config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imatrix: Option<String>,
    /// Size of the output in bits per weight, headers included: types are chosen for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bpw: Option<f64>,
    /// Size of the output in bytes, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_size: Option<u64>,
    /// Types of experts by their source names. All experts that share a tensor of the GGUF file
    /// must get the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expert_rules: Vec<Rule>,
    /// Plugins that an export used, by name: it cannot be repeated with others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, Identity>,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            target_format: "gguf".to_owned(),
            quantization: Quantization::default(),
            tensor_map: Vec::new(),
            shard_size: None,
            special_token_keys: BTreeMap::new(),
            imatrix: None,
            target_bpw: None,
            target_size: None,
            expert_rules: Vec::new(),
            plugins: BTreeMap::new(),
        }
    }
}

impl ExportConfig {
    /// Parses the file. Type names are checked later, against the registry.
    ///
    /// # Errors
    /// `Config`, naming key and value, for anything unknown, malformed or contradictory.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let value = parse_json(text)?;
        let known = [
            "target_format",
            "quantization",
            "tensor_map",
            "shard_size",
            "special_token_keys",
            "imatrix",
            "target_bpw",
            "target_size",
            "expert_rules",
            "plugins",
        ];
        let fields = Fields::new(&value, "", &known)?;
        let mut config = Self::default();
        if let Some(format) = fields.text("target_format")?
            && !format.eq_ignore_ascii_case("gguf")
        {
            return Err(fields.wrong("target_format", "`gguf`"));
        }
        if let Some(value) = fields.value("quantization") {
            config.quantization = quantization(value)?;
        }
        // A tensor may have several targets, and a target several tensors, where an architecture
        // splits or stacks them; only with the model at hand is it known what is too much.
        let mut seen = BTreeSet::new();
        for (index, entry) in fields.list("tensor_map")?.iter().enumerate() {
            let target = target(entry, &format!("tensor_map[{index}]"))?;
            if !seen.insert((target.source, target.target.clone())) {
                return Err(Error::config(format!(
                    "`tensor_map[{index}]` is the same as an earlier entry: `{}` to `{}`",
                    target.source, target.target
                )));
            }
            config.tensor_map.push(target);
        }
        config.shard_size = fields.count("shard_size")?;
        if let Some(file) = fields.text("imatrix")? {
            if file.is_empty() {
                return Err(fields.wrong("imatrix", "the name of a file"));
            }
            config.imatrix = Some(file.to_owned());
        }
        if let Some(bits) = fields.number("target_bpw")? {
            if !(bits > 0.0 && bits <= 32.0) {
                return Err(fields.wrong("target_bpw", "a number above 0, up to 32"));
            }
            config.target_bpw = Some(bits);
        }
        config.target_size = fields.count("target_size")?;
        if config.target_bpw.is_some() && config.target_size.is_some() {
            return Err(Error::config("`target_bpw` and `target_size` are both given")
                .with_hint("leave one of them out"));
        }
        config.expert_rules = rules(&fields, "expert_rules")?;
        for (name, value) in fields.map("plugins")?.into_iter().flatten() {
            config.plugins.insert(name.clone(), identity(value, &format!("plugins.{name}"))?);
        }
        if let Some(keys) = fields.map("special_token_keys")? {
            for (kind, key) in keys {
                let key = key.as_str().ok_or_else(|| {
                    Error::config(format!(
                        "`special_token_keys.{kind}` is `{key}`, expected a string"
                    ))
                })?;
                // What a GGUF key may be: short, and nothing that a terminal or parser trips over.
                if key.len() > 255 || key.chars().any(|c| c.is_control() || c.is_whitespace()) {
                    return Err(Error::config(format!(
                        "`special_token_keys.{kind}` is {key:?}, which is not a GGUF key"
                    )));
                }
                config.special_token_keys.insert(kind.clone(), key.to_owned());
            }
        }
        Ok(config)
    }

    /// The size that types are to be chosen for, if there is one.
    #[must_use]
    pub fn target(&self) -> Option<SizeTarget> {
        let bytes = self.target_size.map(SizeTarget::Bytes);
        bytes.or_else(|| self.target_bpw.map(SizeTarget::BitsPerWeight))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// `Malformed` if a number cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        pretty(self)
    }
}

fn quantization(value: &Value) -> Result<Quantization> {
    let known = [
        "default_type",
        "scale_optimization",
        "trellis_lambda",
        "trellis_metric",
        "per_tensor",
        "rules",
    ];
    let fields = Fields::new(value, "quantization", &known)?;
    let mut out = Quantization::default();
    if let Some(value) = fields.value("default_type") {
        out.default_type = TypeSpec::parse(value, "quantization.default_type")?;
    }
    if let Some(name) = fields.text("scale_optimization")? {
        out.scale_optimization = ScaleOptimization::from_name(name)?;
    }
    if let Some(lambda) = fields.number("trellis_lambda")? {
        if !(0.0..=1.0).contains(&lambda) {
            return Err(fields.wrong("trellis_lambda", "a number from 0 to 1"));
        }
        out.trellis_lambda = lambda;
    }
    if let Some(name) = fields.text("trellis_metric")? {
        out.trellis_metric = Metric::from_name(name)?;
    }
    out.rules = rules(&fields, "rules")?;
    for (id, name) in fields.map("per_tensor")?.into_iter().flatten() {
        let key = parse_id(id).ok_or_else(|| {
            Error::config(format!("key `{id}` in `quantization.per_tensor` is not a UUID"))
                .with_hint(
                    "tensor ids are listed in the store's metadata.json and in a generated config",
                )
        })?;
        let ty = TypeSpec::parse(name, &format!("quantization.per_tensor.{id}"))?;
        if out.per_tensor.insert(key, ty).is_some() {
            return Err(Error::config(format!("`quantization.per_tensor` names `{key}` twice")));
        }
    }
    Ok(out)
}

fn identity(value: &Value, path: &str) -> Result<Identity> {
    let fields = Fields::new(value, path, &["blake3", "version"])?;
    let text = |key: &str| fields.text(key).map(|text| text.unwrap_or_default().to_owned());
    let blake3 = text("blake3")?;
    match blake3.len() == 64 && blake3.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(Identity { blake3: blake3.to_ascii_lowercase(), version: text("version")? }),
        false => Err(fields.wrong("blake3", "a hash of 64 hexadecimal digits")),
    }
}

fn target(value: &Value, path: &str) -> Result<Target> {
    let fields = Fields::new(value, path, &["source", "target"])?;
    let source = fields.text("source")?.and_then(parse_id);
    let source = source.ok_or_else(|| fields.wrong("source", "the UUID of a tensor"))?;
    let target = fields.text("target")?.filter(|name| !name.is_empty());
    let target = target.ok_or_else(|| fields.wrong("target", "a tensor name"))?;
    Ok(Target { source, target: target.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:?}", ExportConfig::parse(text.as_bytes()).unwrap_err())
    }

    #[test]
    fn round_trip() {
        let text = r#"{"target_format":"gguf","quantization":{"default_type":"q4_k_m",
            "scale_optimization":"standard","trellis_lambda":0.5,
            "per_tensor":{"550e8400-e29b-41d4-a716-446655440000":"q8_0"},
            "rules":[{"match":"attn_v","type":"q6_k"},{"match":"ffn","type":"q4_k"}]},
            "tensor_map":[{"source":"550e8400-e29b-41d4-a716-446655440000","target":"x"}],
            "shard_size":5000000000,"special_token_keys":{"eot":""},"imatrix":"m.dat",
            "expert_rules":[{"match":"experts\\.0\\.","type":"q6_k"}]}"#;
        let config = ExportConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.shard_size, Some(5_000_000_000));
        assert_eq!(config.quantization.scale_optimization, ScaleOptimization::Standard);
        assert_eq!(config.quantization.rules[1].ty.name, "q4_k");
        assert_eq!(config.expert_rules[0].pattern, r"experts\.0\.");
        let again = ExportConfig::parse(config.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(again, config);
        assert_eq!(ExportConfig::parse(b"{}").unwrap(), ExportConfig::default());
        let nulls = ExportConfig::parse(br#"{"shard_size":null}"#).unwrap();
        assert_eq!(nulls, ExportConfig::default());
    }

    #[test]
    fn types_with_parameters_stand_wherever_types_do() {
        let with = |n: u32| format!(r#"{{"type":"q4_k@v","params":{{"n":{n}}}}}"#);
        let text = format!(
            r#"{{"quantization":{{"default_type":{},"per_tensor":{{"550e8400-e29b-41d4-a716-446655440000":{}}},
            "rules":[{{"match":"a","type":{}}},{{"match":"b","type":"q4_k@v","params":{{"n":4}}}}]}},
            "expert_rules":[{{"match":"c","type":{}}}],
            "plugins":{{"v":{{"blake3":"{}","version":"1"}}}}}}"#,
            with(1),
            with(2),
            with(3),
            with(5),
            "0a".repeat(32)
        );
        let config = ExportConfig::parse(text.as_bytes()).unwrap();
        let types = &config.quantization;
        assert_eq!(types.default_type.params_text().as_deref(), Some(r#"{"n":1}"#));
        assert_eq!(types.rules[0].ty.params_text().as_deref(), Some(r#"{"n":3}"#));
        assert_eq!(types.rules[1].ty.params_text().as_deref(), Some(r#"{"n":4}"#));
        let again = ExportConfig::parse(config.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(again, config);
        let wrong = |ty: &str| error(&format!(r#"{{"quantization":{{"default_type":{ty}}}}}"#));
        assert!(wrong("1").contains("`quantization.default_type` is `1`"));
        assert!(wrong(r#"{"type":"x","param":{}}"#).contains("did you mean `params`"));
        assert!(wrong(r#"{"type":"x","params":1}"#).contains("expected an object"));
        assert!(error(r#"{"plugins":{"v":{"blake3":"0"}}}"#).contains("`plugins.v.blake3`"));
    }

    #[test]
    fn size_targets() {
        let target = |text: &str| ExportConfig::parse(text.as_bytes()).unwrap().target();
        assert_eq!(target("{}"), None);
        assert_eq!(target(r#"{"target_bpw":4.5}"#), Some(SizeTarget::BitsPerWeight(4.5)));
        assert_eq!(target(r#"{"target_size":5000}"#), Some(SizeTarget::Bytes(5000)));
        assert!(error(r#"{"target_bpw":0}"#).contains("`target_bpw` is `0`"));
        assert!(error(r#"{"target_bpw":4,"target_size":5}"#).contains("both given"));
    }

    #[test]
    fn slips_are_named() {
        let q = |inner: &str| error(&format!(r#"{{"quantization":{{{inner}}}}}"#));
        assert!(q(r#""trellis_lambda":1.5"#).contains("`quantization.trellis_lambda` is `1.5`"));
        assert!(q(r#""scale_optimization":"treliss""#).contains("did you mean `trellis`"));
        assert!(q(r#""per_tensor":{"550e8400-token":"q8_0"}"#).contains("`550e8400-token`"));
        assert!(q(r#""per_tensr":{}"#).contains("did you mean `per_tensor`"));
        assert!(
            q(r#""rules":[{"match":"a","type":"q8_0"},{"match":"(","type":"q8_0"}]"#)
                .contains("`quantization.rules[1].match`: `(` is not a valid regular expression")
        );
        assert!(q(r#""rules":[{"match":"a"}]"#).contains("`quantization.rules[0].type`"));
        assert!(error(r#"{"expert_rules":[{"math":"a"}]}"#).contains("did you mean `match`"));
        assert!(error(r#"{"imatrix":""}"#).contains("`imatrix`"));
        assert!(error(r#"{"shard_size":0}"#).contains("positive integer"));
        assert!(
            error(r#"{"tensor_map":[{"source":"x","target":"y"}]}"#)
                .contains("tensor_map[0].source")
        );
    }
}
