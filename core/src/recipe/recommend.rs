//! What a generated export config proposes for each tensor: more bits where errors hurt most, as
//! seen by role and by importance.
//!
//! | role | importance | type |
//! |---|---|---|
//! | token embeddings, output head, output norm | above high | `q8_0` |
//! | the same | otherwise | `q6_k` |
//! | attention output, attention values, down projection | above medium | `q6_k` |
//! | the same | otherwise | `q5_k_m` |
//! | attention queries and keys, gate and up projection | any | `q4_k_m` |
//! | others with less than a million weights | any | `q8_0` |
//! | others | any | `q4_k_m` |
//!
//! Biases and other vectors that are no norms are left as `f32`. A proposal is only that: an export
//! keeps norms and routers as `f32` whatever the config says.

/// Below this many weights a tensor is small: eight bits cost next to nothing.
const SMALL: u64 = 1_000_000;

/// The rows of the table that go by role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Vector,
    Embedding,
    Head,
    OutputNorm,
    AttnOutput,
    Values,
    Down,
    QueriesKeys,
    GateUp,
}

/// The type (in the spelling of configs) to propose for a tensor, and why.
///
/// The role is read from the GGUF name or else from the source's name (either may be empty).
/// `elems` is the number of weights, `importance` the share of outliers as measured on import, and
/// `high` and `medium` are the thresholds above which it counts.
#[must_use]
pub fn recommend(
    source_name: &str,
    gguf_name: &str,
    elems: u64,
    importance: f64,
    high: f64,
    medium: f64,
) -> (&'static str, &'static str) {
    let by = |threshold: f64, above: Proposal, otherwise: Proposal| {
        if importance > threshold { above } else { otherwise }
    };
    match role(gguf_name).or_else(|| role(source_name)) {
        Some(Role::Vector) => ("f32", "bias or other vector"),
        Some(Role::Embedding) => {
            by(high, ("q8_0", "token embeddings of high importance"), ("q6_k", "token embeddings"))
        }
        Some(Role::Head) => {
            by(high, ("q8_0", "output head of high importance"), ("q6_k", "output head"))
        }
        Some(Role::OutputNorm) => {
            by(high, ("q8_0", "output norm of high importance"), ("q6_k", "output norm"))
        }
        Some(Role::AttnOutput) => by(
            medium,
            ("q6_k", "attention output of high importance"),
            ("q5_k_m", "attention output"),
        ),
        Some(Role::Values) => by(
            medium,
            ("q6_k", "attention values of high importance"),
            ("q5_k_m", "attention values"),
        ),
        Some(Role::Down) => by(
            medium,
            ("q6_k", "down projection of high importance"),
            ("q5_k_m", "down projection"),
        ),
        Some(Role::QueriesKeys) => ("q4_k_m", "attention queries or keys"),
        Some(Role::GateUp) => ("q4_k_m", "gate or up projection"),
        None if elems < SMALL => ("q8_0", "small"),
        None => ("q4_k_m", "default"),
    }
}

/// A type and why.
type Proposal = (&'static str, &'static str);

/// The role of a tensor by either of its names.
fn role(name: &str) -> Option<Role> {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    if is_vector(module) {
        return Some(Role::Vector);
    }
    let ends = |mark: &&str| {
        module.strip_suffix(mark).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if module == "norm" {
        return Some(Role::OutputNorm);
    }
    ROLES.iter().find(|(_, marks)| marks.iter().any(ends)).map(|&(role, _)| role)
}

/// Whether that is a vector (or a stack of them) and no norm.
fn is_vector(module: &str) -> bool {
    let last = module.rsplit('.').next().unwrap_or(module);
    last.ends_with("bias")
        || matches!(
            last,
            "sinks"
                | "attn_sinks"
                | "rope_freqs"
                | "rope_factors_long"
                | "rope_factors_short"
                | "inv_freq"
                | "A_log"
                | "ssm_a"
                | "D"
                | "ssm_d"
        )
}

/// Ends of module names, at a dot, in the names of GGUF files and of the usual checkpoints; the
/// first hit wins. A fused projection has the role of its most sensitive part.
const ROLES: &[(Role, &[&str])] = &[
    (
        Role::Embedding,
        &[
            "token_embd",
            "per_layer_token_embd",
            "embed_tokens",
            "embed_tokens_per_layer",
            "word_embeddings",
            "tok_embeddings",
            "wte",
            "embed_in",
            "shared",
        ],
    ),
    // A bare `output` is the head in GGUF files only by its whole name, which `ends` also takes;
    // longer names that end so are handled by the rows that come first.
    (Role::AttnOutput, &["attention.output.dense", "attn.output", "attention.output"]),
    (Role::Head, &["output", "lm_head", "embed_out"]),
    (
        Role::OutputNorm,
        &[
            "output_norm",
            "model.norm",
            "language_model.norm",
            "ln_f",
            "final_layernorm",
            "final_layer_norm",
        ],
    ),
    (
        Role::AttnOutput,
        &[
            "attn_output",
            "attn_o",
            "cross_attn_o",
            "o_proj",
            "out_proj",
            "attention.wo",
            "self_attention.dense",
            "attention.dense",
            "self_attn.dense",
            "attn.c_proj",
            "SelfAttention.o",
            "EncDecAttention.o",
        ],
    ),
    (
        Role::Values,
        &[
            "attn_v",
            "attn_v_b",
            "attn_kv_b",
            "attn_qkv",
            "cross_attn_v",
            "v_proj",
            "kv_b_proj",
            "qkv_proj",
            "query_key_value",
            "attn.c_attn",
            "Wqkv",
            "attention.wv",
            "self.value",
            "SelfAttention.v",
            "EncDecAttention.v",
        ],
    ),
    (
        Role::Down,
        &[
            "ffn_down",
            "ffn_down_exps",
            "ffn_down_shexp",
            "down_proj",
            "w2",
            "fc2",
            "dense_4h_to_h",
            "mlp.c_proj",
            "output.dense",
            "DenseReluDense.wo",
        ],
    ),
    (
        Role::QueriesKeys,
        &[
            "attn_q",
            "attn_k",
            "attn_q_a",
            "attn_q_b",
            "attn_k_b",
            "attn_kv_a_mqa",
            "cross_attn_q",
            "cross_attn_k",
            "q_proj",
            "k_proj",
            "q_a_proj",
            "q_b_proj",
            "kv_a_proj_with_mqa",
            "attention.wq",
            "attention.wk",
            "self.query",
            "self.key",
            "SelfAttention.q",
            "SelfAttention.k",
            "EncDecAttention.q",
            "EncDecAttention.k",
        ],
    ),
    (
        Role::GateUp,
        &[
            "ffn_gate",
            "ffn_gate_exps",
            "ffn_gate_shexp",
            "ffn_up",
            "ffn_up_exps",
            "ffn_up_shexp",
            "ffn_gate_up",
            "ffn_gate_up_exps",
            "gate_proj",
            "up_proj",
            "gate_up_proj",
            "w1",
            "w3",
            "fc1",
            "dense_h_to_4h",
            "mlp.c_fc",
            "intermediate.dense",
            "DenseReluDense.wi",
            "DenseReluDense.wi_0",
            "DenseReluDense.wi_1",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(source: &str, gguf: &str, elems: u64, importance: f64) -> &'static str {
        recommend(source, gguf, elems, importance, 0.2, 0.1).0
    }

    /// Role by either name, then the types for importance 0.05, 0.1, 0.15, 0.2 and 0.25.
    #[test]
    fn the_table() {
        let five = |low, medium, high| [low, low, medium, medium, high];
        let high = five("q6_k", "q6_k", "q8_0");
        let medium = five("q5_k_m", "q6_k", "q6_k");
        let any = five("q4_k_m", "q4_k_m", "q4_k_m");
        let small = five("q8_0", "q8_0", "q8_0");
        let none = five("f32", "f32", "f32");
        let cases: &[(&str, &str, u64, [&str; 5])] = &[
            ("model.embed_tokens.weight", "token_embd.weight", 2_000_000, high),
            ("model.embed_tokens.weight", "token_embd.weight", 1000, high),
            ("lm_head.weight", "output.weight", 2_000_000, high),
            ("model.norm.weight", "output_norm.weight", 4096, high),
            ("model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight", 9, medium),
            ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight", 9, medium),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight", 9, medium),
            ("model.layers.0.self_attn.qkv_proj.weight", "blk.0.attn_qkv.weight", 9, medium),
            ("model.layers.0.mlp.experts.3.w2.weight", "blk.0.ffn_down_exps.weight", 9, medium),
            ("model.layers.0.mlp.experts.down_proj", "blk.0.ffn_down_exps.weight", 9, medium),
            ("bert.encoder.layer.0.output.dense.weight", "blk.0.ffn_down.weight", 9, medium),
            (
                "bert.encoder.layer.0.attention.output.dense.weight",
                "blk.0.attn_output.weight",
                9,
                medium,
            ),
            ("model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight", 9, any),
            ("model.layers.0.self_attn.k_proj.weight", "blk.0.attn_k.weight", 9, any),
            ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight", 9, any),
            ("model.layers.0.mlp.up_proj.weight", "blk.0.ffn_up.weight", 9, any),
            ("model.layers.0.mlp.gate_up_proj.weight", "blk.0.ffn_up.weight", 9, any),
            ("model.layers.0.mlp.experts.3.w1.weight", "blk.0.ffn_gate_exps.weight", 9, any),
            ("model.layers.0.mlp.experts.3.w3.weight", "blk.0.ffn_up_exps.weight", 9, any),
            ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight", 4096, small),
            ("model.layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight", 64, small),
            ("model.layers.0.mlp.gate.weight", "blk.0.ffn_gate_inp.weight", 999_999, small),
            ("something.weight", "something.weight", 1_000_000, any),
            ("model.layers.0.self_attn.v_proj.bias", "blk.0.attn_v.bias", 4096, none),
            ("model.layers.0.self_attn.sinks", "blk.0.attn_sinks.weight", 64, none),
            ("", "rope_freqs.weight", 64, none),
        ];
        for (source, gguf, elems, types) in cases {
            for (importance, wanted) in [0.05, 0.1, 0.15, 0.2, 0.25].into_iter().zip(types) {
                let both = ty(source, gguf, *elems, importance);
                assert_eq!(both, *wanted, "{source} / {gguf} at {importance}");
                if !source.is_empty() {
                    let alone = ty(source, "", *elems, importance);
                    assert_eq!(alone, *wanted, "{source} alone at {importance}");
                }
                let alone = ty("", gguf, *elems, importance);
                assert_eq!(alone, *wanted, "{gguf} alone at {importance}");
            }
        }
    }

    #[test]
    fn norms_of_layers_are_not_the_output_norm() {
        for name in ["blk.0.attn_output_norm.weight", "blk.0.layer_output_norm.weight"] {
            assert_eq!(ty("", name, 512, 0.9), "q8_0");
            assert_eq!(role(name), None, "{name}");
        }
        assert_eq!(role("model.layers.0.norm.weight"), None);
        assert_eq!(role("norm.weight"), Some(Role::OutputNorm));
    }

    #[test]
    fn every_proposal_is_a_known_type() {
        for name in ["token_embd.weight", "blk.0.attn_v.weight", "blk.0.attn_q.weight", "x.bias"] {
            for importance in [0.0, 1.0] {
                assert!(crate::recipe::base_type(ty("", name, 9, importance)).is_some());
            }
        }
    }

    #[test]
    fn thresholds_can_be_chosen_and_missing_importance_is_low() {
        let name = "blk.0.attn_v.weight";
        assert_eq!(recommend("", name, 9, 0.12, 0.3, 0.15).0, "q5_k_m");
        assert_eq!(recommend("", name, 9, 0.12, 0.15, 0.08).0, "q6_k");
        assert_eq!(recommend("", name, 9, f64::NAN, 0.2, 0.1).0, "q5_k_m");
    }
}
