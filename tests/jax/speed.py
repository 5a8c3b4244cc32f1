#!/usr/bin/env python3
"""gmat convert beside `cp` and a straightforward Python script, in turns within one run.

    $(tests/jax/venv.sh | tail -n 1) tests/jax/speed.py --gmat GMAT --work FOLDER [--mb 1000]

BF16 to .npy in float32 and float16. FOLDER needs about five times --mb; it is removed again. One in
memory (`/dev/shm/…`) leaves the disk out, for which gmat waits in the end, and Python does not. Prints
a Markdown table: gigabytes of output per second, the best of some turns; and how many times as much
time, and time of processors, Python takes.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import reference

SCRIPT = """
import sys
from pathlib import Path
import ml_dtypes
import numpy as np
from safetensors.numpy import load_file
out = Path(sys.argv[2])
out.mkdir()
for name, tensor in load_file(sys.argv[1]).items():
    np.save(out / (name.replace('.', '_') + '.npy'), tensor.astype(sys.argv[3]))
"""


# Measured by a process of its own: peak memory begins with that of the parent.
MEASURE = """
import json, os, resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def timed(command):
    """Wall seconds, processor seconds and peak resident megabytes of a command."""
    run = subprocess.run([sys.executable, "-I", "-S", "-c", MEASURE, *map(str, command)],
                         stdout=subprocess.PIPE, check=True)
    code, *result = json.loads(run.stdout)
    if code:
        sys.exit(f"failed: {command}")
    return tuple(result)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gmat", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    source, out = args.work / "model/model.safetensors", args.work / "out"
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4096, 4096), np.float32).view(np.uint16)[:, 1::2].tobytes()
    count = max(1, args.mb * 1_000_000 // len(rows))
    reference.write(source, {f"model.layers.{n}.weight": ("BF16", (4096, 4096), rows)
                             for n in range(count)})
    size = source.stat().st_size
    # A file as large as the float32 output: what cp makes of as many bytes.
    double = args.work / "double"
    double.write_bytes(source.read_bytes() * 2)
    convert = [args.gmat, "convert", "-q", "-i", source, "-o", out]
    synced = ["sh", "-c", 'cp "$1" "$2" && sync "$2"', "sh", double, out]
    jobs = {"cp of as many bytes": (2 * size, ["cp", double, out]), "cp and sync": (2 * size, synced)}
    for precision, factor in [("float32", 2), ("float16", 1)]:
        own = [*convert, "--precision", precision]
        jobs[f"gmat, {precision}"] = factor * size, [*own, "--skip-verify"]
        jobs[f"gmat, {precision}, verified"] = factor * size, own
        jobs[f"gmat, {precision}, one thread"] = factor * size, [*own, "--skip-verify", "--jobs", "1"]
        jobs[f"Python, {precision}"] = factor * size, [sys.executable, "-c", SCRIPT, source, out, precision]
    best = {}
    for _ in range(args.turns):
        for name, (produced, command) in jobs.items():
            if out.is_dir():
                shutil.rmtree(out)
            elif out.exists():
                out.unlink()
            result = timed(command)
            best[name] = min(best.get(name, result), result)
    print("| step | GB/s of output | GB/s per core | CPU | peak RSS | times Python | of processor time |")
    print("|---|---|---|---|---|---|---|")
    for name, (produced, _) in jobs.items():
        seconds, busy, rss = best[name]
        precision = "float16" if "float16" in name else "float32"
        scale = produced / jobs[f"Python, {precision}"][0]
        python, python_busy = (scale * part for part in best[f"Python, {precision}"][:2])
        print(f"| {name} | {produced / 1e9 / seconds:.2f} | {produced / 1e9 / busy:.2f} "
              f"| {100 * busy / seconds:.0f} % | {rss:.0f} MB | {python / seconds:.1f} | {python_busy / busy:.1f} |")
    shutil.rmtree(args.work)


if __name__ == "__main__":
    main()
