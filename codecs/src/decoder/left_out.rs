//! Tensors of checkpoints that the file of a text model does not hold.

use super::names::CONTAINERS;

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
pub(crate) fn dropped(tensor: &str) -> Option<&'static str> {
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
