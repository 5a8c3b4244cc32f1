"""A Llama forward pass in JAX, from arrays by their checkpoint names."""

import jax
import jax.numpy as jnp


def forward(params, config, ids):
    """Logits [tokens, vocabulary] of one sequence, computed in float32."""
    def weight(name):
        return params[name].astype(jnp.float32)

    def rms_norm(x, name):
        scale = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + config["rms_norm_eps"])
        return x * scale * weight(name)

    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    tokens = len(ids)
    x = weight("model.embed_tokens.weight")[jnp.array(ids)]
    width = x.shape[-1] // heads
    rates = config.get("rope_theta", 10000.0) ** (-jnp.arange(0, width, 2) / width)
    angles = jnp.arange(tokens)[:, None] * rates
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    seen = jnp.tril(jnp.ones((tokens, tokens), bool))

    def rotate(x):
        first, second = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    for layer in range(config["num_hidden_layers"]):
        own = f"model.layers.{layer}."

        def project(x, part):
            return x @ weight(f"{own}{part}.weight").T

        y = rms_norm(x, own + "input_layernorm.weight")
        q = rotate(project(y, "self_attn.q_proj").reshape(tokens, heads, width))
        k = rotate(project(y, "self_attn.k_proj").reshape(tokens, shared, width))
        v = project(y, "self_attn.v_proj").reshape(tokens, shared, width)
        k, v = (jnp.repeat(part, heads // shared, axis=1) for part in (k, v))
        scores = jnp.einsum("qhd,khd->hqk", q, k) / jnp.sqrt(width)
        scores = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        y = jnp.einsum("hqk,khd->qhd", scores, v).reshape(tokens, heads * width)
        x = x + project(y, "self_attn.o_proj")
        y = rms_norm(x, own + "post_attention_layernorm.weight")
        y = jax.nn.silu(project(y, "mlp.gate_proj")) * project(y, "mlp.up_proj")
        x = x + project(y, "mlp.down_proj")
    return rms_norm(x, "model.norm.weight") @ weight("lm_head.weight").T
