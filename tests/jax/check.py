#!/usr/bin/env python3
"""What `gmat convert` writes, read by NumPy, msgpack, pickle and JAX; see README.md."""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import pickle
import re
import subprocess
import sys
import traceback
from pathlib import Path

import gguf
import jax
import msgpack
import numpy as np

import llama
import reference

FORMATS = ["numpy-direct", "msgpack", "jax-pickle"]
LOADERS = {"numpy-direct": ("load_numpy_jax", "load_numpy_jax_model"),
           "msgpack": ("load_msgpack_jax", "load_msgpack_jax_model"),
           "jax-pickle": ("load_jax_model", "load_sharded_jax_model")}
GMAT = ROOT = WORK = None


def gmat(*args, ok=True):
    run = subprocess.run([GMAT, *map(str, args), "--progress", "none"], capture_output=True, text=True)
    if ok and run.returncode != 0:
        raise AssertionError(f"gmat {' '.join(map(str, args))}: exit {run.returncode}\n{run.stderr}")
    return run


def convert(source, target, *args):
    """Runs a conversion; returns what it said."""
    return gmat("convert", "-i", source, "-o", target, *args).stdout


def arrays(folder):
    """All arrays of an output, read without its loader: name in the container -> array."""
    manifest = json.loads((folder / "manifest.json").read_text())
    out = {}
    for tensor in manifest["tensors"]:
        if tensor["file"].endswith(".npy"):
            out[tensor["name"]] = np.load(folder / tensor["file"])
            assert out[tensor["name"]].dtype == np.dtype(tensor["dtype"]), tensor
    for path in sorted(folder.glob("shard_*.msgpack")):
        for name, (shape, dtype, data) in msgpack.unpackb(path.read_bytes()).items():
            ((variant, numbers),) = data.items()
            assert variant == dtype.capitalize(), (variant, dtype)
            if dtype == "float16":
                array = np.array(numbers, np.uint16).view(np.float16)
            else:
                array = np.array(numbers, dtype)
            out[name] = array.reshape(shape)
    for path in sorted(folder.glob("shard_*.pkl")):
        with open(path, "rb") as file:
            for name, tensor in pickle.load(file).items():
                assert set(tensor) == {"shape", "dtype", "data"}
                if tensor["dtype"] == "uint8":
                    array = np.array(tensor["data"], dtype=np.uint8)
                else:
                    array = np.frombuffer(bytes(tensor["data"]), tensor["dtype"])
                out[name] = array.reshape(tensor["shape"])
    assert {tensor["key"] if not tensor["file"].endswith(".npy") else tensor["name"]
            for tensor in manifest["tensors"]} == set(out)
    return out


def own_name(name, style):
    return name if style == "numpy-direct" else name.removeprefix("model.")


def data_files(folder):
    """Everything but the manifest, which also says where it came from."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "manifest.json"}


def zoo():
    """Tensors of every type and many shapes, of random bits and of bits that matter."""
    rng = np.random.default_rng(7)
    shapes = [(), (1,), (7,), (0,), (3, 0, 5), (5, 6), (2, 1, 3, 2, 2), (3, 70001)]
    tensors = {}
    for dtype, numpy in reference.DTYPES.items():
        size = np.dtype(numpy).itemsize
        for at, shape in enumerate(shapes):
            raw = rng.integers(0, 256, int(np.prod(shape)) * size, np.uint8)
            if dtype == "BOOL":
                raw &= 1
            tensors[f"model.{dtype}.{at}"] = (dtype, shape, raw.tobytes())
    notable = [0.0, -0.0, 1.0, 65504.0, 65504.0001, 65505.0, 65519.99, 65520.0, -65519.0, -65520.0, 1e30,
               -1e30, np.inf, -np.inf, np.nan, 6e-8, 2.98e-8, 2.99e-8, 6.1e-5, 1e-40, 1 + 2**-11,
               1 + 2**-11 + 2**-40, 1 + 3 * 2**-11, 3.4e38, 1e300, 5e-324]
    with np.errstate(all="ignore"):
        for dtype in sorted(reference.FLOATS):
            values = np.array(notable).astype(reference.DTYPES[dtype])
            tensors[f"notable.{dtype}"] = (dtype, values.shape, values.tobytes())
    every = np.arange(65536, dtype=np.uint16)
    for dtype in ["F16", "BF16"]:
        tensors[f"every.{dtype}"] = (dtype, (256, 256), every.tobytes())
    for dtype in ["F8_E4M3", "F8_E5M2"]:
        tensors[f"every.{dtype}"] = (dtype, (256,), every[:256].astype(np.uint8).tobytes())
    return tensors


def check_every_type_and_shape():
    path = WORK / "zoo/model.safetensors"
    reference.write(path, zoo())
    source = reference.read(path)
    for style in FORMATS:
        for precision in ["float16", "float32"]:
            out = WORK / f"zoo-{style}-{precision}"
            said = convert(path, out, "--format", style, "--precision", precision)
            found = arrays(out)
            manifest = json.loads((out / "manifest.json").read_text())
            noted = {tensor["name"]: tensor.get("clamped", 0) for tensor in manifest["tensors"]}
            clamped = 0
            for name, (dtype, array) in source.items():
                wanted, count = reference.expected(dtype, array, precision)
                got = found[own_name(name, style)]
                assert reference.same(got, wanted), (style, precision, name, got, wanted)
                assert noted[name] == count, (name, noted[name], count)
                clamped += count
            assert len(found) == len(source) and manifest["clamped"] == clamped
            line = re.search(r"Clamped to ±65504: (\d+) values", said)
            assert (int(line[1]) if line else 0) == clamped, said
            assert (precision == "float16") == (clamped > 0)


def check_stores_give_the_same_bytes():
    gmat("import", "-m", WORK / "zoo/model.safetensors", "-o", WORK / "zoo.gmat", "--block-format", "raw")
    for style in FORMATS:
        convert(WORK / "zoo.gmat", WORK / f"zoo-store-{style}", "--format", style)
        assert data_files(WORK / f"zoo-store-{style}") == data_files(WORK / f"zoo-{style}-float16"), style


def check_sharded_models_and_any_number_of_workers():
    tensors = zoo()
    names = sorted(tensors)
    third = len(names) // 3 + 1
    weight_map = {}
    for number in range(3):
        part = f"model-{number + 1:05}-of-00003.safetensors"
        own = {name: tensors[name] for name in names[number * third:(number + 1) * third]}
        reference.write(WORK / "split" / part, own)
        weight_map.update({name: part for name in own})
    index = WORK / "split/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    reference.write(WORK / "whole/model.safetensors", {name: tensors[name] for name in names})
    cap = 2_000_000
    for style in FORMATS:
        outs = []
        for source, workers in [(WORK / "whole", 1), (WORK / "split", 2), (index, 8)]:
            out = WORK / f"shards-{style}-{workers}"
            convert(source, out, "--format", style, "--workers", workers, "--shard-size", "0.002")
            outs.append(data_files(out))
            sizes = {}
            for path in out.rglob("*"):
                if path.is_file() and path.relative_to(out).parts[0].startswith("shard_"):
                    shard = path.relative_to(out).parts[0]
                    sizes[shard] = sizes.get(shard, 0) + path.stat().st_size
            assert len(sizes) > 1 and max(sizes.values()) <= cap, sizes
            manifest = json.loads((out / "manifest.json").read_text())
            assert manifest["total_shards"] == len(sizes) == len(manifest["shards"])
            for shard in manifest["shards"]:
                assert shard["bytes"] == sizes[shard["file"]], shard
            assert manifest["total_parameters"] == sum(
                int(np.prod(tensor["shape"])) for tensor in manifest["tensors"])
        assert outs[0] == outs[1] == outs[2], style


def check_names():
    def model(*names):
        path = WORK / "names/model.safetensors"
        reference.write(path, {name: ("U8", (2,), bytes([n, 255 - n])) for n, name in enumerate(names)})
        return path

    for style, one, other in [("numpy-direct", "a.b", "a_b"), ("numpy-direct", "a/b", "a.b"),
                              ("msgpack", "model.x", "x"), ("jax-pickle", "x", "model.x")]:
        run = gmat("convert", "-i", model(one, other), "-o", WORK / "collide", "-f", style, ok=False)
        assert run.returncode == 3 and f"`{one}`" in run.stderr and f"`{other}`" in run.stderr, run.stderr
        assert "hint: " in run.stderr and not (WORK / "collide").exists()
    odd = ["../../up", "-x", "a b", "naïve.模型", "it's \"quoted\"", "back\\slash", "new\nline", "tab\t", "%s{}",
           "con", ".hidden", "A", "a", "x" * 240, "model.", "e\u0301", "\u00e9"]
    for style in FORMATS:
        names = [name for name in odd if style == "numpy-direct" or name != "model."]
        out = WORK / f"names-{style}"
        convert(model(*names), out, "-f", style)
        found = arrays(out)
        for number, name in enumerate(names):
            assert found[own_name(name, style)].tolist() == [number, 255 - number], (style, name)
    for name, why in [("x" * 300, "it has 300 bytes"), ("nul\0", "it holds a zero")]:
        run = gmat("convert", "-i", model(name), "-o", WORK / "long", ok=False)
        assert run.returncode == 3 and why in run.stderr, run.stderr
        assert not (WORK / "long").exists()
        for style in FORMATS[1:]:
            convert(model(name), WORK / f"long-{style}", "-f", style)
            assert list(arrays(WORK / f"long-{style}")) == [name]


def check_mxfp4_by_definition():
    codes = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(256, 0)
    scales = np.arange(256, dtype=np.uint8)[:, None].repeat(16, 1)
    path = WORK / "fp4/model.safetensors"
    reference.write(path, {"w_blocks": ("U8", codes.shape, codes.tobytes()),
                           "w_scales": ("U8", scales.shape, scales.tobytes())})
    exact = reference.mxfp4(codes, scales)
    assert np.isnan(exact[255]).all() and not np.isnan(exact[:255]).any()
    gmat("import", "-m", path, "-o", WORK / "fp4.gmat", "--block-format", "raw")
    for source in [path, WORK / "fp4.gmat"]:
        for style in FORMATS:
            out = WORK / "fp4-out"
            convert(source, out, "-f", style, "--precision", "float32")
            with np.errstate(over="ignore"):
                assert reference.same(arrays(out)["w"], exact.astype(np.float32)), style
            said = convert(source, out, "-f", style)
            half, clamped = reference.expected("F64", exact, "float16")
            assert reference.same(arrays(out)["w"], half), style
            assert f"{clamped} values" in said, (clamped, said)
            said = convert(source, out, "-f", style, "--mxfp4", "raw")
            found = arrays(out)
            assert reference.same(found["w_blocks"], codes) and reference.same(found["w_scales"], scales)
            # 131072 numbers and 4096 scales, whichever way they are written.
            assert "Total parameters: 135.17K (131.07K and 4.10K scales)" in said, said


def check_gpt_oss():
    folder = ROOT / "tests/data/oracle/gpt_oss"
    source = reference.read(folder / "model.safetensors")
    gmat("import", "-m", folder, "-o", WORK / "oss.gmat", "--block-format", "raw")
    for style in FORMATS:
        files = []
        for model in [folder, WORK / "oss.gmat"]:
            out = WORK / "oss"
            convert(model, out, "-f", style, "--precision", "float32")
            found = arrays(out)
            for name, (dtype, array) in source.items():
                if name.endswith("_blocks"):
                    name = name.removesuffix("_blocks")
                    wanted = reference.mxfp4(array, source[name + "_scales"][1]).astype(np.float32)
                elif name.endswith("_scales"):
                    continue
                else:
                    wanted = reference.expected(dtype, array, "float32")[0]
                assert reference.same(found.pop(own_name(name, style)), wanted), name
            assert not found
            convert(model, out, "-f", style, "--mxfp4", "raw")
            found = arrays(out)
            assert len(found) == len(source)
            for name, (dtype, array) in source.items():
                wanted = reference.expected(dtype, array, "float16")[0]
                assert reference.same(found[own_name(name, style)], wanted), name
            files.append(data_files(out))
            manifest = json.loads((out / "manifest.json").read_text())
            assert manifest["config"]["model_type"] == "gpt_oss"
        # A store knows its tensors in another order than a file has their parts.
        if style == "numpy-direct":
            assert files[0] == files[1]


def check_fp8_with_scales():
    folder = ROOT / "tests/data/oracle/deepseek_v3_fp8"
    source = reference.read(folder / "model.safetensors")
    tile = json.loads((folder / "config.json").read_text())["quantization_config"]["weight_block_size"]
    convert(folder, WORK / "fp8", "--precision", "float32")
    found = arrays(WORK / "fp8")
    count = 0
    for name, (dtype, array) in source.items():
        if name.endswith("_scale_inv"):
            continue
        wanted = reference.expected(dtype, array, "float32")[0]
        if name + "_scale_inv" in source:
            count += 1
            scales = source[name + "_scale_inv"][1]
            for axis in (0, 1):
                scales = scales.repeat(tile[axis], axis)
            wanted = wanted * scales[:array.shape[0], :array.shape[1]]
        assert reference.same(found.pop(name), wanted), name
    assert count > 0 and not found


def check_gguf():
    """Every tensor of GGUF files, dequantized by the gguf package."""
    example = ROOT / "example/tiny_llm/hf-model"
    gmat("import", "-m", example, "-o", WORK / "tiny.gmat", "--block-format", "raw")
    for style, kind in zip([*FORMATS, "numpy-direct"], ["q8_0", "q4_k_m", "q5_1", "f16"]):
        path, out = WORK / f"tiny-{kind}.gguf", WORK / f"from-{kind}"
        gmat("export", "-m", WORK / "tiny.gmat", "--type", kind, "-o", path)
        convert(path, out, "-f", style, "--precision", "float32")
        found = arrays(out)
        tensors = gguf.GGUFReader(path).tensors
        for tensor in tensors:
            wanted = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
            assert reference.same(found.pop(tensor.name), wanted.astype(np.float32)), tensor.name
        assert len(tensors) == 57 and not found


def logits_check():
    return json.loads((ROOT / "tests/data/eval/eval.json").read_text())["logits_check"]


def check_a_forward_pass_in_jax():
    example, check = ROOT / "example/tiny_llm/hf-model", logits_check()
    for style, (module, load_model) in LOADERS.items():
        for precision, tolerance in [("float32", 2e-3), ("float16", 5e-2)]:
            out = WORK / f"forward-{style}"
            convert(example, out, "-f", style, "--precision", precision, "--shard-size", "0.012")
            spec = importlib.util.spec_from_file_location(module, out / f"{module}.py")
            loader = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loader)
            params = loader.load_params(out)
            tree, config = getattr(loader, load_model)(out)
            one = loader.load_tensor(out, "model.layers.3.mlp.up_proj.weight")
            assert isinstance(one, jax.Array) and loader.load_tensor(out, "nothing") is None
            root = tree.get("model", tree)
            assert (root["layers"]["3"]["mlp"]["up_proj"]["weight"] == one).all()
            if style != "numpy-direct":
                params = {name if name.startswith("lm_head") else f"model.{name}": array
                          for name, array in params.items()}
            logits = np.array(llama.forward(params, config, check["prompt_ids"]))[-1]
            assert np.abs(logits[:8] - check["logits_0_to_7"]).max() < tolerance, (style, precision)
            top = np.argsort(-logits)[:5]
            assert top.tolist() == [entry["id"] for entry in check["top5"]], (style, precision)
            assert max(abs(logits[e["id"]] - e["logit"]) for e in check["top5"]) < tolerance


def check_the_examples_of_the_documentation():
    """Runs every Python example of docs/jax.md as it stands."""
    text = (ROOT / "docs/jax.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 3
    convert(ROOT / "example/tiny_llm/hf-model", WORK / "docs/jax-numpy-model")
    convert(ROOT / "example/tiny_llm/hf-model", WORK / "docs/output")
    convert(ROOT / "example/tiny_llm/hf-model", WORK / "docs/jax-pickle-model", "-f", "jax-pickle")
    convert(ROOT / "tests/data/oracle/gpt_oss", WORK / "docs/gpt-oss-raw", "--mxfp4", "raw")
    before = os.getcwd()
    os.chdir(WORK / "docs")
    try:
        for block in blocks:
            scope = {}
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, "docs/jax.md", "exec"), scope)
            if "load_tensor" in block and "query" in scope:
                assert scope["query"].shape == (1, 5, 256)
    finally:
        os.chdir(before)


def main():
    global GMAT, ROOT, WORK
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gmat", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("only", nargs="*", help="names of checks")
    args = parser.parse_args()
    GMAT, ROOT, WORK = args.gmat, args.root.resolve(), args.work
    jax.config.update("jax_default_matmul_precision", "highest")
    checks = {name.removeprefix("check_"): check for name, check in globals().items()
              if name.startswith("check_")}
    failed = 0
    for name, check in checks.items():
        if args.only and name not in args.only:
            continue
        try:
            check()
            print(f"ok      {name}")
        except Exception:
            failed += 1
            print(f"FAILED  {name}")
            traceback.print_exc(file=sys.stdout)
    sys.exit(f"{failed} checks failed" if failed else 0)


if __name__ == "__main__":
    main()
