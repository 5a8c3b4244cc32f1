#!/usr/bin/env python3
"""Reads a model that `gmat convert --format msgpack` wrote, for JAX.

    from load_msgpack_jax import load_msgpack_jax_model, load_params, load_tensor
    params, config = load_msgpack_jax_model("model-jax")   # nested dictionaries of jax.Array
    flat = load_params("model-jax")                        # name -> jax.Array
    one = load_tensor("model-jax", "model.embed_tokens.weight")

Names are those of the checkpoint without a leading "model.". The files are plain MessagePack, which
any library reads, as lists of numbers; gmat writes every number at full width, so that this script can
take a whole tensor at once. Needs numpy and jax. JAX holds 64-bit integers only with jax_enable_x64.
"""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

# How a number is stored behind its type byte, by NumPy's name of the type.
STORED = {"float16": ">u2", "float32": ">f4", "bool": None}


class Reader:
    """The few forms of MessagePack that gmat writes."""

    def __init__(self, path):
        self.bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self.at = 0

    def number(self, expected, length):
        if self.bytes[self.at] not in expected:
            raise ValueError(f"byte {self.at} is not what gmat writes there")
        start, self.at = self.at + 1, self.at + 1 + length
        return int.from_bytes(self.bytes[start:self.at].tobytes(), "big")

    def text(self):
        length = self.number((0xDB,), 4)
        start, self.at = self.at, self.at + length
        return self.bytes[start:self.at].tobytes().decode()

    def tensor(self):
        """Name and array of the next tensor."""
        name = self.text()
        self.number((0x93,), 0)
        shape = [self.number((0xCF,), 8) for _ in range(self.number((0xDD,), 4))]
        dtype = self.text()
        self.number((0x81,), 0)
        self.text()
        count = self.number((0xDD,), 4)
        plain = np.dtype(dtype).newbyteorder(">")
        stored = STORED.get(dtype, plain)
        fields = [("type", "u1")] + ([("value", stored)] if stored else [])
        packed = np.dtype(fields)
        start, self.at = self.at, self.at + count * packed.itemsize
        items = self.bytes[start:self.at].view(packed)
        if stored is None:
            return name, (items["type"] == 0xC3).reshape(shape)
        values = items["value"].astype(np.dtype(stored).newbyteorder("="))
        return name, values.view(dtype).reshape(shape)


def load_manifest(model_dir):
    """What manifest.json says."""
    with open(Path(model_dir) / "manifest.json", encoding="utf-8") as file:
        return json.load(file)


def load_numpy(model_dir, names=None):
    """Pairs of name and numpy.ndarray, one after the other."""
    model_dir = Path(model_dir)
    wanted = {tensor["file"] for tensor in load_manifest(model_dir)["tensors"]
              if names is None or tensor["key"] in names}
    for file_name in sorted(wanted):
        reader = Reader(model_dir / file_name)
        for _ in range(reader.number((0xDF,), 4)):
            name, array = reader.tensor()
            if names is None or name in names:
                yield name, array


def load_params(model_dir, names=None):
    """All tensors (or those of these names) as a flat dictionary of jax.Array."""
    return {name: jnp.array(array) for name, array in load_numpy(model_dir, names)}


def load_tensor(model_dir, name):
    """One tensor, or None if there is none of that name; a leading "model." makes no difference."""
    name = name.removeprefix("model.")
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


def load_msgpack_jax_model(model_dir):
    """All tensors as nested dictionaries, and the config.json of the model."""
    return nested(load_params(model_dir)), load_manifest(model_dir)["config"]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} MODEL_DIR")
    for name, array in load_params(sys.argv[1]).items():
        print(name, array.shape, array.dtype)
