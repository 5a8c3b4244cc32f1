#!/usr/bin/env bash
# Kills imports and exports at random moments (kill -9), goes on with them, and compares the result
# with that of a run that nobody disturbed. `docs/reliability.md` holds the figures of one run.
#
#   tests/kill.sh GMAT [ROUNDS] [SEED]
#
# ROUNDS is the number of kills of import and of export each; a run is killed up to three times.
set -euo pipefail
gmat=$(realpath "$1") rounds=${2:-200} RANDOM=${3:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$here" && cargo build --release --locked -q -p gmat-tests --bin gmat-synth)
"${CARGO_TARGET_DIR:-$here/target}/release/gmat-synth" "$work/hf" 400 40
cp "$here/example/tiny_llm/hf-model/"tokenizer*.json "$work/hf/"
cd "$work"

import() { "$gmat" import --progress none -m hf -o "$1"; }
export_it() { "$gmat" export --progress none -m whole --type q4_k_m --shard-size 60MB -o "$1/m.gguf"; }
import whole >/dev/null
export_it whole-gguf >/dev/null

# Milliseconds of an undisturbed run: kills fall anywhere within.
millis() {
    local begun ended
    begun=$(date +%s%3N)
    "$@" >/dev/null
    ended=$(date +%s%3N)
    echo $((ended - begun))
}

try() { # what, function, final name, undisturbed result
    local what=$1 run=$2 final=$3 whole=$4 kills=0 late=0 resumed=0 runs=0 time
    time=$(millis "$run" spare)
    rm -rf spare
    while ((kills < rounds)); do
        rm -rf out
        for _ in 1 2 3; do
            "$run" out >log 2>&1 &
            sleep "$(printf '%d.%03d' $((RANDOM % time / 1000)) $((RANDOM % time % 1000)))"
            if kill -9 $! 2>/dev/null; then kills=$((kills + 1)); fi
            if wait $! 2>/dev/null; then
                late=$((late + 1))
                break
            fi
            # Nothing may have a final name before the end; the commit itself renames.
            if [ -e "out/$final" ]; then diff -r "out/$final" "$whole/$final" >/dev/null || {
                echo "$what: partial output under its final name" >&2
                exit 1
            }; fi
        done
        "$run" out >log 2>&1 || { cat log >&2; exit 1; }
        if grep -q "there already" log; then resumed=$((resumed + 1)); fi
        diff -r "$whole" out || { echo "$what: another result" >&2; exit 1; }
        runs=$((runs + 1))
    done
    echo "| $what | $kills | $runs | $resumed | $late | all equal |"
}

echo "| | kills | runs | of which had something to go on with | ended before the kill | result |"
echo "|---|---|---|---|---|---|"
try import import model.gmat whole
try export export_it m-00001-of-00006.gguf whole-gguf
