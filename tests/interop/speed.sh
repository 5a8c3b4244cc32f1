#!/usr/bin/env bash
# Speed of quantization beside ggml's own (ggml_quantize_chunk), one core, in turns within one run.
# Prints a Markdown table of MB/s of f32 and ratios; `docs/benchmarks.md` holds one.
#
#   tests/interop/speed.sh [TYPE...]     TYPE: beginning of a name, such as q4_ or iq2_xs
#
# ggml is the one of build-llama.sh, compiled as llama.cpp compiles its quantizers; ours uses
# whatever instructions this processor has. Settings: GMAT_CORE (default 0), the core to run on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cargo=${CARGO:-cargo}

llama=$(dirname "$("$here/build-llama.sh")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
g++ -std=c++17 -O2 -Wall -Wextra -isystem "$llama/include" -o "$work/ggml-speed" \
    "$here/speed.cpp" -L"$llama/lib" -lggml-base -fopenmp -ldl -pthread
(cd "$root" && "$cargo" build --release --locked --quiet -p gmat-tests --bin gmat-speed)

speed=${CARGO_TARGET_DIR:-$root/target}/release/gmat-speed
# One core for both, and one thread for the tables that ggml makes in parallel.
OMP_NUM_THREADS=1 taskset --cpu-list "${GMAT_CORE:-0}" "$speed" "$work/ggml-speed" "$work" "$@"
