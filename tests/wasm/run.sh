#!/usr/bin/env bash
# Whether all codecs write and read the same bytes in wasm as on this processor.
#
#   tests/wasm/run.sh
#
# Runs native code (with the vectors this processor has), plain wasm, and wasm with simd128.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo=${CARGO:-cargo}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
if ! command -v node >/dev/null; then
    [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null ||
        { echo "run.sh: node is missing: install Node.js" >&2; exit 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q && apt-get install -q -y --no-install-recommends nodejs
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

hashes() { # name, folder of the build, flags
    RUSTFLAGS=$3 CARGO_TARGET_DIR=$target/$2 "$cargo" build --quiet --locked \
        -p gmat-wasm-tests --lib --target wasm32-unknown-unknown
    node tests/wasm/run.mjs "$target/$2/wasm32-unknown-unknown/debug/gmat_wasm_tests.wasm" >"$work/$1"
}

"$cargo" run --quiet --locked -p gmat-wasm-tests --bin gmat-hashes >"$work/native"
[[ $(wc -l <"$work/native") -gt 50 ]] || { echo "run.sh: too few codecs" >&2; exit 1; }
hashes wasm wasm ""
hashes simd128 wasm-simd "-Ctarget-feature=+simd128"
for other in wasm simd128; do
    diff "$work/native" "$work/$other" || { echo "run.sh: $other differs from native code" >&2; exit 1; }
done
echo "$(wc -l <"$work/native") hashes are the same in native code, wasm and wasm with simd128"
