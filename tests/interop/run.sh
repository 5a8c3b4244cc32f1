#!/usr/bin/env bash
# Everything that gmat promises about llama.cpp, checked with llama.cpp itself.
#
#   tests/interop/run.sh GMAT
#
# Builds llama.cpp if it is not cached yet. Every failed check is reported; the exit code is that
# of check.py, which counts them.
set -euo pipefail

gmat=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$("$here/build-llama.sh" | tail -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GMAT_LLAMA_BIN=$bin

python3 "$here/check.py" --gmat "$gmat" --bin "$bin" --root "$root" --work "$work"
