//! LongRoPE as the GGUF format has it: two tensors of factors and a factor for attention.

use gmat_core::arch::Generated;
use gmat_core::error::{Error, Result};
use gmat_core::fmath;
use gmat_core::format::gguf::Meta;

use super::{Rope, Scaling, float};

impl Rope {
    /// The tensors of factors, if the scaling has them.
    ///
    /// # Errors
    /// `Malformed` if there are not `rotated / 2` factors.
    pub(crate) fn long_factors(&self, rotated: u64) -> Result<Vec<Generated>> {
        let Scaling::Long { short, long, .. } = &self.scaling else { return Ok(Vec::new()) };
        let tensor = |key: &str, name: &str, values: &[f32]| {
            if values.len() as u64 != rotated / 2 {
                return Err(Error::malformed(format!(
                    "`{key}` in `rope_scaling` of `config.json` has {} factors, expected {}: half of the {rotated} rotated rows of a head",
                    values.len(),
                    rotated / 2
                )));
            }
            Ok(Generated { name: name.to_owned(), values: values.to_vec() })
        };
        Ok(vec![
            tensor("long_factor", "rope_factors_long.weight", long)?,
            tensor("short_factor", "rope_factors_short.weight", short)?,
        ])
    }

    /// Writes the factor for attention: that of the config, or `sqrt(1 + ln(s) / ln(o))` with `s`
    /// the growth of the context and `o` its original length.
    ///
    /// # Errors
    /// `Malformed` if the factor is no 32-bit float.
    pub(crate) fn write_long(
        &self,
        arch: &str,
        context: u64,
        original: u64,
        out: &mut Meta,
    ) -> Result<()> {
        let Scaling::Long { attention, .. } = self.scaling else { return Ok(()) };
        let factor = match attention {
            Some(factor) => factor,
            None if context <= original => 1.0,
            None => {
                let (context, original) = (context as f64, original as f64);
                let growth = fmath::ln_f64(context / original) / fmath::ln_f64(original);
                float("original_max_position_embeddings", (1.0 + growth).sqrt())?
            }
        };
        out.set(format!("{arch}.rope.scaling.attn_factor"), factor);
        Ok(())
    }
}
