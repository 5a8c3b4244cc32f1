//! From the tensor names of decoder checkpoints to those of GGUF.
//!
//! Source names are those of the model classes of the `transformers` library, target names those of
//! the "Standardized tensor names" section of the GGUF specification.

use gmat_core::arch::Placement;
use gmat_core::error::{Error, Result};

/// What a module of a checkpoint is in GGUF.
pub(crate) struct Module {
    /// Path below the model (`norm`) or below a layer (`self_attn.q_proj`).
    pub(crate) source: &'static str,
    /// GGUF name without suffix, and without `blk.N.` for a module of a layer.
    pub(crate) target: &'static str,
    /// The tensors it may have.
    pub(crate) leaves: Leaves,
}

/// The tensors of a module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// `.weight`.
    Weight,
    /// `.weight` and `.bias`.
    WeightAndBias,
}

const fn module(source: &'static str, target: &'static str, leaves: Leaves) -> Module {
    Module { source, target, leaves }
}

/// Outside the layers.
pub(crate) const EMBEDDINGS: &[Module] = &[
    module("embed_tokens", "token_embd", Leaves::Weight),
    module("norm", "output_norm", Leaves::Weight),
    module("lm_head", "output", Leaves::Weight),
];

/// Projections of the attention.
pub(crate) const ATTENTION: &[Module] = &[
    module("self_attn.q_proj", "attn_q", Leaves::WeightAndBias),
    module("self_attn.k_proj", "attn_k", Leaves::WeightAndBias),
    module("self_attn.v_proj", "attn_v", Leaves::WeightAndBias),
    module("self_attn.o_proj", "attn_output", Leaves::WeightAndBias),
];

/// Norms of queries and keys, per head.
pub(crate) const QK_NORMS: &[Module] = &[
    module("self_attn.q_norm", "attn_q_norm", Leaves::Weight),
    module("self_attn.k_norm", "attn_k_norm", Leaves::Weight),
];

/// The gated feed-forward network.
pub(crate) const FEED_FORWARD: &[Module] = &[
    module("mlp.gate_proj", "ffn_gate", Leaves::WeightAndBias),
    module("mlp.up_proj", "ffn_up", Leaves::WeightAndBias),
    module("mlp.down_proj", "ffn_down", Leaves::WeightAndBias),
];

/// RMS norms before attention and feed-forward network.
pub(crate) const NORMS: &[Module] = &[
    module("input_layernorm", "attn_norm", Leaves::Weight),
    module("post_attention_layernorm", "ffn_norm", Leaves::Weight),
];

/// What a tensor name turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A tensor of the file: its GGUF name, and the module's for what depends on it.
    Tensor { name: String, module: &'static str },
    /// Left out on purpose.
    Drop(&'static str),
}

impl Named {
    /// The placement, with rows as they are.
    pub(crate) fn in_order(self) -> Placement {
        match self {
            Self::Tensor { name, .. } => {
                Placement::Tensor { name, rows: gmat_core::arch::RowMap::Identity }
            }
            Self::Drop(reason) => Placement::Drop(reason),
        }
    }
}

/// Prefixes that say where in a wrapper the text model sits; any sequence of them is ignored.
const CONTAINERS: [&str; 5] = ["model", "language_model", "text_model", "llm", "thinker"];

/// Looks a source tensor up. `global` modules are outside the layers, `layered` ones in each of the
/// `layers` layers. `None` if the name is unknown.
///
/// # Errors
/// `Malformed` if the tensor belongs to a layer that the config does not have.
pub(crate) fn find(
    tensor: &str,
    layers: u64,
    global: &[&'static [Module]],
    layered: &[&'static [Module]],
) -> Result<Option<Named>> {
    if let Some(reason) = dropped(tensor) {
        return Ok(Some(Named::Drop(reason)));
    }
    let mut path = tensor;
    while let Some((first, rest)) = path.split_once('.') {
        if !CONTAINERS.contains(&first) {
            break;
        }
        path = rest;
    }
    let Some((path, leaf)) = path.rsplit_once('.') else { return Ok(None) };
    let lookup = |path: &str, modules: &[&'static [Module]]| -> Option<&'static Module> {
        let fits = |module: &&'static Module| module.source == path && has(module.leaves, leaf);
        modules.iter().flat_map(|table| table.iter()).find(fits)
    };
    let named = |prefix: String, module: &Module| Named::Tensor {
        name: format!("{prefix}{}.{leaf}", module.target),
        module: module.target,
    };
    let Some(in_layer) = path.strip_prefix("layers.") else {
        return Ok(lookup(path, global).map(|module| named(String::new(), module)));
    };
    let Some((number, path)) = in_layer.split_once('.') else { return Ok(None) };
    // Only the canonical spelling: `07` and `7` must not become the same tensor.
    let Some(layer) = number.parse::<u64>().ok().filter(|layer| layer.to_string() == number) else {
        return Ok(None);
    };
    let Some(module) = lookup(path, layered) else { return Ok(None) };
    if layer >= layers {
        return Err(Error::malformed(format!(
            "tensor `{tensor}` is in layer {layer}, but `num_hidden_layers` in `config.json` is {layers}"
        )));
    }
    Ok(Some(named(format!("blk.{layer}."), module)))
}

fn has(leaves: Leaves, leaf: &str) -> bool {
    match leaf {
        "weight" => true,
        "bias" => leaves == Leaves::WeightAndBias,
        _ => false,
    }
}

/// Tensors of parts of a multimodal model that are not its language model, by a word in one of the
/// segments of their names ...
const OTHER_PARTS: [&str; 14] = [
    "vision",
    "visual",
    "audio",
    "projector",
    "patch_embed",
    "patch_merger",
    "image_newline",
    "view_separator",
    "view_seperator",
    "resampler",
    "sam_model",
    "talker",
    "token2wav",
    "code2wav",
];

/// ... or by the first segment that is no container.
const OTHER_ROOTS: [&str; 11] = [
    "vit",
    "vpm",
    "apm",
    "siglip2",
    "conformer",
    "merger",
    "connector",
    "mlp1",
    "sound_encoder",
    "sound_projection",
    "speech_embeddings",
];

/// Ends of names of buffers that old checkpoints stored although they are computed.
const BUFFERS: [&str; 5] = [
    ".rotary_emb.inv_freq",
    ".rotary_emb.cos_cached",
    ".rotary_emb.sin_cached",
    ".attention.masked_bias",
    ".attention.bias",
];

/// Ends of names of scales for runtimes that compute in 8 bits.
const ACTIVATION_SCALES: [&str; 5] =
    [".input_scale", ".activation_scale", "_activation_scale", ".k_scale", ".v_scale"];

/// Why a tensor has no place in the file of a text model, if so.
fn dropped(tensor: &str) -> Option<&'static str> {
    if BUFFERS.iter().any(|end| tensor.ends_with(end)) {
        return Some("a buffer that runtimes compute themselves");
    }
    if ACTIVATION_SCALES.iter().any(|end| tensor.ends_with(end)) {
        return Some("a scale of activations or of the cache, not of weights");
    }
    let root = tensor.split('.').find(|segment| !CONTAINERS.contains(segment));
    let other = root.is_some_and(|root| OTHER_ROOTS.contains(&root))
        || tensor.split('.').any(|segment| OTHER_PARTS.iter().any(|word| segment.contains(word)));
    other.then_some("of the image or audio part, which the file of a text model does not hold")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(tensor: &str) -> Option<String> {
        match find(tensor, 12, &[EMBEDDINGS], &[ATTENTION, QK_NORMS, FEED_FORWARD, NORMS]) {
            Ok(Some(Named::Tensor { name, .. })) => Some(name),
            Ok(Some(Named::Drop(_))) => Some("drop".to_owned()),
            Ok(None) => None,
            Err(_) => Some("error".to_owned()),
        }
    }

    #[test]
    fn plain_and_wrapped_names() {
        for (source, target) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("lm_head.weight", "output.weight"),
            ("embed_tokens.weight", "token_embd.weight"),
            ("language_model.lm_head.weight", "output.weight"),
            ("model.language_model.embed_tokens.weight", "token_embd.weight"),
            ("language_model.model.layers.3.mlp.up_proj.weight", "blk.3.ffn_up.weight"),
            ("model.text_model.layers.11.input_layernorm.weight", "blk.11.attn_norm.weight"),
            ("layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"),
            ("model.layers.10.self_attn.o_proj.bias", "blk.10.attn_output.bias"),
            ("model.layers.1.mlp.down_proj.bias", "blk.1.ffn_down.bias"),
            ("model.layers.1.post_attention_layernorm.weight", "blk.1.ffn_norm.weight"),
        ] {
            assert_eq!(lookup(source).as_deref(), Some(target), "{source}");
        }
    }

    #[test]
    fn parts_that_are_left_out() {
        for tensor in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.rotary_emb.inv_freq",
            "transformer.h.0.attention.masked_bias",
            "x.attention.bias",
            "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
            "model.vision_tower.patch_conv.weight",
            "visual.blocks.0.attn.qkv.bias",
            "audio_tower.conv1.weight",
            "multi_modal_projector.linear_1.weight",
            "model.mm_projector.0.bias",
            "model.image_newline",
            "mlp1.0.weight",
            "model.connector.modality_projection.proj.weight",
            "model.layers.0.self_attn.k_proj.k_scale",
            "model.layers.0.mlp.up_proj.input_scale",
        ] {
            assert_eq!(lookup(tensor).as_deref(), Some("drop"), "{tensor}");
        }
    }

    #[test]
    fn unknown_and_impossible_names() {
        for tensor in [
            "",
            ".",
            "weight",
            "model.",
            "model.weight",
            "model.layers.0.weight",
            "model.layers..self_attn.q_proj.weight",
            "model.layers.01.self_attn.q_proj.weight",
            "model.layers.-1.self_attn.q_proj.weight",
            "model.layers.99999999999999999999.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.qweight",
            "model.layers.0.self_attn.q_proj.weight_scale_inv",
            "model.layers.0.input_layernorm.bias",
            "model.layers.0.embed_tokens.weight",
            "model.layers.0.mlp.experts.0.up_proj.weight",
            "model.self_attn.q_proj.weight",
            "lm_head.bias",
            "encoder.layers.0.self_attn.q_proj.weight",
        ] {
            assert_eq!(lookup(tensor), None, "{tensor}");
        }
        assert_eq!(lookup("model.layers.12.mlp.up_proj.weight").as_deref(), Some("error"));
    }
}
