//! What a plan tells about types that are not what one might expect.

use std::collections::BTreeMap;

use crate::ggml::GgmlType;
use crate::recipe::{Choice, Why};

/// Counts of tensors by what is remarkable about their types.
#[derive(Default)]
pub(crate) struct Remarks {
    /// By the type that they get and the one that does not fit.
    unfit: BTreeMap<(&'static str, &'static str), usize>,
    /// Tensors that stay F32 whatever is asked for.
    kept: usize,
    /// Tensors quantized to less than 8 bits that are quantized again, by their type so far.
    again: BTreeMap<&'static str, usize>,
    /// One line for every tensor that does not get its type.
    details: Vec<String>,
}

impl Remarks {
    /// Looks at the type of a tensor; `stored` is the type that it has in the store, if its values
    /// are to be quantized anew.
    pub(crate) fn look(&mut self, name: &str, choice: &Choice, stored: Option<GgmlType>) {
        match choice.why {
            Why::Fallback { wanted } => {
                *self.unfit.entry((choice.ty, wanted)).or_default() += 1;
                self.details.push(format!(
                    "`{name}` becomes `{}`: its rows are not whole blocks of `{wanted}`",
                    choice.ty
                ));
            }
            Why::KeptF32 { overridden: true, .. } => self.kept += 1,
            _ => {}
        }
        let coarse = |ty: &GgmlType| ty.is_quantized() && ty.block().bits() < 8.0;
        if let Some(ty) = stored.filter(coarse) {
            *self.again.entry(ty.name()).or_default() += 1;
        }
    }

    /// Puts it in words; returns the details.
    pub(crate) fn finish(self, notes: &mut Vec<String>, warnings: &mut Vec<String>) -> Vec<String> {
        for ((ty, wanted), count) in self.unfit {
            let (tensors, become_, their) = match count {
                1 => ("1 tensor".to_owned(), "becomes", "its"),
                _ => (format!("{count} tensors"), "become", "their"),
            };
            notes.push(format!(
                "{tensors} {become_} `{ty}`: {their} rows are not whole blocks of `{wanted}`"
            ));
        }
        if self.kept > 0 {
            let tensors = match self.kept {
                1 => "1 tensor stays".to_owned(),
                count => format!("{count} tensors stay"),
            };
            notes.push(format!(
                "{tensors} f32 whatever the config says: runtimes reject other types for vectors \
                 and routers"
            ));
        }
        if !self.again.is_empty() {
            let types: Vec<_> =
                self.again.iter().map(|(ty, count)| format!("{count} of `{ty}`")).collect();
            warnings.push(format!(
                "tensors that are quantized already are quantized again ({}): quality suffers twice; \
                 start from the original model, or from one of 8 bits or more",
                types.join(", ")
            ));
        }
        self.details
    }
}
