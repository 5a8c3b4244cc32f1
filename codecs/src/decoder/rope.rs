//! Rotary position embeddings: base, scaling, and the per-frequency factors of Llama 3.
//!
//! Kinds of scaling and their config keys: the "RoPE utilities" documentation of the `transformers`
//! library. GGUF keys: the `rope.*` keys of the GGUF specification.

use std::f32::consts::PI;

use gmat_core::arch::Generated;
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result, ResultExt};
use gmat_core::fmath;
use gmat_core::format::gguf::{self, Array, Meta};
use serde_json::Value;

use super::float;
use super::hparams::{MAX_HEADS, bounded};

/// Keys of `config.json` under which the parameters are: new and old style.
const OBJECTS: [&str; 2] = ["rope_parameters", "rope_scaling"];

/// Names of the share of a head that is rotated.
const SHARE: [&str; 4] = ["partial_rotary_factor", "rope_pct", "rope_percent", "rotary_pct"];

/// The base that runtimes assume if a file does not say it.
const ASSUMED_THETA: f32 = 10_000.0;

/// Names of the base for layers with sliding attention.
const SLIDING_THETA: [&str; 5] = [
    "rope_local_base_freq",
    "local_rope_theta",
    "rope_local_theta",
    "rope_theta_local",
    "swa_rope_theta",
];

/// Rotary embeddings of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// The base of the frequencies.
    pub(crate) theta: f32,
    /// That of layers with sliding attention, if it is another one.
    pub(crate) sliding_theta: Option<f32>,
    /// The part of each head that is rotated: above 0, at most 1.
    pub(crate) share: f64,
    /// How many frequencies belong to time, height and width of a position in images; text has the
    /// same number in all of them.
    pub(crate) sections: Option<[i32; 4]>,
    pub(crate) scaling: Scaling,
}

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

impl Rope {
    /// Reads and checks the parameters of heads that are rotated as a whole.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Unsupported` for a kind of scaling that is not known, and for
    /// heads that are rotated in part.
    pub(crate) fn read(config: &ModelConfig, default_theta: f64) -> Result<Self> {
        let rope = Self::read_partial(config, default_theta, 1.0)?;
        if rope.share != 1.0 {
            return Err(Error::unsupported(
                "`partial_rotary_factor` in `config.json` is not 1, which this architecture does not know",
            ));
        }
        if matches!(rope.scaling, Scaling::Long { .. }) {
            return Err(Error::unsupported(
                "`rope_type` in `config.json` is `longrope`, which runtimes do not know for this architecture",
            ));
        }
        Ok(rope)
    }

    /// Reads and checks the parameters; `share` is the part of a head that is rotated if the config
    /// does not say it.
    ///
    /// # Errors
    /// `Malformed`, naming the key; `Unsupported` for a kind of scaling that is not known.
    pub(crate) fn read_partial(
        config: &ModelConfig,
        default_theta: f64,
        share: f64,
    ) -> Result<Self> {
        let outer = config.object(&OBJECTS)?.unwrap_or_default();
        let within = || "in `rope_parameters` or `rope_scaling`";
        let sliding = outer.object(&["sliding_attention"]).context(within)?;
        // Models with two kinds of layers have two sets; the common keys describe the full one.
        let own = outer.object(&["full_attention"]).context(within)?.unwrap_or(outer);
        let theta = match own.f64(&["rope_theta"]).context(within)? {
            Some(theta) => theta,
            None => config.f64(&["rope_theta", "rotary_emb_base"])?.unwrap_or(default_theta),
        };
        let theta = positive("rope_theta", theta)?;
        let sliding_theta = match sliding {
            Some(sliding) => sliding.f64(&["rope_theta"]).context(within)?,
            None => config.f64(&SLIDING_THETA)?,
        };
        let sliding_theta = sliding_theta.map(|theta| positive("rope_local_base_freq", theta));
        let share = match own.f64(&SHARE).context(within)? {
            Some(share) => share,
            None => config.f64(&SHARE)?.unwrap_or(share),
        };
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::malformed(format!(
                "`partial_rotary_factor` in `config.json` is {share}, expected more than 0 and at most 1"
            )));
        }
        let sections = sections(&own).context(within)?;
        let scaling = Scaling::read(config, &own).context(within)?;
        Ok(Self { theta, sliding_theta: sliding_theta.transpose()?, share, sections, scaling })
    }

    /// How many of `width` rows are rotated.
    ///
    /// # Errors
    /// `Malformed` if there are none, or if they are no pairs.
    pub(crate) fn rotated(&self, width: u64) -> Result<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the share is at most 1, and fractions of rows are not rotated"
        )]
        let rows = (self.share * width as f64) as u64;
        if rows == 0 || !rows.is_multiple_of(2) {
            return Err(Error::malformed(format!(
                "`partial_rotary_factor` in `config.json` is {}: of {width} rows of a head {rows} would be rotated; rotary embeddings need an even number",
                self.share
            )));
        }
        Ok(rows)
    }

    /// Writes base and scaling.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.rope.{name}");
        self.write_scaling(arch, out)?;
        out.set(key("freq_base"), self.theta);
        if let Some(theta) = self.sliding_theta {
            out.set(key("freq_base_swa"), theta);
        }
        if let Some(sections) = self.sections {
            let sections = Array::I32(sections.to_vec());
            out.set(key("dimension_sections"), gguf::Value::Array(sections));
        }
        Ok(())
    }

    /// Writes base and scaling for architectures whose files leave out the base that runtimes
    /// assume.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    pub(crate) fn write_unusual(&self, arch: &str, out: &mut Meta) -> Result<()> {
        if self.theta != ASSUMED_THETA {
            out.set(format!("{arch}.rope.freq_base"), self.theta);
        }
        self.write_scaling(arch, out)
    }

    /// Writes the scaling.
    ///
    /// # Errors
    /// `Limit` if a number does not fit its key.
    fn write_scaling(&self, arch: &str, out: &mut Meta) -> Result<()> {
        let key = |name: &str| format!("{arch}.rope.{name}");
        match &self.scaling {
            Scaling::None | Scaling::Llama3 { .. } | Scaling::Long { .. } => {}
            Scaling::Linear { factor } => {
                out.set(key("scaling.type"), "linear");
                out.set(key("scaling.factor"), *factor);
            }
            Scaling::Yarn { factor, original_context, options } => {
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

    /// What each frequency is divided by, `head_dim / 2` values, if the scaling is that of Llama 3.
    ///
    /// Frequency `i` is `theta^(-2i/d)` with wavelength `w = 2 pi / f`. With `n` the original
    /// context: 1 below `n / high`, `factor` above `n / low`, and between them the reciprocal of
    /// `(1 - s) / factor + s` where `s = (n / w - low) / (high - low)`. Everything in `f32`, as the
    /// models were trained.
    fn llama3_factors(&self, head_dim: u64) -> Option<Vec<f32>> {
        let Scaling::Llama3 { factor, low, high, original_context } = self.scaling else {
            return None;
        };
        let of = |exponent: f32| {
            let frequency = 1.0 / fmath::powf(self.theta, exponent);
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

impl Rope {
    /// The tensor of [`Self::llama3_factors`], if the scaling has one.
    pub(crate) fn llama3_tensor(&self, head_dim: u64) -> Vec<Generated> {
        let generated = |values| Generated { name: "rope_freqs.weight".to_owned(), values };
        self.llama3_factors(head_dim).map(generated).into_iter().collect()
    }
}

impl Scaling {
    fn read(config: &ModelConfig, own: &ModelConfig) -> Result<Self> {
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

const SECTIONS: [&str; 1] = ["mrope_section"];

/// The sections of positions in images, padded to four.
fn sections(own: &ModelConfig) -> Result<Option<[i32; 4]>> {
    let Some(list) = own.value(&SECTIONS) else { return Ok(None) };
    let wrong = || Error::malformed("`mrope_section` is no list of up to four counts");
    let list = list.as_array().filter(|list| list.len() <= 4).ok_or_else(wrong)?;
    let mut out = [0; 4];
    for (to, count) in out.iter_mut().zip(list) {
        let count = count.as_u64().filter(|&count| count <= MAX_HEADS).ok_or_else(wrong)?;
        *to = i32::try_from(count).map_err(|_| wrong())?;
    }
    Ok(Some(out))
}

fn factor(own: &ModelConfig) -> Result<f32> {
    positive("factor", own.require_f64(&["factor"])?)
}

fn positive(key: &str, value: f64) -> Result<f32> {
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
    fn base_of_old_and_new_configs() {
        let theta = |keys: Value| read(&keys).map(|rope| rope.theta).ok();
        assert_eq!(theta(json!({})), Some(1e4));
        assert_eq!(theta(json!({"rope_theta": 500_000})), Some(5e5));
        assert_eq!(
            theta(json!({"rope_theta": 1, "rope_parameters": {"rope_theta": 2}})),
            Some(2.0)
        );
        assert_eq!(
            theta(json!({"rope_parameters": {"full_attention": {"rope_theta": 3},
            "sliding_attention": {"rope_theta": 4}}})),
            Some(3.0)
        );
        assert_eq!(theta(json!({"rope_scaling": null, "rope_theta": 6})), Some(6.0));
        for bad in [json!(0), json!(-1), json!(1e300), json!("x")] {
            assert_eq!(theta(json!({"rope_theta": bad})), None, "{bad}");
        }
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
        let factors = read(&keys).ok().and_then(|rope| rope.llama3_factors(64)).unwrap_or_default();
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
        assert_eq!(read(&json!({})).ok().and_then(|rope| rope.llama3_factors(64)), None);
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
        assert_eq!(kind(json!({"partial_rotary_factor": 0.5})), Some(ErrorKind::Unsupported));
        assert_eq!(kind(json!({"partial_rotary_factor": 1})), None);
    }
}
