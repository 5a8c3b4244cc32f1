#!/usr/bin/env python3
"""Ends conversions at random moments, mostly with SIGKILL, some with SIGINT, and resumes them: the
bytes must be the same."""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import reference


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gmat", required=True)
    parser.add_argument("--rounds", type=int, default=50, help="how many times a run is ended")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    random.seed(args.seed)
    shutil.rmtree(args.work, ignore_errors=True)
    rng = np.random.default_rng(3)
    tensors = {}
    for number in range(60):
        shape = (int(rng.integers(1, 900)), 512)
        raw = rng.standard_normal(shape, np.float32).view(np.uint16)[:, 1::2]
        tensors[f"model.layers.{number}.weight"] = ("BF16", shape, raw.tobytes())
    model = args.work / "model.safetensors"
    reference.write(model, tensors)
    kills = kept = completed = attempt = 0
    styles = ["numpy-direct", "msgpack", "jax-pickle"]
    while kills < args.rounds:
        style = styles[attempt % len(styles)]
        attempt += 1
        command = [args.gmat, "convert", "-i", model, "-f", style, "--precision", "float32",
                   "--shard-size", "0.004", "--progress", "none", "-o"]
        whole, out = args.work / f"whole-{style}", args.work / "out"
        if not whole.exists():
            start = time.monotonic()
            subprocess.run([*command, whole], check=True, capture_output=True)
            duration = time.monotonic() - start
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(out.with_name("out.partial"), ignore_errors=True)
        while True:
            # It goes on in either way; an output that is complete is only checked with the option.
            resume = random.choice([[], ["--resume"]])
            run = subprocess.Popen([*command, out, *resume], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
            try:
                said, complaint = run.communicate(timeout=random.uniform(0, duration * 1.1))
            except subprocess.TimeoutExpired:
                wanted = random.choice([signal.SIGKILL] * 3 + [signal.SIGINT])
                run.send_signal(wanted)
                said, complaint = run.communicate()
                kills += 1
                # A signal may come too late, or before the program is ready for it.
                if run.returncode not in (0, -wanted, 130):
                    sys.exit(f"round {kills}: exit {run.returncode}\n{complaint}")
                if run.returncode == 130 and "error: interrupted" not in complaint:
                    sys.exit(f"round {kills}: says only\n{complaint}")
                # Whatever has its final name is complete.
                if out.exists() and tree(out) != tree(whole):
                    sys.exit(f"round {kills}: {out} is not complete, or has other bytes")
                if kills >= args.rounds + 20:
                    sys.exit("no run came to its end")
                continue
            if run.returncode != 0:
                sys.exit(f"round {kills}: exit {run.returncode}\n{complaint}")
            completed += 1
            kept += sum(int(line.split()[0]) for line in said.splitlines() if line.endswith("kept"))
            break
        if tree(out) != tree(whole):
            sys.exit(f"round {kills}: {style}: other bytes after a resume")
        if list(args.work.glob("out.*")):
            sys.exit(f"round {kills}: left behind: {list(args.work.glob('out.*'))}")
    total = json.loads((args.work / "whole-numpy-direct/manifest.json").read_text())["total_shards"]
    print(f"ok      {kills} interrupted runs, {completed} completed with the same bytes, "
          f"{kept} shards kept by their last resume ({total} in a whole)")


if __name__ == "__main__":
    main()
