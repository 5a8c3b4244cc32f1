#!/usr/bin/env bash
# Memory and speed of import and export on synthetic models of 0.5, 1 and 3 GB, beside `cp` of the
# same file. Prints a Markdown table; `docs/benchmarks.md` holds one.
#
#   tests/scale.sh GMAT [FOLDER]
#
# FOLDER needs about 12 GB; it is made, or must be empty, and is removed again.
set -euo pipefail
gmat=$(realpath "$1")
here=$(cd "$(dirname "$0")/.." && pwd)
work=${2:-$(mktemp -d)}
mkdir -p "$work"
if [ -n "$(ls -A "$work")" ]; then
    echo "$work is not empty: everything in it would be removed" >&2
    exit 2
fi
trap 'rm -rf "$work"' EXIT
command -v /usr/bin/time >/dev/null || { apt-get update -qq && apt-get install -qqy time; }
(cd "$here" && cargo build --release --locked -q -p gmat-tests --bin gmat-synth)
synth=${CARGO_TARGET_DIR:-$here/target}/release/gmat-synth

# Wall seconds, CPU percent and peak resident megabytes of a command.
measure() {
    local out
    out=$(/usr/bin/time -f '%e %P %M' "$@" 2>&1 >/dev/null | tail -n 1)
    echo "$out" | awk '{sub("%", "", $2); printf "%s %s %d", $1, $2, $3 / 1024}'
}

echo "| model | step | seconds | MB/s of source | CPU | peak RSS | time / cp |"
echo "|---|---|---|---|---|---|---|"
for size in 500:100 1000:300 3000:1074; do
    total=${size%:*}
    rm -rf "${work:?}"/*
    "$synth" "$work/hf" "$total" "${size#*:}"
    cp "$here/example/tiny_llm/hf-model/"tokenizer*.json "$work/hf/"
    bytes=$(stat -c %s "$work/hf/model.safetensors")
    cat "$work/hf/model.safetensors" >/dev/null
    read -r cp_s _ _ <<<"$(measure cp "$work/hf/model.safetensors" "$work/copy")"
    rm "$work/copy"
    row() { # name seconds cpu rss
        echo "| $((bytes / 1000000)) MB | $1 | $2 | $(echo "$bytes $2" | awk '{printf "%d", $1 / 1e6 / $2}') | $3 % | $4 MB | $(echo "$2 $cp_s" | awk '{printf "%.1f", $1 / $2}') |"
    }
    row "cp" "$cp_s" - -
    for format in B8x8 raw; do
        rm -rf "$work/out"
        # shellcheck disable=SC2046 # three words on purpose
        row "import $format" $(measure "$gmat" import -q -m "$work/hf" -o "$work/out" --block-format "$format")
    done
    rm -rf "$work/out"
    "$gmat" import -q -m "$work/hf" -o "$work/out"
    for type in q8_0 q4_0 q4_k_m q6_k; do
        # shellcheck disable=SC2046
        row "export $type" $(measure "$gmat" export -q -m "$work/out" --type "$type" -o "$work/m.gguf")
        rm -f "$work/m.gguf"
    done
done
