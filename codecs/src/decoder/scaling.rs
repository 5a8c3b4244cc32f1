//! How rotary embeddings reach positions beyond the training length: the kinds of scaling, their GGUF
//! keys, and the per-frequency factors of Llama 3.
//!
//! Kinds and their config keys: the "RoPE utilities" documentation of the `transformers` library. GGUF
//! keys: `rope.scaling.*` of the GGUF specification.

use std::f32::consts::PI;

use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result};
use gmat_core::fmath;
use gmat_core::format::gguf::Meta;
use serde_json::Value;

use super::float;
use super::hparams::{MAX_HEADS, bounded};
use super::rope::{OBJECTS, SECTIONS};

/// How positions beyond the training length are reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all; or `dynamic`, which changes nothing within the trained context and has no key.
    None,
    /// Positions divided by a factor.
    Linear { factor: f32 },
    /// YaRN: <https://arxiv.org/abs/2309.00071>.
    Yarn {
        factor: f32,
        original_context: u64,
        /// Optional keys of GGUF with their values.
        options: Vec<(&'static str, f32)>,
    },
    /// The scheme of Llama 3.1: low frequencies divided by `factor`, high ones kept.
    Llama3 { factor: f32, low: f32, high: f32, original_context: f32 },
    /// LongRoPE: <https://arxiv.org/abs/2402.13753>. What each frequency is divided by within the
    /// original context and beyond it, and a factor for attention, if the config has its own.
    Long { short: Vec<f32>, long: Vec<f32>, attention: Option<f32> },
}
impl Scaling {
    /// Reads and checks the parameters; `own` are those of the rotary embeddings.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Unsupported` for a kind that is not known.
    pub(super) fn read(config: &ModelConfig, own: &ModelConfig) -> Result<Self> {
        let Some(kind) = own.str(&["rope_type", "type"])? else { return Ok(Self::None) };
        let lower = kind.to_ascii_lowercase();
        match lower.as_str() {
            "default" | "none" | "dynamic" => Ok(Self::None),
            // The old name of what the sections say.
            "mrope" if own.value(&SECTIONS).is_some() => Ok(Self::None),
            "linear" => Ok(Self::Linear { factor: factor(own)? }),
            "yarn" => Self::read_yarn(config, own),
            "llama3" => Self::read_llama3(config, own),
            "longrope" | "su" => Self::read_long(own),
            _ => Err(Error::unsupported(format!(
                "`rope_type` is `{kind}`; known are default, dynamic, linear, yarn, llama3 and longrope"
            ))),
        }
    }

    fn read_long(own: &ModelConfig) -> Result<Self> {
        let factors = |key: &str| -> Result<Vec<f32>> {
            let wrong = || Error::malformed(format!("`{key}` is no list of positive numbers"));
            let list = own.value(&[key]).and_then(Value::as_array).ok_or_else(wrong)?;
            if list.len() as u64 > MAX_HEADS {
                return Err(wrong());
            }
            list.iter().map(|v| positive(key, v.as_f64().ok_or_else(wrong)?)).collect()
        };
        let attention = own.f64(&["attention_factor"])?;
        Ok(Self::Long {
            short: factors("short_factor")?,
            long: factors("long_factor")?,
            attention: attention.map(|factor| positive("attention_factor", factor)).transpose()?,
        })
    }

    fn read_yarn(config: &ModelConfig, own: &ModelConfig) -> Result<Self> {
        let original_context = match original(config, own)? {
            Some(length) => length,
            None => config.require_u64(&["max_position_embeddings"])?,
        };
        let mut options = Vec::new();
        let optional: [(&[&str], &str); 4] = [
            (&["extrapolation_factor"], "scaling.yarn_ext_factor"),
            (&["attention_factor", "attn_factor"], "scaling.yarn_attn_factor"),
            (&["beta_fast"], "scaling.yarn_beta_fast"),
            (&["beta_slow"], "scaling.yarn_beta_slow"),
        ];
        for (keys, name) in optional {
            if let Some(value) = own.f64(keys)? {
                options.push((name, float(keys.first().unwrap_or(&""), value)?));
            }
        }
        Ok(Self::Yarn { factor: factor(own)?, original_context, options })
    }

    fn read_llama3(config: &ModelConfig, own: &ModelConfig) -> Result<Self> {
        // The values of the first models of this kind stand in for missing ones.
        let or = |key: &str, default: f64| positive(key, own.f64(&[key])?.unwrap_or(default));
        let (low, high) = (or("low_freq_factor", 1.0)?, or("high_freq_factor", 4.0)?);
        if low >= high {
            return Err(Error::malformed(format!(
                "`low_freq_factor` is {low}, which is not below `high_freq_factor`, {high}"
            )));
        }
        let context = original(config, own)?.unwrap_or(8192) as f64;
        let original_context = positive("original_max_position_embeddings", context)?;
        Ok(Self::Llama3 { factor: or("factor", 8.0)?, low, high, original_context })
    }

    /// Writes the keys.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(super) fn write(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.rope.{name}");
        match self {
            Self::None | Self::Llama3 { .. } | Self::Long { .. } => {}
            Self::Linear { factor } => {
                out.set(key("scaling.type"), "linear");
                out.set(key("scaling.factor"), *factor);
            }
            Self::Yarn { factor, original_context, options } => {
                out.set(key("scaling.type"), "yarn");
                out.set(key("scaling.factor"), *factor);
                out.set_count(key("scaling.original_context_length"), *original_context)?;
                for (name, value) in options {
                    out.set(key(name), *value);
                }
            }
        }
        Ok(())
    }
    /// What each frequency of base `theta` is divided by, `head_dim / 2` values, if the scaling is
    /// that of Llama 3.
    ///
    /// Frequency `i` is `theta^(-2i/d)` with wavelength `w = 2 pi / f`. With `n` the original
    /// context: 1 below `n / high`, `factor` above `n / low`, and between them the reciprocal of
    /// `(1 - s) / factor + s` where `s = (n / w - low) / (high - low)`. Everything in `f32`, as the
    /// models were trained.
    pub(super) fn llama3_factors(&self, theta: f32, head_dim: u64) -> Option<Vec<f32>> {
        let Self::Llama3 { factor, low, high, original_context } = *self else {
            return None;
        };
        let of = |exponent: f32| {
            let frequency = 1.0 / fmath::powf(theta, exponent);
            let wavelength = 2.0 * PI / frequency;
            if wavelength < original_context / high {
                1.0
            } else if wavelength > original_context / low {
                factor
            } else {
                let smooth = (original_context / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        Some((0..head_dim).step_by(2).map(|i| of(i as f32 / head_dim as f32)).collect())
    }
}

/// The context the model was trained with before scaling, if the config says it.
///
/// # Errors
/// `Malformed`, naming the key.
pub(crate) fn original_context(config: &ModelConfig) -> Result<Option<u64>> {
    let own = config.object(&OBJECTS)?.unwrap_or_default();
    let place = if own.value(&ORIGINAL).is_some() { &own } else { config };
    match place.u64(&ORIGINAL)? {
        None => Ok(None),
        Some(_) => bounded(place, &ORIGINAL, None, u32::MAX.into()).map(Some),
    }
}

const ORIGINAL: [&str; 1] = ["original_max_position_embeddings"];

/// The context the model was trained with before scaling.
fn original(config: &ModelConfig, own: &ModelConfig) -> Result<Option<u64>> {
    Ok(match own.u64(&ORIGINAL)? {
        Some(length) => Some(length),
        None => config.u64(&ORIGINAL)?,
    })
}
fn factor(own: &ModelConfig) -> Result<f32> {
    positive("factor", own.require_f64(&["factor"])?)
}

/// A number above 0.
///
/// # Errors
/// `Malformed`, naming the key.
pub(super) fn positive(key: &str, value: f64) -> Result<f32> {
    let value = float(key, value)?;
    if value > 0.0 {
        Ok(value)
    } else {
        Err(Error::malformed(format!("`{key}` in `config.json` is {value}, expected more than 0")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::Rope;
    use gmat_core::ErrorKind;
    use serde_json::json;

    fn read(keys: &Value) -> Result<Rope> {
        let keys = keys.as_object().cloned().unwrap_or_default();
        Rope::read(&ModelConfig::from_map(keys), 10_000.0)
    }

    fn written(keys: &Value) -> Vec<String> {
        let mut out = Meta::new();
        let rope = read(keys).and_then(|rope| rope.write("a", &mut out));
        assert!(rope.is_ok(), "{keys}: {rope:?}");
        out.entries().iter().map(|(key, value)| format!("{key}={value:?}")).collect()
    }

    #[test]
    fn linear_and_yarn_have_keys() {
        assert_eq!(
            written(&json!({"rope_scaling": {"type": "linear", "factor": 4}})),
            [
                "a.rope.scaling.type=String([108, 105, 110, 101, 97, 114])",
                "a.rope.scaling.factor=F32(4.0)",
                "a.rope.freq_base=F32(10000.0)"
            ]
        );
        let yarn = json!({"rope_parameters": {"rope_type": "yarn", "factor": 8.0, "rope_theta": 1e6,
            "original_max_position_embeddings": 4096, "beta_slow": 1, "attention_factor": 0.5,
            "beta_fast": 32.0}});
        assert_eq!(
            written(&yarn).get(1..),
            Some(
                [
                    "a.rope.scaling.factor=F32(8.0)",
                    "a.rope.scaling.original_context_length=U32(4096)",
                    "a.rope.scaling.yarn_attn_factor=F32(0.5)",
                    "a.rope.scaling.yarn_beta_fast=F32(32.0)",
                    "a.rope.scaling.yarn_beta_slow=F32(1.0)",
                    "a.rope.freq_base=F32(1000000.0)"
                ]
                .map(str::to_owned)
                .as_slice()
            )
        );
        let short =
            json!({"rope_scaling": {"type": "yarn", "factor": 2}, "max_position_embeddings": 7});
        assert!(
            written(&short).contains(&"a.rope.scaling.original_context_length=U32(7)".to_owned())
        );
        for kind in ["default", "dynamic", "llama3"] {
            let keys = written(&json!({"rope_scaling": {"rope_type": kind, "factor": 2}}));
            assert_eq!(keys.len(), 1, "{kind}");
        }
    }

    #[test]
    fn llama3_factors_follow_the_wavelengths() {
        let keys = json!({"rope_scaling": {"rope_type": "LLAMA3", "factor": 32.0}, "rope_theta": 5e5,
            "original_max_position_embeddings": 4096});
        let factors = read(&keys)
            .ok()
            .and_then(|rope| rope.scaling.llama3_factors(rope.theta, 64))
            .unwrap_or_default();
        assert_eq!(factors.len(), 32);
        assert!(factors.is_sorted());
        assert_eq!(factors.first(), Some(&1.0));
        assert_eq!(factors.last(), Some(&32.0));
        // The same in double precision, from the definition.
        for (i, factor) in (0i32..).zip(&factors) {
            // theta^(i/32): the 32nd root is five square roots.
            let root = (0..5).fold(5e5f64, |x, _| x.sqrt());
            let wavelength = 2.0 * std::f64::consts::PI * root.powi(i);
            let turns = 4096.0 / wavelength;
            let smooth = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
            let expected = 1.0 / ((1.0 - smooth) / 32.0 + smooth);
            assert!((f64::from(*factor) / expected - 1.0).abs() < 2e-6, "{i}: {factor} {expected}");
        }
        assert_eq!(
            read(&json!({})).ok().and_then(|rope| rope.scaling.llama3_factors(rope.theta, 64)),
            None
        );
    }

    #[test]
    fn hostile_parameters() {
        let kind = |keys: Value| read(&keys).err().map(|e| e.kind());
        let scaling =
            |inner: Value| kind(json!({"rope_scaling": inner, "max_position_embeddings": 9}));
        assert_eq!(scaling(json!("linear")), Some(ErrorKind::Malformed));
        assert_eq!(scaling(json!({"type": 7})), Some(ErrorKind::Malformed));
        assert_eq!(scaling(json!({"type": "cubic"})), Some(ErrorKind::Unsupported));
        assert_eq!(scaling(json!({"type": "linear"})), Some(ErrorKind::Malformed));
        assert_eq!(scaling(json!({"type": "linear", "factor": 0})), Some(ErrorKind::Malformed));
        assert_eq!(scaling(json!({"type": "yarn", "factor": -1})), Some(ErrorKind::Malformed));
        assert_eq!(
            scaling(json!({"type": "yarn", "factor": 1, "beta_fast": "x"})),
            Some(ErrorKind::Malformed)
        );
        assert_eq!(
            kind(json!({"rope_scaling": {"type": "yarn", "factor": 1}})),
            Some(ErrorKind::Malformed)
        );
        for (key, value) in [
            ("low_freq_factor", json!(4)),
            ("low_freq_factor", json!(-1)),
            ("high_freq_factor", json!(0)),
            ("factor", json!(1e-60)),
            ("original_max_position_embeddings", json!(0)),
        ] {
            let inner = json!({"type": "llama3", key: value});
            assert_eq!(scaling(inner.clone()), Some(ErrorKind::Malformed), "{inner}");
        }
    }
}
