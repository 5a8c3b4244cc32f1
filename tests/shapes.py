#!/usr/bin/env python3
"""Peak memory where one tensor, one row or one importance matrix is large.

    tests/shapes.py GMAT

Prints a Markdown table; docs/benchmarks.md holds one. Needs 5 GB of room for temporary files.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "example/tiny_llm/hf-model"
VOCAB = json.loads((TOKENIZER / "config.json").read_text())["vocab_size"]


def weights(count):
    """BF16 numbers of both signs around 0.01, the same in every run."""
    state, words = 1, []
    for _ in range(1 << 16):
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        words.append(0x3C00 + (state >> 48 & 0x7F) + (state >> 63 << 15))
    block = struct.pack(f"<{len(words)}H", *words)
    for start in range(0, 2 * count, len(block)):
        yield block[: 2 * count - start]


def model(folder, config, tensors):
    """A checkpoint of these shapes, with the tokenizer of the example."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((TOKENIZER / name).read_bytes())
    (folder / "config.json").write_text(json.dumps(config))
    header, end = {}, 0
    for name, (rows, cols) in tensors.items():
        shape = [rows, cols] if rows else [cols]
        size = 2 * max(rows, 1) * cols
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for rows, cols in tensors.values():
            file.writelines(weights(max(rows, 1) * cols))


def importance(path, tensors):
    """An importance matrix in GGUF form; per tensor: columns, experts."""
    entries = []
    for name, (cols, experts) in tensors.items():
        entries.append((f"{name}.in_sum2", (cols, experts)))
        entries.append((f"{name}.counts", (1, experts)))
    text = lambda value: struct.pack("<Q", len(value)) + value.encode()
    keys = [
        ("general.type", 8, text("imatrix")),
        ("imatrix.chunk_count", 4, struct.pack("<I", 1)),
        ("imatrix.chunk_size", 4, struct.pack("<I", 512)),
        ("imatrix.datasets", 9, struct.pack("<IQ", 8, 1) + text("synthetic")),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(keys))
    for key, kind, value in keys:
        head += text(key) + struct.pack("<I", kind) + value
    offset = 0
    for name, dims in entries:
        head += text(name) + struct.pack("<IQQIQ", 2, *dims, 0, offset)
        offset += -(-4 * dims[0] * dims[1] // 32) * 32
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for _, (cols, experts) in entries:
            for expert in range(experts):
                file.write(struct.pack(f"<{cols}f", *(1 + (j + expert) % 7 for j in range(cols))))
            file.write(bytes(-4 * cols * experts % 32))


def peak(command):
    """Megabytes that a command had resident at most."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command}: status {status}")
    return usage.ru_maxrss / 1024


def llama(hidden, inner, **more):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
              "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": 8,
              "num_key_value_heads": 8, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
              "max_position_embeddings": 512, "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    tensors = {"model.embed_tokens.weight": (VOCAB, hidden), "model.norm.weight": (0, hidden)}
    layer = "model.layers.0."
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{layer}{norm}.weight"] = (0, hidden)
    for name in "qkvo":
        tensors[f"{layer}self_attn.{name}_proj.weight"] = (hidden, hidden)
    return config | more, tensors


def wide(columns):
    """The down projection has that many columns."""
    config, tensors = llama(1024, columns)
    for name in ("gate", "up"):
        tensors[f"model.layers.0.mlp.{name}_proj.weight"] = (columns, 1024)
    tensors["model.layers.0.mlp.down_proj.weight"] = (1024, columns)
    matrix = {"blk.0.ffn_down.weight": (columns, 1), "blk.0.ffn_gate.weight": (1024, 1),
              "blk.0.ffn_up.weight": (1024, 1)}
    return config, tensors, matrix


def mixture(experts):
    """That many experts, each with importance of its own."""
    config, tensors = llama(
        1024, 512, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", num_experts=experts,
        num_experts_per_tok=8, moe_intermediate_size=512, decoder_sparse_step=1, norm_topk_prob=True,
        mlp_only_layers=[], head_dim=128)
    layer = "model.layers.0."
    for name in "qk":
        tensors[f"{layer}self_attn.{name}_norm.weight"] = (0, 128)
    tensors[f"{layer}mlp.gate.weight"] = (experts, 1024)
    for expert in range(experts):
        for name, shape in (("gate", (512, 1024)), ("up", (512, 1024)), ("down", (1024, 512))):
            tensors[f"{layer}mlp.experts.{expert}.{name}_proj.weight"] = shape
    matrix = {"blk.0.ffn_down_exps.weight": (512, experts)}
    matrix |= {f"blk.0.ffn_{name}_exps.weight": (1024, experts) for name in ("gate", "up")}
    return config, tensors, matrix


def main():
    gmat = str(Path(sys.argv[1]).resolve())
    print("| model | weights | import | convert | q4_k, standard | q4_k, trellis | q4_k with importance | iq2_xxs with importance |")
    print("|---|---|---|---|---|---|---|---|")
    for title, (config, tensors, matrix) in (
        ("rows of 262144 columns", wide(1 << 18)),
        ("512 experts", mixture(512)),
    ):
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            model(work / "hf", config, tensors)
            importance(work / "imatrix.gguf", matrix)
            run = lambda *args: peak([gmat, *args, "--progress", "none", "--jobs", "2"])
            cells = [run("import", "-m", f"{work}/hf", "-o", f"{work}/store")]
            cells.append(run("convert", "-i", f"{work}/hf", "-o", f"{work}/arrays", "--skip-verify"))
            export = ("export", "-m", f"{work}/store", "-o", f"{work}/out.gguf", "--type")
            with_importance = ("--imatrix", f"{work}/imatrix.gguf", "--allow-unweighted")
            cells.append(run(*export, "q4_k", "--scale-optimization", "standard"))
            cells.append(run(*export, "q4_k"))
            cells.append(run(*export, "q4_k", *with_importance))
            cells.append(run(*export, "iq2_xxs", *with_importance))
            count = sum(max(rows, 1) * cols for rows, cols in tensors.values()) / 1e6
            print(f"| {title} | {count:.0f} M | " + " | ".join(f"{cell:.0f} MB" for cell in cells) + " |")


main()
