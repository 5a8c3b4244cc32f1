#!/usr/bin/env bash
# Fills the disk under imports, exports, conversions and flattenings, makes room, goes on with them,
# and compares the result with that of a run that nobody disturbed. `docs/reliability.md` holds the
# figures of one run.
#
#   tests/full.sh GMAT [MB]
#
# MB is the size of the model. Disks are tmpfs, of which some ten times that are in use at most, and
# which only root may mount.
set -euo pipefail
gmat=$(realpath "$1") size=${2:-100}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
disk=$work/disk
trap 'umount -q "$disk" || true; rm -rf "$work"' EXIT
mkdir "$disk"
mount -t tmpfs -o size=1M tmpfs "$disk" || {
    echo "cannot mount a tmpfs, which this needs: run it as root" >&2
    exit 1
}
umount "$disk"
(cd "$here" && cargo build --release --locked -q -p gmat-tests --bin gmat-synth)
synth=${CARGO_TARGET_DIR:-$here/target}/release/gmat-synth
"$synth" "$work/hf" "$size" $((size / 10))
cp "$here/example/tiny_llm/hf-model/"tokenizer*.json "$work/hf/"
cd "$work"

# Each sets the command that writes to a folder: what is stopped must be gmat, not a shell around it.
import() { command=("$gmat" import --progress none -m hf -o "$1" "${@:2}"); }
import_anyway() { import "$1" --ignore-space; }
export_it() { command=("$gmat" export --progress none -m whole --type q4_k_m --shard-size $((size / 7 + 10))MB -o "$1/m.gguf"); }
convert() { command=("$gmat" convert --progress none -i whole -o "$1/arrays" --shard-size $((size / 7 + 20))MB "${@:2}"); }
convert_on() { convert "$1" --resume; }
# All tensors are in the base, so that all of them have to be written.
flatten() { command=("$gmat" store flatten --progress none based -o "$1"); }
run() {
    "$@"
    "${command[@]}" >log 2>&1
}

fail() {
    echo "$what, $percent %: $1" >&2
    cat log >&2
    exit 1
}
# Bytes of the files in a folder, and those in use on the disk.
bytes() { find "$1" -type f -printf '%s\n' | awk '{sum += $1} END {print sum + 0}'; }
used() { df --output=used -B1 "$disk" | tail -n 1; }
# The run says how much is missing, and nothing has its final name.
refused() { # exit code
    (($1 == 4)) || fail "exit code $1, not 4"
    grep -qE 'are missing|more are needed|room for nothing more' log || fail "it does not say how much is missing"
    grep -q '^hint: ' log || fail "no advice"
    local name
    while read -r name; do
        case $name in
        *.partial | *.partial/*) ;;
        *) fail "$name is there" ;;
        esac
    done < <(cd "$disk" && find . -type f)
}

try() { # what, function, function that goes on, whether the disk is full from the start
    local run=$2 on=$3 early=$4 runs=0 begun=0 resumed=0 needed pid
    what=$1
    rm -rf whole.out
    percent=undisturbed
    run "$run" whole.out || fail "it fails"
    needed=$(bytes whole.out)
    for percent in 0 2 10 25 50 75 90 97 99; do
        local small=$((needed * percent / 100 + 65536))
        if $early; then
            mount -t tmpfs -o size=$small tmpfs "$disk"
            run "$run" "$disk/out" && fail "it ends well" || refused $?
        else
            mount -t tmpfs -o size=$((needed * 2)) tmpfs "$disk"
            "$run" "$disk/out"
            "${command[@]}" >log 2>&1 &
            pid=$!
            # The disk shrinks under a run that has begun to write.
            until (($(used) >= small / 2)) || [ -z "$(jobs -r)" ]; do sleep 0.005; done
            kill -STOP $pid 2>/dev/null || true
            # What it is writing just now is still to come.
            until mount -o remount,size=$small "$disk" 2>/dev/null; do small=$((small + 65536)); done
            kill -CONT $pid 2>/dev/null || true
            wait $pid && fail "it ends well" || refused $?
        fi
        if (($(used) > 65536)); then begun=$((begun + 1)); fi
        mount -o remount,size=$((needed * 2)) "$disk"
        run "$on" "$disk/out" || fail "it does not go on"
        if grep -qE '[1-9][0-9]* of .* (there already|complete and kept)' log; then resumed=$((resumed + 1)); fi
        diff -r whole.out "$disk/out" || fail "another result"
        umount "$disk"
        runs=$((runs + 1))
    done
    echo "| $what | $runs | $begun | $resumed | all equal |"
}

what=preparation percent=0
run import whole || fail "it fails"
run import exact --block-format lossless || fail "it fails"
run import based --base exact || fail "it fails"
echo "| | disks | of which filled by the run | of which it went on from | result |"
echo "|---|---|---|---|---|"
try "import, too small a disk" import import true
try "import --ignore-space" import_anyway import true
try "export, too small a disk" export_it export_it true
try "export, disk filled meanwhile" export_it export_it false
try "convert, too small a disk" convert convert_on true
try "convert, disk filled meanwhile" convert convert_on false
try "flatten, too small a disk" flatten flatten true
try "flatten, disk filled meanwhile" flatten flatten false
