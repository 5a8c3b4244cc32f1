//! What a tensor is for, read from its GGUF name: its part in the mixtures, its layer, and whether
//! it stays as it is.

use crate::recipe::Tensor;

/// The parts that mixtures tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The output head.
    Output,
    /// Token embeddings.
    Embedding,
    /// Attention values, also fused with queries and keys or in a compressed pair.
    Values,
    /// Attention keys.
    Keys,
    /// Attention queries.
    Queries,
    /// The projection behind attention.
    AttnOutput,
    /// Feed-forward up, experts included; so are the next two.
    Up,
    /// Feed-forward gate.
    Gate,
    /// Feed-forward down.
    Down,
    /// Anything else.
    Other,
}

impl Part {
    /// The part of that GGUF tensor name.
    pub(crate) fn of(name: &str) -> Self {
        if name == OUTPUT {
            return Self::Output;
        }
        if is_embedding(name) {
            return Self::Embedding;
        }
        // Anywhere in the name, first hit wins: encoders and decoders have prefixes, experts have
        // suffixes. `attn_q_a`, `attn_v_b` and their like are none of these, as in llama-quantize.
        let marks = [
            ("attn_qkv.weight", Self::Values),
            ("attn_kv_b.weight", Self::Values),
            ("attn_v.weight", Self::Values),
            ("attn_k.weight", Self::Keys),
            ("attn_q.weight", Self::Queries),
            ("attn_output.weight", Self::AttnOutput),
            ("ffn_up", Self::Up),
            ("ffn_gate", Self::Gate),
            ("ffn_down", Self::Down),
        ];
        marks.iter().find(|(mark, _)| name.contains(mark)).map_or(Self::Other, |&(_, part)| part)
    }
}

/// The name of the output head; models without one use their embeddings for it.
pub(crate) const OUTPUT: &str = "output.weight";

/// Whether that is a table of token embeddings.
pub(crate) fn is_embedding(name: &str) -> bool {
    matches!(name, "token_embd.weight" | "per_layer_token_embd.weight")
}

/// The layer of a tensor named `blk.N…`.
pub(crate) fn layer(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("blk.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

/// Positions of `tensors` in the order in which counters run: outside layers first, then by layer,
/// each group in byte order of the names.
pub(crate) fn counting_order(tensors: &[Tensor<'_>]) -> Vec<usize> {
    let mut order: Vec<(Option<u32>, &str, usize)> =
        tensors.iter().enumerate().map(|(at, t)| (layer(t.name), t.name, at)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, at)| at).collect()
}

/// Why a tensor must not be quantized, if so. The rules are those of `llama-quantize`.
pub(crate) fn never_quantized(arch: &str, tensor: &Tensor<'_>) -> Option<&'static str> {
    let name = tensor.name;
    if tensor.rank() < 2 {
        return Some(ONE_DIMENSION);
    }
    if !name.ends_with("weight") {
        return Some(NOT_A_WEIGHT);
    }
    if matches!(name, "position_embd.weight" | "token_types.weight") {
        return Some(POSITIONS);
    }
    let found = |marks: &[(&str, &'static str)]| {
        marks.iter().find(|(mark, _)| name.contains(mark)).map(|&(_, why)| why)
    };
    found(NEVER).or_else(|| if arch == "glm5-next" { found(NEVER_GLM5) } else { None })
}

/// Why a tensor is F32 even in a file of F16 or BF16, if so. The rules are those of the converter
/// from Hugging Face checkpoints.
pub(crate) fn always_f32(tensor: &Tensor<'_>) -> Option<&'static str> {
    let name = tensor.name;
    // Unlike above, trailing ones are dimensions here.
    if tensor.dims.len() < 2 {
        return Some(ONE_DIMENSION);
    }
    if name.ends_with("_norm.weight") {
        return Some(NORM);
    }
    let Some(stem) = name.strip_suffix(".weight") else {
        return Some(NOT_A_WEIGHT);
    };
    if matches!(stem, "position_embd" | "token_types" | "v.position_embd" | "a.position_embd") {
        return Some(POSITIONS);
    }
    let last = match layer(name) {
        Some(_) => stem.splitn(3, '.').nth(2)?,
        None => stem,
    };
    match last {
        "ffn_gate_inp" | "ffn_gate_inp_shexp" => Some(ROUTER),
        "ssm_conv1d" | "ssm_conv1d_q" | "ssm_conv1d_k" | "ssm_conv1d_v" | "shortconv.conv" => {
            Some(CONVOLUTION)
        }
        "time_mix_first"
        | "time_mix_w1"
        | "time_mix_w2"
        | "time_mix_decay_w1"
        | "time_mix_decay_w2"
        | "time_mix_lerp_fused"
        | "altup_correct_coef"
        | "altup_predict_coef"
        | "indexer.proj" => Some(SMALL),
        _ => None,
    }
}

/// The expert router of a layer: small, and a wrong choice of expert spoils everything behind it.
pub(crate) const ROUTER: &str = "expert router";
const ONE_DIMENSION: &str = "one-dimensional";
const NOT_A_WEIGHT: &str = "not a weight";
const NORM: &str = "norm";
const POSITIONS: &str = "position or segment embedding";
const CONVOLUTION: &str = "small convolution";
const SMALL: &str = "too small to matter in size";
const MEDIA: &str = "image or audio input";

/// Marks anywhere in a name that forbid quantization.
const NEVER: &[(&str, &str)] = &[
    ("_norm.weight", NORM),
    ("ffn_gate_inp.weight", ROUTER),
    ("ffn_gate_tid2eid.weight", ROUTER),
    ("altup", SMALL),
    ("laurel", SMALL),
    ("per_layer_model_proj", SMALL),
    ("ssm_conv1d", CONVOLUTION),
    ("shortconv.conv.weight", CONVOLUTION),
    ("indexer.k_proj.weight", SMALL),
    ("indexer.q_proj.weight", SMALL),
    ("time_mix_first.weight", SMALL),
    ("time_mix_w0.weight", SMALL),
    ("time_mix_w1.weight", SMALL),
    ("time_mix_w2.weight", SMALL),
    ("time_mix_v0.weight", SMALL),
    ("time_mix_v1.weight", SMALL),
    ("time_mix_v2.weight", SMALL),
    ("time_mix_a0.weight", SMALL),
    ("time_mix_a1.weight", SMALL),
    ("time_mix_a2.weight", SMALL),
    ("time_mix_g1.weight", SMALL),
    ("time_mix_g2.weight", SMALL),
    ("time_mix_decay_w1.weight", SMALL),
    ("time_mix_decay_w2.weight", SMALL),
    ("time_mix_lerp_fused.weight", SMALL),
    ("attn_rel_b.weight", POSITIONS),
    (".position_embd", POSITIONS),
    ("sam.pos_embd", POSITIONS),
    ("sam.neck.", MEDIA),
    ("sam.net_", MEDIA),
    (".rel_pos", POSITIONS),
    (".patch_embd", MEDIA),
    (".patch_merger", MEDIA),
    ("a.rvq.codebook", MEDIA),
    ("mm.a.code_embd", MEDIA),
];

/// More of them in the architecture `glm5-next`.
const NEVER_GLM5: &[(&str, &str)] = &[
    ("hc_", SMALL),
    ("indexer.attn_q_b", SMALL),
    ("indexer.attn_k", SMALL),
    ("indexer.proj", SMALL),
    ("indexer_compressor_gate", SMALL),
    ("indexer_compressor_ape", SMALL),
    ("ssm_f_a.weight", SMALL),
    ("ssm_f_b.weight", SMALL),
    ("ssm_g_a.weight", SMALL),
    ("ssm_g_b.weight", SMALL),
    ("ssm_beta.weight", SMALL),
    ("attn_kv_a_mqa.weight", SMALL),
    ("attn_k_b.weight", SMALL),
    ("attn_v_b.weight", SMALL),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_name() {
        let cases = [
            ("output.weight", Part::Output),
            ("blk.0.attn_output.weight", Part::AttnOutput),
            ("per_layer_token_embd.weight", Part::Embedding),
            ("blk.1.attn_qkv.weight", Part::Values),
            ("dec.blk.1.cross_attn_v.weight", Part::Values),
            ("blk.1.attn_kv_b.weight", Part::Values),
            ("blk.1.attn_v_b.weight", Part::Other),
            ("blk.1.attn_kv_a_mqa.weight", Part::Other),
            ("blk.1.attn_k_norm.weight", Part::Other),
            ("blk.1.ffn_gate_up_exps.weight", Part::Gate),
            ("blk.1.ffn_down_shexp.weight", Part::Down),
        ];
        for (name, part) in cases {
            assert_eq!(Part::of(name), part, "{name}");
        }
    }

    #[test]
    fn layers_count_as_numbers() {
        let names =
            ["blk.10.a", "blk.9.b", "token_embd.weight", "blk.9.a", "enc.blk.0.a", "output.weight"];
        let tensors: Vec<_> = names.iter().map(|name| Tensor { name, dims: &[] }).collect();
        let sorted: Vec<_> = counting_order(&tensors).into_iter().map(|at| names[at]).collect();
        assert_eq!(
            sorted,
            ["enc.blk.0.a", "output.weight", "token_embd.weight", "blk.9.a", "blk.9.b", "blk.10.a"]
        );
        assert_eq!(layer("blk.99999999999.x"), None);
        assert_eq!(layer("blk.x"), None);
    }

    #[test]
    fn what_stays() {
        let never = |name: &str, dims: &[u64]| never_quantized("llama", &Tensor { name, dims });
        assert_eq!(never("blk.0.attn_q.weight", &[64, 64]), None);
        assert_eq!(never("blk.0.ffn_gate_inp_shexp.weight", &[64, 1]), Some(ONE_DIMENSION));
        assert_eq!(never("blk.0.ffn_gate_inp.weight", &[64, 8]), Some(ROUTER));
        assert_eq!(never("blk.0.ffn_down_exps.bias", &[64, 8]), Some(NOT_A_WEIGHT));
        assert_eq!(never("token_types.weight", &[64, 2]), Some(POSITIONS));
        assert_eq!(never("blk.0.attn_k_b.weight", &[64, 64, 2]), None);
        let glm5 = Tensor { name: "blk.0.attn_k_b.weight", dims: &[64, 64, 2] };
        assert_eq!(never_quantized("glm5-next", &glm5), Some(SMALL));

        let always = |name: &str, dims: &[u64]| always_f32(&Tensor { name, dims });
        assert_eq!(always("blk.0.ffn_gate_inp_shexp.weight", &[64, 1]), Some(ROUTER));
        assert_eq!(always("blk.0.shortconv.conv.weight", &[4, 64]), Some(CONVOLUTION));
        assert_eq!(always("blk.12.attn_q.weight", &[64, 64]), None);
        assert_eq!(always("blk.12.attn_q.weight", &[64, 1]), None);
        assert_eq!(always("enc.blk.0.attn_rel_b.weight", &[8, 32]), None);
        assert_eq!(always("blk.0.attn_q.bias", &[64, 8]), Some(NOT_A_WEIGHT));
        assert_eq!(always("output.weight", &[64]), Some(ONE_DIMENSION));
    }
}
