#!/usr/bin/env python3
"""Checks gmat's GGUF files with the real llama.cpp (see run.sh).

Only the standard library is used; the GGUF reader here is independent of gmat's own.
"""
import argparse
import json
import math
import os
import pathlib
import struct
import subprocess
import sys

# What llama-quantize without importance makes of the example model, measured with kld.sh: mean KL
# divergence from the F16 file on data/eval/eval.txt. Ours must not be worse; the slack is the last
# printed digit. And at the size of a recipe, types chosen for that size must do better.
KLD = {
    "q8_0": 0.000120, "q6_k": 0.000691, "q5_k_m": 0.001110, "q4_k_m": 0.002681, "q4_k_s": 0.002730,
    "q4_0": 0.003794, "iq4_xs": 0.003192, "q3_k_m": 0.007904, "q2_k": 0.033744,
}
KLD_SLACK = 1.5e-6
TARGETS = ["q4_k_m", "q3_k_m", "q2_k"]

# Every file type that llama-quantize makes of weights.
EVERY = [
    "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0",
    "q3_k_l", "q3_k_m", "q3_k_s", "q2_k", "q2_k_s", "iq4_nl", "iq4_xs", "iq3_m", "iq3_s", "iq3_xs", "iq3_xxs",
    "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s", "tq2_0", "tq1_0", "mxfp4_moe", "nvfp4", "q2_0", "q1_0",
]
PERPLEXITY_F16 = 34.406

# Largest difference of a logit from the reference's, in F32 on both sides. Summation order alone
# gives about 1e-6; a wrong permutation gives 0.6, missing rope factors 0.001.
LOGIT_TOLERANCE = 1e-4
# Where llama.cpp itself computes less exactly: it tabulates GELU in half precision, and rounds activations
# to 8 bits before products with MXFP4 weights (about 3 % of the spread of the logits).
LOGIT_TOLERANCES = {"bert": 1e-3, "gemma2": 1e-3, "gpt_oss": 2e-2}

# Block sizes (weights, bytes) of the types that are compared.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
          10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
          16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
          22: (256, 82), 23: (256, 136), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
          39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18)}


class Checks:
    """Counts checks and prints the failed ones."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def __call__(self, ok, text):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {text}", flush=True)


def run(*command):
    """Output of a command; its messages if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stderr[-2000:]}")
    return done.stdout


def load(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


class Gguf:
    """Tensor data of a GGUF file by name."""

    NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, path):
        self.bytes = pathlib.Path(path).read_bytes()
        self.at = 0
        magic, _, tensors, keys = self.take("<4sIQQ")
        assert magic == b"GGUF", path
        self.keys = {}
        for _ in range(keys):
            name, start = self.text(), self.at
            self.value(self.take("<I")[0])
            self.keys[name] = self.bytes[start : self.at]
        entries = []
        for _ in range(tensors):
            name = self.text()
            dims = self.take(f"<{self.take('<I')[0]}Q")
            entries.append((name, dims, *self.take("<IQ")))
        start = -(-self.at // 32) * 32
        self.tensors = {}
        for name, dims, kind, offset in entries:
            elems, size = BLOCKS[kind]
            length = math.prod(dims) // elems * size
            data = self.bytes[start + offset : start + offset + length]
            # Trailing dimensions of one may be left out.
            while len(dims) > 1 and dims[-1] == 1:
                dims = dims[:-1]
            self.tensors[name] = (dims, kind, data)

    def take(self, form):
        values = struct.unpack_from(form, self.bytes, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self):
        (length,) = self.take("<Q")
        self.at += length
        return self.bytes[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            self.text()
        elif kind == 9:
            kind, count = self.take("<IQ")
            for _ in range(count):
                self.value(kind)
        else:
            self.take("<" + self.NUMBERS[kind])


class Interop:
    def __init__(self, args):
        self.gmat, self.bin = args.gmat, pathlib.Path(args.bin)
        self.root, self.work = pathlib.Path(args.root), pathlib.Path(args.work)
        self.data = self.root / "tests/data"
        self.example = self.root / "example/tiny_llm"
        self.check = Checks()

    def llama(self, *command):
        return json.loads(run(self.bin / "gmat-llama", *command))

    def store(self, model, name, block_format):
        run(self.gmat, "import", "-q", "-m", model, "-o", self.work / name, "--block-format", block_format)
        return self.work / name

    def export(self, store, name, *options):
        out = self.work / f"{name}.gguf"
        run(self.gmat, "export", "-q", "-m", store, "-o", out, *options)
        return out

    def logits(self, name, ours, expected):
        """Compares what llama.cpp computes; hidden states of a model that has no logits."""
        tolerance = LOGIT_TOLERANCES.get(name, LOGIT_TOLERANCE)
        if expected["mode"] == "enc":
            for part in ["first_position_first8", "last_position_first8"]:
                worst = max(abs(a - b) for a, b in zip(ours[part], expected[part], strict=True))
                self.check(worst <= tolerance, f"{name}: hidden states differ by {worst}")
            return
        if tolerance == LOGIT_TOLERANCE:
            ids = [entry[0] for entry in ours["top8"]]
            self.check(ids == expected["top8_ids"], f"{name}: top ids {ids}")
        worst = max(abs(a[1] - b) for a, b in zip(ours["top8"], expected["top8_values"]))
        self.check(worst <= tolerance, f"{name}: logits differ by {worst}")
        self.check(ours["all_positions_argmax"] == expected["all_positions_argmax"], f"{name}: argmax")

    def oracle_models(self):
        """Logits and token ids of every oracle model."""
        models = sorted(path.parent for path in self.data.glob("oracle/*/logits.json"))
        self.check(len(models) >= 5, f"only {len(models)} oracle models found")
        for model in models:
            gguf = self.export(self.store(model, model.name, "raw"), model.name, "--type", "f32")
            expected = load(model / "logits.json")
            ours = self.llama("logits", gguf, ",".join(map(str, expected["input_ids"])))
            self.logits(model.name, ours, expected)
            cases = load(model / "tokens.json")["cases"]
            texts = self.work / "texts.json"
            texts.write_text(json.dumps([case["text"] for case in cases]), encoding="utf-8")
            for case, tokens in zip(cases, self.llama("tokens", gguf, texts), strict=True):
                # Where the reference runtime itself disagrees with the tokenizer, its ids are listed.
                for ours_key, agrees, runtime_key in [
                    ("ids", "llama_cpp_agrees", "llama_cpp_ids"),
                    ("ids_special", "llama_cpp_special_agrees", "llama_cpp_ids_special"),
                ]:
                    want = case[ours_key] if case[agrees] else case[runtime_key]
                    self.check(
                        tokens[ours_key] == want,
                        f"{model.name}: {ours_key} of {case['text']!r}: {tokens[ours_key]}, not {want}",
                    )

    def trained_model(self):
        """Perplexity and KL divergence of the example model, and llama-quantize's own bytes."""
        store = self.store(self.example / "hf-model", "exact", "raw")
        base = self.export(store, "f16", "--type", "f16")
        f32 = self.export(store, "f32", "--type", "f32")
        sizes = {}
        for name in KLD:
            theirs = self.work / "theirs.gguf"
            run(self.bin / "llama-quantize", f32, theirs, name, "2")
            sizes[name] = theirs.stat().st_size
            ours = self.export(store, "standard", "--type", name, "--scale-optimization", "standard")
            self.same_tensors(name, Gguf(ours), Gguf(theirs))
        files = {name: self.export(store, name, "--type", name) for name in KLD}
        for name in TARGETS:
            sized = self.export(store, f"sized-{name}", "--target-size", str(sizes[name]))
            self.check(sized.stat().st_size <= sizes[name], f"{name}: {sized.stat().st_size} bytes")
            files[f"size of {name}"] = sized
        default = self.store(self.example / "hf-model", "default", "B8x8")
        files["B8x8 f16"] = self.export(default, "default-f16", "--type", "f16")
        kld = pathlib.Path(__file__).with_name("kld.sh")
        lines = run(kld, self.data / "eval/eval.txt", base, *files.values()).splitlines()
        print("| file | bytes | perplexity | mean KLD | same top token |\n|---|---|---|---|---|")
        found = {}
        for (name, _), line in zip(files.items(), lines, strict=True):
            got = json.loads(line)
            found[name] = got["kld_mean"]
            print(f"| {name} | {got['bytes']} | {got['ppl']:.4f} | {got['kld_mean']:.6f} | {got['same_top']:.2f} % |")
            if name in KLD:
                self.check(got["kld_mean"] <= KLD[name] + KLD_SLACK, f"{name}: KLD {got['kld_mean']}")
            base_ppl = got["ppl_base"]
        for name in TARGETS:
            sized = found[f"size of {name}"]
            self.check(sized < found[name], f"size of {name}: KLD {sized}, recipe {found[name]}")
        self.check(abs(base_ppl / PERPLEXITY_F16 - 1) <= 1e-3, f"f16: perplexity {base_ppl}")
        self.check(found["B8x8 f16"] <= 1e-5, f"B8x8 f16: KLD {found['B8x8 f16']}")

    def every_type(self):
        """With an importance matrix: llama-quantize's own bytes for all its file types, which load."""
        store, f32 = self.work / "exact", self.work / "f32.gguf"
        text, matrix = self.work / "some.txt", self.work / "imatrix.gguf"
        text.write_bytes((self.data / "eval/eval.txt").read_bytes()[:20_000])
        run(self.bin / "llama-imatrix", "-m", self.work / "f16.gguf", "-f", text, "-o", matrix, "-c", "256", "-t", "2")
        refused = []
        for name in EVERY:
            standard = ["--type", name, "--scale-optimization", "standard", "--imatrix", matrix]
            ours = self.export(store, "ours", *standard)
            info = self.llama("info", ours)
            self.check(info["n_params"] == 6819072, f"{name}: {info}")
            theirs = self.work / "theirs.gguf"
            try:
                run(self.bin / "llama-quantize", "--imatrix", matrix, f32, theirs, name, "2")
            except RuntimeError:
                refused.append(name)
                continue
            self.same_tensors(f"{name} with importance", Gguf(ours), Gguf(theirs))
            self.llama("info", self.export(store, "trellis", "--type", name, "--imatrix", matrix))
        # Types without a name in llama-quantize's list of this version.
        self.check(set(refused) <= {"nvfp4", "q1_0", "q2_0"}, f"llama-quantize refuses {refused}")

    def gguf_as_source(self):
        """What llama-quantize wrote comes back as it was, and becomes what it would make of it."""
        store, ids = self.work / "exact", "0,5,17,301,42,77"
        f16, source = self.export(store, "f16", "--type", "f16"), self.work / "source.gguf"
        run(self.bin / "llama-quantize", f16, source, "q4_k_m", "2")
        kept = self.export(self.store(source, "kept", "raw"), "kept")
        before, after = Gguf(source), Gguf(kept)
        self.same_tensors("kept", after, before)
        own = [{k: v for k, v in file.keys.items() if not k.startswith("gmat.")} for file in (before, after)]
        self.check(own[0] == own[1], f"kept: other keys: {own[0].keys() ^ own[1].keys()}")
        self.check(self.llama("logits", source, ids) == self.llama("logits", kept, ids), "kept: other logits")
        again = self.store(f16, "again", "raw")
        ours = self.export(again, "requantized", "--type", "q4_k_m", "--scale-optimization", "standard")
        self.same_tensors("requantized", Gguf(ours), before)
        run(self.bin / "llama-gguf-split", "--split-max-tensors", "20", source, self.work / "parts")
        parts = sorted(self.work.glob("parts-0000?-of-*.gguf"))
        joined = Gguf(self.export(self.store(parts[-1], "joined", "raw"), "joined"))
        self.check(len(parts) == 3 and joined.tensors == before.tensors, f"joined from {len(parts)} files")
        self.check(not any(key.startswith("split.") for key in joined.keys), "joined: keys of the split")

    def same_tensors(self, name, ours, theirs):
        self.check(ours.tensors.keys() == theirs.tensors.keys(), f"{name}: other tensors than llama-quantize")
        for tensor, value in theirs.tensors.items():
            self.check(ours.tensors.get(tensor) == value, f"{name}: {tensor} is not llama-quantize's")

    def shards_and_profiles(self):
        """Split files load from the first; the example's profiles load and improve with size."""
        store = self.work / "exact"
        whole = self.export(store, "whole", "--type", "q8_0")
        self.export(store, "split", "--type", "q8_0", "--shard-size", "2MB")
        first = sorted(self.work.glob("split-00001-of-*.gguf"))
        self.check(len(first) == 1, f"shards: {first}")
        ids = "0,5,17,301,42,77"
        self.check(self.llama("logits", whole, ids) == self.llama("logits", first[0], ids), "shards differ")
        for profile in ["economy", "balanced", "premium"]:
            config = self.example / f"export/export-{profile}.json"
            gguf = self.export(store, profile, "--config", config)
            info = self.llama("info", gguf)
            self.check(info["n_params"] == 6819072, f"{profile}: {info}")
            self.check(info["warnings"] == [], f"{profile}: {info['warnings']}")

    def plugin(self):
        """Blocks that a plugin filled are ordinary ones."""
        target = self.work / "plugin"
        cargo = os.environ.get("CARGO", "cargo")
        command = [cargo, "build", "--release", "--locked", "--quiet", "--target-dir", target]
        subprocess.run(command, cwd=self.root / "plugins/examples", check=True)
        folder = target / "wasm32-unknown-unknown/release"
        options = ["--type", "q4_k@search", "--plugin-dir", folder]
        ours = self.export(self.work / "exact", "plugin", *options)
        types = {kind for _, kind, _ in Gguf(ours).tensors.values()}
        self.check(12 in types, f"q4_k@search: types {types}")
        info = self.llama("info", ours)
        self.check(info["n_params"] == 6819072 and info["warnings"] == [], f"q4_k@search: {info}")


def main():
    parser = argparse.ArgumentParser()
    for option in ["gmat", "bin", "root", "work"]:
        parser.add_argument(f"--{option}", required=True)
    interop = Interop(parser.parse_args())
    parts = [
        interop.oracle_models, interop.trained_model, interop.every_type, interop.shards_and_profiles,
        interop.gguf_as_source, interop.plugin,
    ]
    for part in parts:
        try:
            part()
        except (RuntimeError, KeyError, ValueError, AssertionError, subprocess.CalledProcessError) as error:
            interop.check(False, f"{part.__name__}: {error}")
    print(f"{interop.check.passed} passed, {interop.check.failed} failed")
    sys.exit(1 if interop.check.failed else 0)


if __name__ == "__main__":
    main()
