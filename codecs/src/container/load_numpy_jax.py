#!/usr/bin/env python3
"""Reads a model that `gmat convert --format numpy-direct` wrote, for JAX.

    from load_numpy_jax import load_numpy_jax_model, load_params, load_tensor
    params, config = load_numpy_jax_model("model-jax")     # nested dictionaries of jax.Array
    flat = load_params("model-jax")                        # name -> jax.Array
    one = load_tensor("model-jax", "model.embed_tokens.weight")

Needs numpy and jax. JAX holds 64-bit integers only with jax_enable_x64.
"""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np


def load_manifest(model_dir):
    """What manifest.json says."""
    with open(Path(model_dir) / "manifest.json", encoding="utf-8") as file:
        return json.load(file)


def load_numpy(model_dir, names=None):
    """Pairs of name and numpy.ndarray, one after the other, mapped instead of read."""
    model_dir = Path(model_dir)
    for tensor in load_manifest(model_dir)["tensors"]:
        if names is None or tensor["name"] in names:
            # A tensor without elements cannot be mapped.
            mode = None if 0 in tensor["shape"] else "r"
            yield tensor["name"], np.load(model_dir / tensor["file"], mmap_mode=mode)


def load_params(model_dir, names=None):
    """All tensors (or those of these names) as a flat dictionary of jax.Array."""
    return {name: jnp.array(array) for name, array in load_numpy(model_dir, names)}


def load_tensor(model_dir, name):
    """One tensor, or None if there is none of that name."""
    return load_params(model_dir, {name}).get(name)


def nested(params):
    """Dictionaries of dictionaries, split where names have a dot."""
    tree = {}
    for name, array in params.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name!r} is inside another tensor; use load_params")
        if last in node:
            raise ValueError(f"{name!r} has other tensors inside; use load_params")
        node[last] = array
    return tree


def load_numpy_jax_model(model_dir):
    """All tensors as nested dictionaries, and the config.json of the model."""
    return nested(load_params(model_dir)), load_manifest(model_dir)["config"]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} MODEL_DIR")
    for name, array in load_params(sys.argv[1]).items():
        print(name, array.shape, array.dtype)
