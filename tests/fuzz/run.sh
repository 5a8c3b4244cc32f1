#!/usr/bin/env bash
# Fuzzes one target for a while, with AddressSanitizer, debug assertions and overflow checks.
#
#   tests/fuzz/run.sh TARGET SECONDS [LIBFUZZER-OPTION|FILE...]
#
# Works with the pinned stable toolchain and without cargo-fuzz, whose layout this folder has.
# What was found interesting is kept in tests/fuzz/corpus, failures in tests/fuzz/artifacts.
set -euo pipefail
(($# >= 2)) || { echo "usage: run.sh TARGET SECONDS [LIBFUZZER-OPTION|FILE...]" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")"
target=$1 seconds=$2
shift 2
triple=$(rustc -vV | sed -n 's/^host: //p')

# The coverage that libFuzzer steers by; RUSTC_BOOTSTRAP allows the sanitizer on a stable compiler.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# With --target, build scripts and macros are spared these flags.
"${CARGO:-cargo}" build --release --locked --target "$triple" --bin "$target"

mkdir -p "corpus/$target" "artifacts/$target"
# Given files are run one by one; libFuzzer does that only if there is no folder among them.
inputs=("corpus/$target")
[[ ! -f ${1:-} ]] || inputs=()
"${CARGO_TARGET_DIR:-target}/$triple/release/$target" -max_total_time="$seconds" \
    -artifact_prefix="artifacts/$target/" -rss_limit_mb=4096 -print_final_stats=1 "$@" ${inputs[@]+"${inputs[@]}"}
