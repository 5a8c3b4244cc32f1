//! From a file type, a model and its tensors to one type per tensor.

use crate::error::{Error, Result, ResultExt};
use crate::recipe::mixture::Mixture;
use crate::recipe::role::{self, OUTPUT, Part};
use crate::recipe::types::{Ty, unknown_type};
use crate::recipe::{Choice, FileType, Model, Tensor, Why};

/// Gives every tensor its type; the result is in the order of `tensors`.
///
/// `overrides` has one entry per tensor: a type by name (as [`super::base_type`] takes it), or none
/// to leave it to the file type. Tensors that must not be quantized stay `f32` even then.
///
/// Some mixtures count tensors as they go; what they count is independent of the order given here,
/// and tensors with an override are not counted.
///
/// # Errors
/// `Config` for an unknown type name; `Shape` if a row fits neither its type nor a substitute
/// (`q1_0` and `nvfp4` have none) or if the numbers of tensors and overrides differ; `Malformed` if
/// a mixture needs the layer of a tensor and the name has none within `block_count`.
pub fn assign(
    file_type: FileType,
    model: &Model<'_>,
    tensors: &[Tensor<'_>],
    overrides: &[Option<&str>],
) -> Result<Vec<Choice>> {
    if tensors.len() != overrides.len() {
        return Err(Error::shape(format!(
            "{} overrides for {} tensors",
            overrides.len(),
            tensors.len()
        )));
    }
    let mut mixture = Mixture::new(file_type, model, tensors);
    let mut choices = vec![Choice { ty: Ty::F32.name(), why: Why::Default }; tensors.len()];
    for at in role::counting_order(tensors) {
        let (Some(tensor), Some(wanted), Some(choice)) =
            (tensors.get(at), overrides.get(at), choices.get_mut(at))
        else {
            continue;
        };
        *choice = choose(file_type, model, &mut mixture, tensor, *wanted)
            .context(|| format!("tensor `{}`", tensor.name))?;
    }
    Ok(choices)
}

fn choose(
    file_type: FileType,
    model: &Model<'_>,
    mixture: &mut Mixture<'_>,
    tensor: &Tensor<'_>,
    wanted: Option<&str>,
) -> Result<Choice> {
    let base = file_type.base();
    let over = match wanted {
        Some(name) => Some(Ty::of_tensor(name).ok_or_else(|| unknown_type(name))?),
        None => None,
    };
    let keep = match over {
        None if !base.is_quantized() => role::always_f32(tensor),
        None => role::never_quantized(model.arch, tensor),
        Some(ty) if ty.is_quantized() => role::never_quantized(model.arch, tensor),
        // Of what must not be quantized some may well be `f16`.
        Some(_) => role::never_quantized(model.arch, tensor)
            .filter(|_| tensor.rank() < 2 || role::always_f32(tensor).is_some()),
    };
    if let Some(reason) = keep {
        let overridden = over.is_some_and(|ty| ty != Ty::F32);
        return Ok(Choice { ty: Ty::F32.name(), why: Why::KeptF32 { reason, overridden } });
    }
    let (ty, why) = match over {
        Some(ty) => (ty, Why::Override),
        None if !base.is_quantized() => (base, Why::Default),
        None => match mixture.next(tensor, Part::of(tensor.name))? {
            Some((ty, role)) if ty != base => (ty, Why::Role(role)),
            _ => (base, Why::Default),
        },
    };
    let cols = tensor.cols();
    match ty.fit(cols) {
        Some(fitting) if fitting == ty => Ok(Choice { ty: ty.name(), why }),
        Some(other) => Ok(Choice { ty: other.name(), why: Why::Fallback { wanted: ty.name() } }),
        None => Err(Error::shape(format!(
            "rows of {cols} are not a multiple of the {} weights in a block of `{}`",
            ty.block().elems,
            ty.name()
        ))
        .with_hint("there is no substitute for this type: choose another for this tensor")),
    }
}

/// Whether a tensor of type `ty` (lowercase) in a file of `file_type` must have importance data.
///
/// Types of about two bits come out unusable without; embeddings and the output head are exempt,
/// as no importance is collected for them.
#[must_use]
pub fn needs_importance(file_type: FileType, name: &str, ty: &str) -> bool {
    if name == OUTPUT || role::is_embedding(name) {
        return false;
    }
    match ty {
        "iq1_s" | "iq1_m" | "iq2_xxs" | "iq2_xs" | "iq2_s" | "iq3_xxs" => true,
        "q2_k" => file_type == FileType::Q2KS,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const MODEL: Model<'_> = Model {
        arch: "llama",
        block_count: 32,
        heads: 32,
        kv_heads: 8,
        experts: 0,
        has_importance: false,
    };

    fn one(mix: FileType, name: &str, dims: &[u64], over: Option<&str>) -> Result<Choice> {
        Ok(assign(mix, &MODEL, &[Tensor { name, dims }], &[over])?[0])
    }

    #[test]
    fn overrides_mean_base_types_and_fall_back() {
        let choice = one(FileType::Q4KM, "blk.0.attn_v.weight", &[512, 8], Some("Q5_K_M")).unwrap();
        assert_eq!(choice, Choice { ty: "q5_k", why: Why::Override });
        let choice = one(FileType::Q4KM, "blk.0.attn_v.weight", &[96, 8], Some("q6_k")).unwrap();
        assert_eq!(choice, Choice { ty: "q8_0", why: Why::Fallback { wanted: "q6_k" } });
        let choice = one(FileType::F16, "blk.0.attn_v.weight", &[512, 8], Some("q8_0")).unwrap();
        assert_eq!(choice, Choice { ty: "q8_0", why: Why::Override });
        let error = one(FileType::F16, "blk.0.attn_v.weight", &[512, 8], Some("q9_0")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let error = one(FileType::Q8_0, "blk.0.attn_v.weight", &[96, 8], Some("q1_0")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape);
        assert!(error.to_string().contains("`blk.0.attn_v.weight`"), "{error}");
    }

    #[test]
    fn kept_tensors_stay_whatever_is_asked() {
        let kept: &[(&str, &[u64])] = &[
            ("blk.0.attn_norm.weight", &[512]),
            ("blk.0.attn_k_norm.weight", &[64, 8]),
            ("blk.0.attn_q.bias", &[512]),
            ("blk.0.ffn_gate_inp.weight", &[512, 8]),
            ("blk.0.ffn_gate_inp_shexp.weight", &[512, 1]),
            ("position_embd.weight", &[512, 512]),
        ];
        for (name, dims) in kept {
            for mix in FileType::ALL {
                let choice = one(*mix, name, dims, None).unwrap();
                assert_eq!(choice.ty, "f32", "{name} in {mix}");
                assert!(matches!(choice.why, Why::KeptF32 { overridden: false, .. }), "{name}");
                for over in ["q8_0", "f16", "nvfp4"] {
                    let choice = one(*mix, name, dims, Some(over)).unwrap();
                    assert_eq!(choice.ty, "f32", "{name} in {mix}");
                    assert!(matches!(choice.why, Why::KeptF32 { overridden: true, .. }), "{name}");
                }
                let choice = one(*mix, name, dims, Some("f32")).unwrap();
                assert!(matches!(choice.why, Why::KeptF32 { overridden: false, .. }), "{name}");
            }
        }
    }

    #[test]
    fn tensors_that_only_quantizing_would_spoil_may_be_f16() {
        let name = "enc.blk.0.attn_rel_b.weight";
        assert_eq!(one(FileType::F16, name, &[8, 32], None).unwrap().ty, "f16");
        assert_eq!(one(FileType::Q8_0, name, &[8, 32], Some("f16")).unwrap().ty, "f16");
        assert_eq!(one(FileType::Q8_0, name, &[32, 8], None).unwrap().ty, "f32");
        assert_eq!(one(FileType::F16, name, &[32, 8], Some("q8_0")).unwrap().ty, "f32");
    }

    #[test]
    fn overridden_tensors_are_not_counted() {
        let names: Vec<_> = (0..8).map(|layer| format!("blk.{layer}.attn_v.weight")).collect();
        let dims = [512, 8];
        let tensors: Vec<_> = names.iter().map(|name| Tensor { name, dims: &dims }).collect();
        let types = |overrides: &[Option<&str>]| {
            let choices = assign(FileType::Q3KM, &MODEL, &tensors, overrides).unwrap();
            choices.into_iter().map(|choice| choice.ty).collect::<Vec<_>>()
        };
        // This mix favours the first two value projections it meets.
        let mut overrides = [None; 8];
        assert_eq!(types(&overrides)[..4], ["q5_k", "q5_k", "q4_k", "q4_k"]);
        overrides[0] = Some("f16");
        assert_eq!(types(&overrides)[..4], ["f16", "q5_k", "q5_k", "q4_k"]);
    }

    #[test]
    fn the_order_given_does_not_matter() {
        let names: Vec<_> = (0..12).map(|layer| format!("blk.{layer}.attn_v.weight")).collect();
        let dims = [512, 8];
        let tensors: Vec<_> = names.iter().map(|name| Tensor { name, dims: &dims }).collect();
        let mut reversed = tensors.clone();
        reversed.reverse();
        let forth = assign(FileType::Q4KM, &MODEL, &tensors, &[None; 12]).unwrap();
        let mut back = assign(FileType::Q4KM, &MODEL, &reversed, &[None; 12]).unwrap();
        assert!(forth.iter().any(|choice| choice.ty == "q6_k"));
        assert!(forth.iter().any(|choice| choice.ty == "q4_k"));
        back.reverse();
        assert_eq!(forth, back);
    }

    #[test]
    fn layers_of_expert_models_must_be_known() {
        let model = Model { experts: 4, ..MODEL };
        for name in ["dec.ffn_down.weight", "blk.32.ffn_up_exps.weight"] {
            let tensors = [Tensor { name, dims: &[512, 8] }];
            let error = assign(FileType::Q8_0, &model, &tensors, &[None]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{name}");
        }
        let error = assign(FileType::Q8_0, &model, &[], &[None]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape);
    }

    #[test]
    fn who_needs_importance() {
        let name = "blk.0.attn_q.weight";
        assert!(needs_importance(FileType::Iq2M, name, "iq2_s"));
        assert!(needs_importance(FileType::Q4KM, name, "iq3_xxs"));
        assert!(needs_importance(FileType::Q2KS, name, "q2_k"));
        assert!(!needs_importance(FileType::Q2K, name, "q2_k"));
        assert!(!needs_importance(FileType::Iq3S, name, "iq3_s"));
        assert!(!needs_importance(FileType::Iq1S, "output.weight", "iq1_s"));
        assert!(!needs_importance(FileType::Q2KS, "per_layer_token_embd.weight", "q2_k"));
    }
}
