#!/usr/bin/env bash
# Kills imports, exports, conversions and flattenings at random moments (kill -9), goes on with them,
# and compares the result with that of a run that nobody disturbed. Prints a table; that of one run is
# in `docs/reliability.md`.
#
#   tests/kill.sh GMAT [ROUNDS] [SEED]
#
# ROUNDS is the number of kills of each command; a run is killed up to three times.
set -euo pipefail
gmat=$(realpath "$1") rounds=${2:-200} RANDOM=${3:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$here" && cargo build --release --locked -q -p gmat-tests --bin gmat-synth)
"${CARGO_TARGET_DIR:-$here/target}/release/gmat-synth" "$work/hf" 400 40
cp "$here/example/tiny_llm/hf-model/"tokenizer*.json "$work/hf/"
cd "$work"

# Each sets the command that writes to a folder: what is killed must be gmat, not a shell around it.
import() { command=("$gmat" import --progress none -m hf -o "$1" "${@:2}"); }
export_it() { command=("$gmat" export --progress none -m whole --type q4_k_m --shard-size 60MB -o "$1/m.gguf"); }
convert() { command=("$gmat" convert --progress none -i whole -o "$1/arrays" --shard-size 60MB --resume); }
# All tensors are in the base, so that all of them have to be written.
flatten() { command=("$gmat" store flatten --progress none based -o "$1"); }

whole() { # what is made undisturbed
    "$@"
    "${command[@]}" >log 2>&1 || { cat log >&2; exit 1; }
}
whole import whole
whole import base --block-format lossless
whole import based --base base
whole export_it whole-gguf
whole convert whole-arrays
whole flatten flat

try() { # what, function, final name, undisturbed result
    local what=$1 run=$2 final=$3 whole=$4 kills=0 late=0 resumed=0 runs=0 time
    # Milliseconds of an undisturbed run: kills fall anywhere within.
    time=$(date +%s%3N)
    whole "$run" spare
    time=$(($(date +%s%3N) - time))
    rm -rf spare
    "$run" out
    while ((kills < rounds)); do
        rm -rf out
        for _ in 1 2 3; do
            "${command[@]}" >log 2>&1 &
            sleep "$(printf '%d.%03d' $((RANDOM % time / 1000)) $((RANDOM % time % 1000)))"
            kill -9 $! 2>/dev/null || true
            if wait $! 2>/dev/null; then
                late=$((late + 1))
                break
            fi
            kills=$((kills + 1))
            # Nothing may have a final name before the end; the commit itself renames.
            if [ -e "out/$final" ]; then diff -r "out/$final" "$whole/$final" >/dev/null || {
                echo "$what: partial output under its final name" >&2
                exit 1
            }; fi
        done
        "${command[@]}" >log 2>&1 || { cat log >&2; exit 1; }
        if grep -qE '[1-9][0-9]* of .* (there already|complete and kept)' log; then resumed=$((resumed + 1)); fi
        diff -r "$whole" out || { echo "$what: another result" >&2; exit 1; }
        runs=$((runs + 1))
    done
    echo "| $what | $kills | $runs | $resumed | $late | all equal |"
}

echo "| | kills | runs | of which had something to go on with | ended before the kill | result |"
echo "|---|---|---|---|---|---|"
try import import model.gmat whole
try export export_it m-00001-of-00006.gguf whole-gguf
try convert convert arrays whole-arrays
try "store flatten" flatten model.gmat flat
