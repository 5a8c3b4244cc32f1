//! Rotary position embeddings: base, share of a head, sections of positions in images.
//!
//! Config keys: the "RoPE utilities" documentation of the `transformers` library. GGUF keys: the
//! `rope.*` keys of the GGUF specification.

use gmat_core::arch::Generated;
use gmat_core::config::ModelConfig;
use gmat_core::error::{Error, Result, ResultExt};
use gmat_core::format::gguf::{self, Array, Meta};

use super::hparams::MAX_HEADS;
use super::scaling::{Scaling, positive};

/// Keys of `config.json` under which the parameters are: new and old style.
pub(super) const OBJECTS: [&str; 2] = ["rope_parameters", "rope_scaling"];

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
        self.scaling.write(arch, out)?;
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
        self.scaling.write(arch, out)
    }

    /// The tensor of [`Scaling::llama3_factors`], if the scaling has one.
    pub(crate) fn llama3_tensor(&self, head_dim: u64) -> Vec<Generated> {
        let generated = |values| Generated { name: "rope_freqs.weight".to_owned(), values };
        let factors = self.scaling.llama3_factors(self.theta, head_dim);
        factors.map(generated).into_iter().collect()
    }
}

/// The key of [`Rope::sections`].
pub(super) const SECTIONS: [&str; 1] = ["mrope_section"];

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

#[cfg(test)]
mod tests {
    use super::*;
    use gmat_core::ErrorKind;
    use serde_json::{Value, json};

    fn read(keys: &Value) -> Result<Rope> {
        let keys = keys.as_object().cloned().unwrap_or_default();
        Rope::read(&ModelConfig::from_map(keys), 10_000.0)
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
    fn heads_that_are_rotated_in_part_are_refused_unless_known() {
        let kind = |keys: Value| read(&keys).err().map(|e| e.kind());
        assert_eq!(kind(json!({"partial_rotary_factor": 0.5})), Some(ErrorKind::Unsupported));
        assert_eq!(kind(json!({"partial_rotary_factor": 1})), None);
    }
}
