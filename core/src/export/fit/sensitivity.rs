//! How much a model depends on a tensor.
//!
//! The unit is the damage that a relative error of the output head does: it changes the logits in
//! proportion, and nothing comes after it that could make up for it. The other figures were measured
//! as KL divergence per relative mean square error, one tensor at a time, on the example model (see
//! `docs/benchmarks.md`), and rounded to what agrees with common experience: the layers share one
//! part among them, since an error in one of many is small beside what the others add; the first
//! feed-forward block makes up for what embeddings lack and is worth more; so is the last layer,
//! behind which nothing is left to correct an error.

/// All layers together, for one matrix each of average weight.
const LAYERS: f64 = 0.04;
/// Embeddings that are not the output head, too.
const EMBEDDING: f64 = 0.2;

/// The damage that a relative mean square error of 1 does, relative to the output head.
///
/// `layers` is their number, and `has_output` whether the head is a tensor of its own: otherwise the
/// embeddings are the head.
pub(super) fn sensitivity(name: &str, layer: Option<u32>, layers: u32, has_output: bool) -> f64 {
    let Some(layer) = layer else {
        return match name {
            "token_embd.weight" if has_output => EMBEDDING,
            "token_embd.weight" => 1.0 + EMBEDDING,
            "output.weight" => 1.0,
            _ => EMBEDDING,
        };
    };
    let (role, first) = role(name);
    let depth = match layer {
        0 => first,
        _ if layer + 1 == layers => 3.0,
        _ => 1.0,
    };
    LAYERS / f64::from(layers.max(1)) * role * depth
}

/// Weight of a matrix by its role, and how much more that of the first layer counts.
fn role(name: &str) -> (f64, f64) {
    let roles = [
        ("attn_q.", 1.2, 1.0),
        ("attn_k.", 1.2, 1.0),
        ("attn_v.", 1.2, 1.0),
        ("attn_qkv.", 1.2, 1.0),
        ("attn_kv", 1.2, 1.0),
        ("attn_output.", 1.0, 1.0),
        ("ffn_down", 1.0, 10.0),
        ("ffn_gate", 0.8, 4.0),
        ("ffn_up", 0.8, 4.0),
    ];
    let found = roles.iter().find(|(mark, ..)| name.contains(mark));
    found.map_or((1.0, 1.0), |&(_, role, first)| (role, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_importance() {
        let head = sensitivity("output.weight", None, 32, true);
        let embedding = |has_output| sensitivity("token_embd.weight", None, 32, has_output);
        let of = |layer, name: &str| sensitivity(name, Some(layer), 32, true);
        assert!(head > embedding(true) && embedding(false) > head);
        assert!(embedding(true) > of(0, "blk.0.ffn_down.weight"));
        assert!(of(0, "blk.0.ffn_down.weight") > of(31, "blk.31.ffn_down.weight"));
        assert!(of(31, "blk.31.attn_v.weight") > of(7, "blk.7.attn_v.weight"));
        assert!(of(7, "blk.7.attn_v.weight") > of(7, "blk.7.ffn_up_exps.weight"));
        // Deeper models depend less on any one layer.
        let shallow = sensitivity("blk.3.ffn_up.weight", Some(3), 8, true);
        assert!(shallow > of(3, "blk.3.ffn_up.weight"));
    }
}
