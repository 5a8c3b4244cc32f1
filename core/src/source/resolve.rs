//! Puts the tensors of a quantized checkpoint together, see [`super::claim`].

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Catalog;
use super::method::Method;
use super::{Model, SourceTensor};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::io::Files;
use crate::tensor::DType;

/// Scales of activations and caches, which weights do not need.
const DROPPED: &[&str] = &[
    "input_scale",
    "input_scale_ub",
    "input_global_scale",
    "input_zero_point",
    "output_scale",
    "output_zero_point",
    "activation_scale",
    "qscale_act",
    "q_scale",
    "k_scale",
    "v_scale",
    "k_zero_point",
    "v_zero_point",
];

/// Ends of names that only mean something beside codes.
const BESIDE: &[&str] = &[
    "_scale_inv",
    ".weight_scale",
    ".weight_scale_2",
    ".weight_global_scale",
    ".weight_zero_point",
    ".weight_shape",
    ".weight_g_idx",
    ".weight_packed",
    ".qscale_weight",
    "_scales",
    "_blocks",
];

/// Ends of names that only other methods use, and the method.
const FOREIGN: &[(&str, &str)] = &[
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".absmax", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".W_q", "HQQ"),
    (".pre_quant_scale", "AWQ in Model Optimizer"),
    (".bitmask", "a sparse format of compressed-tensors"),
];

impl Model {
    /// Puts tensors together that the checkpoint keeps as codes and scales; `config` is the model's
    /// `config.json`. Afterwards names, types and shapes are those of the weights.
    ///
    /// # Errors
    /// `Unsupported` for methods that are not read; `Malformed` if parts are missing, contradict each
    /// other or are not what the config says. Both name the tensor and its file.
    pub fn resolve(&mut self, files: &dyn Files, config: Option<&ModelConfig>) -> Result<()> {
        let method = Method::of(config)?;
        let catalog = Catalog::new(files, &self.shards, &self.tensors, &method);
        let mut owner: BTreeMap<usize, usize> = BTreeMap::new();
        let mut made: BTreeMap<usize, SourceTensor> = BTreeMap::new();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for number in 0..self.tensors.len() {
            let Some(claim) = catalog.claim(number)? else { continue };
            for part in claim.parts {
                if let Some(other) = owner.insert(part, number) {
                    return Err(Error::malformed(format!(
                        "it is taken for a part of both {} and {}",
                        catalog.place(other),
                        catalog.place(number)
                    ))
                    .context(catalog.place(part)));
                }
            }
            let derived = claim.tensor.derived.as_ref();
            *kinds.entry(derived.map_or("", |derived| derived.encoding)).or_default() += 1;
            made.insert(number, claim.tensor);
        }
        let quantized = method.is_stated() || !made.is_empty();
        let mut tensors = Vec::with_capacity(self.tensors.len());
        let mut names = BTreeSet::new();
        let (mut consumed, mut dropped) = (0, 0);
        for (number, tensor) in self.tensors.iter().enumerate() {
            let tensor = match (made.remove(&number), owner.contains_key(&number)) {
                (Some(derived), _) => derived,
                (None, true) => {
                    consumed += 1;
                    continue;
                }
                (None, false) if quantized && is_dropped(&tensor.info.name) => {
                    dropped += 1;
                    continue;
                }
                (None, false) => {
                    check_alone(&catalog, number, quantized)?;
                    tensor.clone()
                }
            };
            if !names.insert(tensor.info.name.clone()) {
                return Err(Error::malformed(format!(
                    "two tensors are, or become, `{}`",
                    tensor.info.name
                ))
                .context(catalog.place(number))
                .with_hint("the checkpoint has the weights twice: remove the files of one form"));
            }
            tensors.push(tensor);
        }
        for (kind, count) in &kinds {
            self.notes.push(match count {
                1 => format!("1 tensor is `{kind}` and was put together with its scales"),
                _ => {
                    format!("{count} tensors are `{kind}` and were put together with their scales")
                }
            });
        }
        if consumed > 0 || dropped > 0 {
            let mut note = format!("{consumed} tensors of scales are part of the weights now");
            if dropped > 0 {
                note.push_str(&format!("; {dropped} scales of activations are left out"));
            }
            self.notes.push(note);
        }
        if let (Some(name), true) = (&method.name, kinds.is_empty()) {
            return Err(Error::malformed(format!(
                "`quantization_config` in `{}` says `{name}`, but no tensor is quantized like that",
                files.place("config.json")
            ))
            .with_hint(
                "if the checkpoint was dequantized, remove `quantization_config`; else download \
                 config and weights again",
            ));
        }
        self.tensors = tensors;
        Ok(())
    }
}

fn is_dropped(name: &str) -> bool {
    DROPPED.iter().any(|end| {
        name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.') || rest.ends_with('_'))
    })
}

/// Refuses tensors that mean nothing by themselves.
fn check_alone(catalog: &Catalog<'_>, number: usize, quantized: bool) -> Result<()> {
    let Some(tensor) = catalog.tensors.get(number) else { return Ok(()) };
    let name = tensor.info.name.as_str();
    if let Some((_, method)) = FOREIGN.iter().find(|(end, _)| name.ends_with(end)) {
        return Err(Error::unsupported(format!(
            "it is a part of weights quantized by {method}, which is not supported"
        ))
        .context(catalog.place(number))
        .with_hint(
            "import the original checkpoint in BF16, F16 or F32, or dequantize this one first",
        ));
    }
    if !quantized {
        return Ok(());
    }
    let codes = match tensor.info.dtype {
        DType::F8E4m3 | DType::F8E5m2 => true,
        DType::I8 | DType::U8 | DType::I32 => name.ends_with(".weight"),
        _ => false,
    };
    if codes {
        return Err(Error::malformed(format!(
            "its scale is missing: there is no `{name}_scale_inv` and no `{name}_scale`"
        ))
        .context(catalog.place(number))
        .with_hint("import all shards of the model, or download it again"));
    }
    let Some(end) = BESIDE.iter().find(|end| name.ends_with(*end)) else { return Ok(()) };
    let base = name.strip_suffix(end).unwrap_or(name);
    let weight = [format!("{base}.weight"), base.to_owned()];
    let found = weight.iter().find_map(|name| catalog.tensors.get(catalog.find(name)?));
    Err(Error::malformed(match found {
        Some(found) => format!(
            "it belongs to `{}`, which is {}: expected codes of 8 bits or less",
            found.info.name, found.info.dtype
        ),
        None => format!(
            "it belongs to weights that are not there: expected `{}`",
            weight.join("` or `")
        ),
    })
    .context(catalog.place(number))
    .with_hint("import all shards of the model, or download it again"))
}
