#!/usr/bin/env python3
"""Quality of every type and recipe on the example model: llama-quantize beside gmat.

    tests/interop/quality.py --gmat GMAT [--chunks N] [--only q4_k_m,q2_k] [--imatrix none|with|both]

Prints Markdown tables: perplexity and KL divergence from the F16 export, measured by llama.cpp
itself on tests/data/eval/eval.txt, without and with an importance matrix. That is made here by
llama-imatrix from the documents of this repository: text like the model's, but not the held-out one.
The standard column says whether gmat's tensors in standard mode are the bytes of llama-quantize.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from check import Gguf, run  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# All of llama-quantize's file types that hold weights, by falling size.
NAMES = [
    "bf16", "q8_0", "q6_k", "q5_1", "q5_k_m", "q5_k_s", "q5_0", "q4_1", "q4_k_m", "q4_k_s", "iq4_nl",
    "q4_0", "mxfp4_moe", "nvfp4", "iq4_xs", "q3_k_l", "q3_k_m", "iq3_m", "iq3_s", "q3_k_s", "iq3_xs",
    "iq3_xxs", "q2_k", "q2_k_s", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s", "tq2_0", "tq1_0",
    "q2_0", "q1_0",
]
# As the size target of these shows what the choice of types is worth.
SIZES = ["q5_k_m", "q4_k_m", "q4_k_s", "iq4_xs", "q3_k_m", "q3_k_s", "q2_k"]


class Quality:
    def __init__(self, args):
        self.gmat = pathlib.Path(args.gmat).resolve()
        self.bin = pathlib.Path(run(HERE / "build-llama.sh").splitlines()[-1])
        self.names = args.only.split(",") if args.only else NAMES
        self.env = dict(os.environ, GMAT_LLAMA_BIN=str(self.bin))
        if args.chunks:
            self.env["GMAT_CHUNKS"] = str(args.chunks)
        self.work = pathlib.Path(args.work)
        self.store = self.work / "store"
        run(self.gmat, "import", "-q", "-m", ROOT / "example/tiny_llm/hf-model", "-o", self.store,
            "--block-format", "raw")
        self.f16 = self.export("f16", "--type", "f16")
        self.f32 = self.export("f32", "--type", "f32")

    def export(self, name, *options):
        out = self.work / f"{name}.gguf"
        run(self.gmat, "export", "-q", "-m", self.store, "-o", out, *options)
        return out

    def importance(self):
        """An importance matrix from the repository's own text."""
        text = self.work / "calibration.txt"
        sources = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md"), *ROOT.glob("core/src/**/*.rs")])
        text.write_text("\n\n".join(path.read_text(encoding="utf-8") for path in sources)[:300_000],
                        encoding="utf-8")
        out = self.work / "imatrix.gguf"
        run(self.bin / "llama-imatrix", "-m", self.f16, "-f", text, "-o", out, "-c", "256", "-t", "2")
        return out

    def measure(self, files):
        """What kld.sh says about each file."""
        command = [HERE / "kld.sh", ROOT / "tests/data/eval/eval.txt", self.f16, *files]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=self.env)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def table(self, matrix):
        options = ["--imatrix", matrix] if matrix else []
        print(f"\n**{'With' if matrix else 'Without'} importance**\n")
        print("| type | bytes | perplexity, llama-quantize | trellis | mean KLD, llama-quantize | trellis | change |"
              " same top token, llama-quantize | trellis | standard |")
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for name in self.names:
            theirs = self.work / "theirs.gguf"
            command = [self.bin / "llama-quantize", *options, self.f32, theirs, name, "2"]
            if subprocess.run([str(part) for part in command], capture_output=True).returncode != 0:
                print(f"| {name} | refused by llama-quantize | | | | | | | | |", flush=True)
                continue
            standard = self.export("standard", "--type", name, "--scale-optimization", "standard", *options)
            same = Gguf(standard).tensors == Gguf(theirs).tensors
            trellis = self.export("trellis", "--type", name, *options)
            a, b = self.measure([theirs, trellis])
            change = 100 * (b["kld_mean"] / a["kld_mean"] - 1) if a["kld_mean"] > 0 else 0.0
            print(f"| {name} | {b['bytes']} | {a['ppl']:.4f} | {b['ppl']:.4f} | {a['kld_mean']:.6f} | {b['kld_mean']:.6f} |"
                  f" {change:+.1f} % | {a['same_top']:.2f} % | {b['same_top']:.2f} % |"
                  f" {'same bytes' if same else 'OTHER BYTES'} |", flush=True)

    def sizes(self, matrix):
        options = ["--imatrix", matrix] if matrix else []
        print(f"\n**Types chosen for the size of a recipe, {'with' if matrix else 'without'} importance**"
              " (trellis on both sides)\n")
        print("| size of | bytes | mean KLD of the recipe | chosen for its size | change |\n|---|---|---|---|---|", flush=True)
        for name in [name for name in SIZES if name in self.names]:
            recipe = self.export("recipe", "--type", name, *options)
            size = recipe.stat().st_size
            sized = self.export("sized", "--target-size", str(size), *options)
            a, b = self.measure([recipe, sized])
            print(f"| {name} | {b['bytes']} of {size} | {a['kld_mean']:.6f} | {b['kld_mean']:.6f} |"
                  f" {100 * (b['kld_mean'] / a['kld_mean'] - 1):+.1f} % |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gmat", required=True)
    parser.add_argument("--chunks", type=int)
    parser.add_argument("--only")
    parser.add_argument("--imatrix", choices=["none", "with", "both"], default="both")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as args.work:
        quality = Quality(args)
        matrices = [] if args.imatrix == "with" else [None]
        if args.imatrix != "none":
            matrices.append(quality.importance())
        for matrix in matrices:
            quality.table(matrix)
            quality.sizes(matrix)


if __name__ == "__main__":
    main()
