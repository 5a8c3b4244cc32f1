#!/usr/bin/env bash
# What gmat promises about NumPy, MessagePack, pickle and JAX, checked with the real ones.
#
#   tests/jax/run.sh GMAT
#
# Every failed check is reported; the exit code says whether there was one.
set -euo pipefail
gmat=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/venv.sh" | tail -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1 JAX_PLATFORMS=cpu
"$python" "$here/check.py" --gmat "$gmat" --root "$here/../.." --work "$work"
"$python" "$here/interrupt.py" --gmat "$gmat" --rounds 8 --work "$work/interrupt"
